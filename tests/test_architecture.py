"""Who may import whom, read from the syntax of every file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "jvae").glob("*.py"))
NO_MODEL = {"encoders", "decoders", "priors", "networks", "vae", "config", "lanes", "run"}
# a heavy third party -> the files that may import it
CONFINED = {
    "click": {"cli", "cli_benchmark", "cli_explore", "cli_pytorch", "cli_options", "cli_sweep", "cli_train", "console"},
    "matplotlib": {"plots", "sheets", "pictures", "console"},
    "sklearn": {"latents", "datasets"},
    "torch": {"pytorch", "cli_pytorch"},
    "tensorflow_datasets": {"tfds"},
    "grain": {"streaming"},
    "distrax": {"encoders", "decoders", "priors", "vae", "distributions", "ppca", "diagnostics", "latents"},
}
# a file -> what it may import of ours
ALLOWED = {
    "errors": set(),
    "bounds": set(),
    "distributions": set(),
    "divergences": set(),
    "ppca": {"bounds", "divergences"},
    "initializers": set(),
    "products": set(),
    "convolutions": {"initializers", "products"},
    "networks": {"convolutions", "initializers", "products"},
    "transforms": set(),
    "encoders": {"networks"},
    "decoders": {"networks", "distributions"},
    "priors": {"networks", "distributions"},
    "vae": {"bounds", "encoders", "decoders", "priors"},
    "plots": set(),
    "sheets": {"plots"},
    "parallel": {"errors"},
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"jvae.{alias.name}" for alias in node.names} if node.module == "jvae" else {node.module}
    return names


def ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("jvae.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_keep_the_rules(path):
    top = {name.split(".")[0] for name in imports(path)}
    for package, files in CONFINED.items():
        assert package not in top or path.stem in files, f"{path.stem} imports {package}"
    assert not top & {"experiments", "tests"}
    if path.stem in ALLOWED:
        assert ours(path) <= ALLOWED[path.stem]
    if path.stem in {"training", "evaluation", "gradients"}:
        assert not ours(path) & NO_MODEL
    assert "cli" not in ours(path)


def test_every_rule_names_a_file_that_could_break_it():
    """The walk above sees imports inside functions too."""
    assert {"datasets", "config"} <= ours(ROOT / "jvae" / "run.py")
    assert "jvae.parallel" in imports(ROOT / "jvae" / "console.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_every_experiment_is_a_command():
    """But for the PyTorch peer, which is a process of its own; and `all` does every part."""
    from experiments.__main__ import experiments
    from experiments.everything import PARTS

    files = [path for path in (ROOT / "experiments").glob("*.py") if "@click.command" in path.read_text()]
    assert {path.stem for path in files} - {"pytorch_peer", "everything"} | {"all"} == set(experiments.commands)
    assert {part.name for part in PARTS} | {"all"} == set(experiments.commands)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_every_experiment_says_what_it_asks(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc
    if "@click.command" in path.read_text() and path.stem != "pytorch_peer":
        assert all(f"{word}:" in doc for word in ("Question", "Command", "Expected", "Minutes"))
