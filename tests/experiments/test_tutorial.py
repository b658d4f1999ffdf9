"""The tutorial notebook is stripped, and every cell runs on the digits, with its pictures and without warnings.

To strip it: `jupyter nbconvert --clear-output --ClearMetadataPreprocessor.enabled=True --inplace`.
"""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / "experiments" / "tutorial.ipynb"
CELL = {"markdown": {"cell_type", "id", "metadata", "source"}}
CELL["code"] = CELL["markdown"] | {"execution_count", "outputs"}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Run the notebook in its own process, from its own folder as a reader's Jupyter does; return it with outputs."""
    notebook = nbformat.read(PATH, as_version=nbformat.NO_CONVERT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JVAE_TUTORIAL_DATASET", "digits")
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))  # no user's profile or history
        resources = {"metadata": {"path": str(PATH.parent)}}
        return NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()


def outputs(notebook):
    return [(cell.id, output) for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_notebook_is_valid():
    notebook = nbformat.read(PATH, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_the_notebook_is_stripped():
    """Read as JSON, since nbformat repairs what it reads."""
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    assert notebook["metadata"] == {"language_info": {"name": "python"}}
    for cell in notebook["cells"]:
        assert set(cell) == CELL[cell["cell_type"]], cell["id"]
        assert cell["metadata"] == {}, cell["id"]
        assert not cell.get("outputs"), cell["id"]
        assert cell.get("execution_count") is None, cell["id"]


@pytest.mark.slow
def test_every_cell_runs_on_the_digits(executed):
    counts = [cell.execution_count for cell in executed.cells if cell.cell_type == "code" and cell.source]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.slow
def test_no_cell_complains(executed):
    assert [(name, output.text) for name, output in outputs(executed) if output.get("name") == "stderr"] == []


@pytest.mark.slow
def test_the_pictures_come_out(executed):
    pictures = [name for name, output in outputs(executed) if "image/png" in output.get("data", {})]
    assert pictures == ["data", "fit", "posterior", "manifold", "samples", "iwae", "spread"]
