"""The public names, and the package's README, whose code is run line by line."""

import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import pytest
from click.testing import CliRunner
from readme import blocks, text_of

import jvae
from jvae.cli.main import main

README = (Path(jvae.__file__).parent / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks(README, "python")
WITH_FILES = [*blocks(text_of("README.md"), "python"), *BLOCKS]  # the first of them is in the main README
FILES = {block.split("\n")[0].removeprefix("# "): block for block in WITH_FILES if block.startswith("# my_")}
ROWS = [row.replace("\\|", "|") for row in re.findall(r"^\| `((?:next\()?jvae\..*?)` \|", README, re.MULTILINE)]


def test_import_jvae_imports_nothing_heavy():
    """Measured in CPU seconds, since other processes may be running."""
    code = "import sys, time; s = time.process_time(); import jvae; t = time.process_time() - s; print(t, *sys.modules)"
    seconds = []
    for _ in range(5):
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        seconds.append(float(found[0]))
        assert not {"numpy", "jax", "flax", "distrax", "click", "matplotlib", "jvae.runs"} & set(found)
    assert min(seconds) < 0.05


def test_type_checkers_read_the_names_that_are_there():
    source = inspect.getsource(jvae)
    typed = set(re.findall(r"(\w+) as \1\b", source))
    assert typed == set(jvae.__all__) == set(jvae.__all__) & set(dir(jvae))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jvae.nothing  # noqa: B018


@pytest.mark.parametrize("name", jvae.__all__)
def test_every_public_name_is_documented(name):
    value = getattr(jvae, name)
    assert inspect.getdoc(value)
    assert any(f"jvae.{name}" in row for row in ROWS), f"jvae/README.md has no row of jvae.{name}"
    if inspect.isfunction(value):
        document, parameters = inspect.getdoc(value), inspect.signature(value).parameters
        explained = "arguments and errors are those of" in document or "as `train" in document
        if len(parameters) > 3 and not explained:
            assert "Args:" in document
            for parameter in parameters:
                assert re.search(rf"^ +{parameter}: ", document, re.MULTILINE), f"{name} does not explain {parameter}"


class Recorder:
    """A stand-in for the tracker in the README's code."""

    def __init__(self, folder):
        self.scalars = []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, float(value), step))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Matplotlib is currently using agg")
def test_the_readmes_lines_from_python_run_as_they_stand(tmp_path, monkeypatch):
    """With every example in the table of names after them; a model is trained in 8 lines at most."""
    monkeypatch.chdir(tmp_path)
    tracker = types.ModuleType("torch.utils.tensorboard")
    tracker.SummaryWriter = Recorder
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tracker)
    names: dict = {}
    blocks = [block for block in BLOCKS if not block.startswith("# my_")]
    use = next(block for block in blocks if "jvae.encode" in block)
    assert len(use.strip().splitlines()) <= 8
    for block in blocks:
        exec(compile(block, "jvae/README.md", "exec"), names)
    assert [step for _, _, step in names["writer"].scalars] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert names["loc"].shape == names["scale"].shape == names["z"].shape == (16, 2)
    assert names["means"].shape == names["x"].shape == (16, 8, 8, 1)
    assert os.path.getsize("posterior.png") > 1000
    names["ones"] = jax.numpy.ones((1, 8, 8, 1))
    exec("d = vae.apply(vae.init(key, key, ones), key, ones)", names)
    exec("model = jvae.train(recipe._replace(model=flat), mine, epochs=2, batch_size=64)", names)
    for row in ROWS:
        eval(row, names)


def test_the_names_of_the_pictures_are_those_of_the_module():
    (listed,) = re.findall(r"a matplotlib figure; by name (.*?) \|", README)
    for name in re.findall(r"`(\w+)`", listed):
        assert callable(getattr(jvae.pictures, name))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Explicitly requested dtype")  # in TFP's Student-t
@pytest.mark.parametrize("name", FILES)
def test_the_readmes_recipe_files_are_trained_evaluated_and_drawn(name, tmp_path):
    assert len(FILES[name].strip().splitlines()) <= 40
    path, model = tmp_path / name, tmp_path / "m.npz"
    path.write_text(FILES[name])
    train = ["train", "--dataset", "digits", "--latent-dim", "2", "--epochs", "2", "--batch-size", "128"]
    for command in (
        [*train, "--recipe", path, "--runs", "2", "--validation", "test"],
        ["evaluate", "--recipe", path],
        ["sample", "--recipe", path, "--samples", tmp_path / "s.png"],
        ["plot", "posterior", "--recipe", path, "--run", "1", "--output", tmp_path / "p.png"],
    ):
        result = CliRunner().invoke(main, [*map(str, command), "--model", str(model)])
        assert result.exit_code == 0, result.output
    history = jvae.load(model, load_recipe(path)).history
    assert history[-1]["validation"][0] > history[0]["validation"][0]


def load_recipe(path: Path):
    names: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names["recipe"]


def test_there_is_a_file_of_every_part():
    assert FILES.keys() == {"my_prior.py", "my_networks.py", "my_likelihood.py", "my_bound.py"}
