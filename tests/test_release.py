"""What a release promises: declared packages, one version everywhere, types, a citation, a workflow."""

import ast
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMPORTED_AS = {
    "google-crc32c": "google_crc32c",
    "markdown-it-py": "markdown_it",
    "mdit-py-plugins": "mdit_py_plugins",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "tensorflow-datasets": "tensorflow_datasets",
    "tfp-nightly": "tensorflow_probability",
}
NEEDED_BY_OTHERS = {"importlib_resources", "array_record"}
"""What tensorflow-datasets imports and does not declare."""
TOOLS = {"ipykernel", "mypy", "pytest-xdist", "ruff", "zstandard"}
"""What the tests need as a program or a plugin, or what JAX uses if it is there."""


def packages(requirements: list[str]) -> set[str]:
    """Return the import names of requirements."""
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in requirements]
    return {IMPORTED_AS.get(name, name) for name in names} - {"jvae"}


def imported(folder: str) -> set[str]:
    """Return the third-party packages that a folder's files import, anywhere in them."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    ours = {"jvae", "experiments", *(path.stem for path in (ROOT / folder).rglob("*.py"))}
    return found - set(sys.stdlib_module_names) - ours


def test_what_is_imported_is_declared_and_nothing_else():
    declared = packages(PROJECT["dependencies"])
    optional = packages(EXTRAS["pytorch"] + EXTRAS["stream"])
    assert declared - NEEDED_BY_OTHERS == imported("jvae") - optional
    assert optional <= imported("jvae")
    assert imported("experiments") <= declared | optional | packages(EXTRAS["report"])
    assert packages(EXTRAS["report"]) <= imported("experiments")


def test_what_the_tests_import_is_declared():
    declared = packages([*PROJECT["dependencies"], *EXTRAS["test"]])
    optional = packages(EXTRAS["pytorch"] + EXTRAS["report"] + EXTRAS["browser"])
    assert imported("tests") <= declared | optional | {"xdist"}
    assert packages(EXTRAS["test"]) - TOOLS - packages(EXTRAS["stream"]) <= imported("tests")


def test_the_version_is_one():
    version = PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert re.search(r"version = \{(.+?)\}", (ROOT / "README.md").read_text(encoding="utf-8"))[1] == version
    newest = re.search(r"^## \[(\d.+?)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest[1] == version


def test_it_can_be_cited():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= said.keys()
    assert said["license"] == PROJECT["license"]


def test_the_package_is_typed():
    assert (ROOT / "jvae" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_workflow_runs_what_anybody_can_run():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML 1.1 reads `on` as true
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    assert any(".ci/run" in step.get("run", "") for step in steps)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_extra_is_explained(extra):
    text = (ROOT / "jvae" / "README.md").read_text(encoding="utf-8")
    section = text.split("## Install")[1].split("\n## ")[0]
    assert f"`{extra}`" in section
