"""Who may import whom, as rules over folders, read from the syntax of every file."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "jvae").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
HEART = ("bounds", "encoders", "decoders", "priors", "vae", "recipe", "training")
# a folder of jvae ("" is its root) -> the folders that its files may import; only experiments may import cli
MAY_IMPORT = {
    "nn": {"nn"},
    "": {"", "nn"},
    "data": {"data"},
    "runs": {"", "nn", "data", "runs"},
    "view": {"", "nn", "data", "runs", "view"},
    "tools": {"", "nn", "data", "runs", "tools"},
    "cli": {"", "nn", "data", "runs", "view", "tools", "cli"},
}
# what any file may import, since it imports nothing of jvae or experiments
FOR_ALL = {"jvae.errors", "jvae.files", "experiments.vae_bernoulli"}
OUTSIDE = {"jvae", "jvae.__main__"}
# a heavy package -> the files of jvae that may import it
CONFINED = {
    "click": {"jvae.cli"},
    "matplotlib": {
        "jvae.view.classes",
        "jvae.view.plots",
        "jvae.view.image_grids",
        "jvae.view.pictures",
        "jvae.view.unfolding",
        "jvae.cli.benchmark",
        "jvae.cli.console",
        "jvae.cli.drawing",
    },
    "sklearn": {"jvae.latents", "jvae.data.datasets"},
    "PIL": {"jvae.data.folder", "jvae.view.unfolding"},
    "scipy": {"jvae.latents"},
    "torch": {"jvae.tools.state_dict", "jvae.cli.pytorch"},
    "tensorflow_datasets": {"jvae.data.tfds"},
    "google_crc32c": {"jvae.data.tfds"},
    "tensorflow_probability": {"jvae.distributions"},
    "grain": {"jvae.runs.streaming"},
    "tqdm": {"jvae.cli.progress"},
    "distrax": {
        f"jvae.{name}"
        for name in ("encoders", "decoders", "priors", "vae", "distributions", "ppca", "diagnostics", "latents")
    },
}


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str:
    """Return a module's folder inside its package, "" for the root: `jvae.nn.matmul` is of `nn`, `jvae.vae` of ""."""
    parts = module.split(".")
    return parts[1] if (ROOT / parts[0] / (parts[1] if len(parts) > 1 else "")).is_dir() and len(parts) > 1 else ""


MODULES = {module_of(path): path for path in [*FILES, *EXPERIMENTS]}


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, anywhere in it, functions and TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from inside or {node.module}


GRAPH = {module: {name for name in imports(path) if name in MODULES} for module, path in MODULES.items()}
JVAE = sorted(module_of(path) for path in FILES)


@pytest.mark.parametrize("module", JVAE)
def test_folders_keep_the_rules(module):
    allowed = MAY_IMPORT[folder_of(module)]
    for other in GRAPH[module] if module not in OUTSIDE else ():
        assert other.startswith("jvae."), f"{module} imports {other}"
        assert folder_of(other) in allowed or other in FOR_ALL, f"{module} imports {other}"


@pytest.mark.parametrize("module", JVAE)
def test_heavy_packages_stay_in_named_files(module):
    top = {name.split(".")[0] for name in imports(MODULES[module])}
    for package in top & CONFINED.keys():
        assert {module, module.rpartition(".")[0]} & CONFINED[package], f"{module} imports {package}"


def test_only_config_builds_objects_of_names():
    """The parts of the model know nothing about a Config, files, data sets or devices."""
    assert not any(
        folder_of(other) in ("runs", "data")
        for m in JVAE
        if folder_of(m) == "" and m not in OUTSIDE
        for other in GRAPH[m]
    )


def test_no_cycle_between_files_or_folders():
    TopologicalSorter(GRAPH).prepare()
    folders: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        for other in others:
            a, b = (f"{name.split('.')[0]}.{folder_of(name)}" for name in (module, other))
            if a != b and other not in FOR_ALL and module not in OUTSIDE:
                folders.setdefault(a, set()).add(b)
    TopologicalSorter(folders).prepare()


OF_COMMANDS = (
    "commands",
    "console",
    "drawing",
    "environment",
    "interruption",
    "near",
    "options",
    "path_types",
    "paths",
    "streams",
)
ALLOWED = {f"jvae.cli.{name}" for name in OF_COMMANDS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=module_of)
def test_experiments_use_what_is_public(path):
    """From the command line they use only what their commands are made of; the faults use all of it."""
    for name in imports(path):
        assert name.split(".")[0] != "tests"
        if name.startswith("jvae.cli"):
            assert name in ALLOWED | ({"jvae.cli.main"} if path.parent.name == "faults" else set())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jvae"):
            assert not any(alias.name.startswith("_") for alias in node.names)


def test_the_walk_sees_imports_inside_functions():
    assert "jvae.vae" in GRAPH["jvae.runs.config"]
    assert {"jvae.runs.mesh", "jvae.cli.options"} <= GRAPH["jvae.cli.console"]


@pytest.mark.parametrize("path", [*FILES, *EXPERIMENTS], ids=module_of)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 330


def test_the_root_and_the_heart_stay_small():
    assert len([path for path in (ROOT / "jvae").iterdir() if path.is_file()]) <= 21
    assert sum(len((ROOT / "jvae" / f"{name}.py").read_text().splitlines()) for name in HEART) < 1000


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_every_part_is_a_command():
    """A part is a module with a PART; each is a command with its name, and `all` measures them all."""
    from experiments.__main__ import experiments
    from experiments.everything import PARTS

    names = {path.stem for path in (ROOT / "experiments" / "parts").glob("*.py") if "\nPART = " in path.read_text()}
    assert {part.name for part in PARTS} == names
    assert names | {"all"} == set(experiments.commands)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=module_of)
def test_every_experiment_says_what_it_asks(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc
    if "\nPART = " in path.read_text():
        assert all(f"{word}:" in doc for word in ("Question", "Command", "Expected", "Minutes"))


BARE = {"ndarray", "Array", "Callable"}
OF_SHAPES = {"Bool", "BFloat16", "Float", "Int", "Integer", "Key", "Num", "PyTree", "Shaped", "UInt8"}


def bare_names(annotation: ast.expr | None) -> Iterator[str]:
    """Yield the arrays and functions in an annotation without shape, type, arguments or result."""
    if isinstance(annotation, ast.Subscript):
        name = ast.unparse(annotation.value).split(".")[-1]
        if name not in OF_SHAPES | {"Annotated", "Callable", "Literal"}:  # a function's arguments may be of any shape
            yield from bare_names(annotation.slice)
    elif isinstance(annotation, (ast.Name, ast.Attribute)):
        yield from {ast.unparse(annotation).split(".")[-1]} & BARE
    elif isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        yield from bare_names(ast.parse(annotation.value, mode="eval").body)
    elif annotation is not None:
        for part in ast.iter_child_nodes(annotation):
            yield from bare_names(part) if isinstance(part, ast.expr) else ()


@pytest.mark.parametrize("module", [m for m in JVAE if folder_of(m) != "cli" and m not in OUTSIDE])
def test_public_signatures_say_shapes_and_arguments(module):
    """Those of functions, methods and fields; the command line is excepted, since it is not for calling."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in (node for holder in (tree, *classes) for node in holder.body):
        if isinstance(node, ast.AnnAssign):
            assert not list(bare_names(node.annotation)), f"{module}: {ast.unparse(node.target)}"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            for annotation in (node.returns, *(argument.annotation for argument in arguments)):
                assert not list(bare_names(annotation)), f"{module}: {node.name}: {ast.unparse(annotation)}"
