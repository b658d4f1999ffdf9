"""What must hold for every command's paths before it begins, over all commands and all pairs of their paths."""

import contextlib
import errno
import json
import os
import stat
import zipfile
from pathlib import Path
from unittest import mock

import click
import pytest
from click.testing import CliRunner
from helpers import refused

from experiments.__main__ import experiments
from experiments.faults.paths import TYPES, commands_of, is_output, pairs_of, run_pair
from jvae.cli.main import main
from jvae.cli.paths import PathCommand, is_model_file
from jvae.errors import JvaeError


@pytest.fixture(autouse=True)
def no_work(monkeypatch) -> None:
    """Stop every command where it asks for a device, the first step after its paths are checked."""
    monkeypatch.setattr("jvae.runs.mesh.select_device", mock.Mock(side_effect=JvaeError("work was begun")))


COMMANDS = [(group, *found) for group in (main, experiments) for found in commands_of(group)]
PAIRS = [pair for found in COMMANDS for pair in pairs_of(*found)]


@pytest.mark.parametrize(("group", "words", "command"), COMMANDS, ids=[" ".join(found[1]) for found in COMMANDS])
def test_every_path_says_what_it_is_and_is_checked(group, words, command):
    for parameter in command.params:
        of_paths = isinstance(parameter.type, (click.Path, click.File)) or parameter.name in ("dataset", "source")
        assert isinstance(parameter.type, TYPES) or not of_paths, parameter.name
        if getattr(parameter.type, "kept", False):
            assert "overwrite" in {other.name for other in command.params}
    assert isinstance(command, PathCommand) or not any(map(is_output, command.params))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_no_output_is_another_path(tmp_path, monkeypatch, pair):
    monkeypatch.chdir(tmp_path)
    assert run_pair(pair, tmp_path) == ""


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """Write what the check of paths takes for a model file that was trained on data.npz."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", json.dumps({"config": {"dataset": f"npz:{tmp_path / 'data.npz'}"}}))
    return path


def unchanged(line_of: str, *arguments: object, code: int = 2) -> None:
    """Assert that a command is refused in one line with these words, and changes nothing in the working directory."""
    before = {path: (path.lstat().st_ino, path.is_file() and path.read_bytes()) for path in Path().rglob("*")}
    assert line_of in refused(*arguments, code=code)
    assert {path: (path.lstat().st_ino, path.is_file() and path.read_bytes()) for path in Path().rglob("*")} == before


def test_the_data_that_a_model_names_are_an_input(model):
    Path("data.npz").write_text("readable, so that nothing else refuses it")
    unchanged("the data of --model and --json", "evaluate", "--model", model, "--json", "data.npz")
    unchanged("the data of --model and --json", "train", "--resume", "--model", model, "--json", "data.npz")


def test_the_files_of_a_data_folder_are_inputs_and_others_in_it_are_not(model):
    for name in ("idx/train-images-idx3-ubyte", "pictures/cat/1.png", "pictures/result.json", "elsewhere.json"):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_text("text")
    Path("idx/train-labels-idx1-ubyte.gz").symlink_to(Path("elsewhere.json").absolute())
    evaluate = ["evaluate", "--model", model]
    for option, folder in (("--dataset", "idx:idx"), ("--data-dir", "idx")):
        for path in ("idx/train-images-idx3-ubyte", "elsewhere.json"):
            unchanged(f"{option} and --json", *evaluate, option, folder, "--json", path)
        unchanged("work was begun", *evaluate, option, folder, "--json", "idx/result.json", code=1)
    pictures = ["--dataset", "folder:pictures"]
    unchanged(
        "--dataset and --output", "plot", "prior", "--model", model, *pictures, "--output", "pictures/cat/new.png"
    )
    unchanged("work was begun", *evaluate, *pictures, "--json", "pictures/result.json", code=1)
    unchanged("--dataset and --output", "sweep", "--grid", "seed=0", *pictures, "--output", "pictures/more")


def test_what_a_sweep_makes_is_no_input(model):
    Path("sweep").mkdir()
    Path("sweep/latent-dim=2.npz").write_text("data")
    data = ["--dataset", "npz:sweep/latent-dim=2.npz"]
    unchanged("--dataset and --output", "sweep", "--grid", "latent-dim=2", *data)
    unchanged("work was begun", "sweep", "--grid", "latent-dim=3", *data, code=1)


def test_only_overwrite_replaces_models_and_state_dicts(model):
    Path("model.pt").write_bytes(b"a state dict\0")
    unchanged("--overwrite replaces it", "export-pytorch", "--model", model, "model.pt")
    unchanged("--overwrite replaces it", "train", "--model", model)
    unchanged("--overwrite replaces it", "import-pytorch", "model.pt", "--model", model)
    other = Path("other.npz")
    other.write_bytes(model.read_bytes()[:-9])  # damaged, but still a model file
    assert is_model_file(other)
    unchanged("is a model file", "export-pytorch", "--model", model, other, "--overwrite")
    unchanged("is a model file", "evaluate", "--model", model, "--json", other)
    unchanged("is a model file", "encode", "--model", model, "--output", other)
    unchanged("does not hold text", "evaluate", "--model", model, "--json", "model.pt")


def test_pipes_take_text_and_stdout_takes_it_too(model):
    os.mkfifo("pipe.png")
    unchanged("is a pipe", "sample", "--model", model, "--samples", "pipe.png")
    unchanged("is a pipe", "train", "--model", "pipe.png", "--overwrite")
    for arguments in (["sample", "--samples"], ["explore", "--output"], ["plot", "prior", "--output"]):
        unchanged("stdout takes", *arguments, "-", "--model", model)
    unchanged("stdout takes", "train", "--model", "-")
    unchanged("--json and --log must be", "train", "--json", "-", "--log", "-")
    unchanged("work was begun", "evaluate", "--model", model, "--json", "pipe.png", code=1)
    assert stat.S_ISFIFO(Path("pipe.png").stat().st_mode)


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("no/such/result", 2, "/no/such does not exist"),
        ("no/../no/result", 2, "does not exist: make it with mkdir -p"),
        ("m.npz/result", 2, "m.npz is a file, where a directory is expected"),
        ("m.npz/no/result", 2, "m.npz is a file, where a directory is expected"),
        (".", 2, ".: is a directory, where a file is expected: name a file in it"),
        ("", 2, "the path is empty"),
        ("x" * 256, 2, "has a name of 256 bytes: must be at most 255"),
        ("y/" * 2100, 2, "File name too long"),
        ("/sys/result", 1, "cannot be written: "),
        ("loop", 2, "Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_written_is_found_before_any_work(model, path, code, said):
    Path("loop").symlink_to("loop")
    for arguments in (["train", "--model"], ["train", "--json"], ["evaluate", "--model", model, "--json"]):
        unchanged(said, *arguments, path, code=code)


def test_folders_that_cannot_be_made_are_found_before_any_work(model):
    sweep = ["sweep", "--grid", "seed=0", "--output"]
    unchanged("a name of 256 bytes", *sweep, f"new/{'x' * 256}")
    unchanged("m.npz is a file, where a directory is expected", *sweep, "m.npz/folder")
    unchanged("m.npz: is a file, where a directory is expected; a new name makes one", *sweep, "m.npz")
    unchanged("cannot be written", *sweep, "/sys/new/folder", code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--data-dir", "m.npz"], "m.npz: is a file, where a directory is expected"),
        (["train", "--data-dir", "pictues"], "pictues: there is no such directory; did you mean pictures?"),
        (["evaluate", "--model", "pictures"], "pictures: is a directory, where a file is expected"),
        (["info", "m.npz", "pictures"], "error: pictures: is a directory, where a file is expected"),
        (["info", "m.npzz"], "error: m.npzz: there is no such file; did you mean m.npz?"),
        (["import-pytorch", "no.pt"], "error: no.pt: there is no such file"),
        (["train", "--recipe", "m.npz"], "m.npz: must be a Python file, with a name that ends in .py"),
    ],
    ids=str,
)
def test_an_input_of_another_kind_is_named_with_what_is_expected(model, words, said):
    Path("pictures").mkdir()
    unchanged(said, *words)


def test_a_full_disk_is_found_before_any_work(model, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("tempfile.mkstemp", mock.Mock(side_effect=full))
    for arguments in (["train"], ["train", "--json", "j"], ["sweep", "--grid", "seed=0"], ["encode", "--model", model]):
        unchanged("No space left on device", *arguments, code=1)


def test_another_folder_is_not_replaced_by_a_parts_results(tmp_path):
    (tmp_path / "kl").mkdir()
    (tmp_path / "kl" / "thesis.tex").write_text("mine")
    for command in ("kl", "all"):
        result = CliRunner().invoke(experiments, [command, "--quick", "--output", str(tmp_path)])
        assert result.exit_code == 2, result.output
        assert "holds something other than results" in result.stderr
    assert (tmp_path / "kl" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(("module", "command"), [("train", ("train",)), ("pytorch", ("import-pytorch", "model.pt"))])
def test_a_file_that_comes_before_it_is_owned_is_left_as_it_is(module, command, tmp_path, monkeypatch):
    """Another process may write it between the check of the paths and the lock."""
    monkeypatch.chdir(tmp_path)
    Path("model.pt").touch()

    @contextlib.contextmanager
    def owning(path):
        if path.name == "m.npz":
            path.write_bytes(b"another's")
        yield

    monkeypatch.setattr(f"jvae.cli.{module}.owning", owning)
    assert "m.npz: already exists" in refused(*command, "--dataset", "digits", "--model", "m.npz", code=2)
    assert Path("m.npz").read_bytes() == b"another's"
