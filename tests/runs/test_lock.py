"""Files and folders that a process owns while it writes there."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import jvae, random_model, refused

from experiments.reporting.findings import open_folder
from jvae.errors import JvaeError
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config
from jvae.runs.lock import OwnedFile, lock_of, owning

HOLD = """
import sys
from jvae.errors import JvaeError
from jvae.runs.lock import owning
try:
    sys.stdin.readline()
    with owning(sys.argv[1]):
        print("owns", flush=True)
        sys.stdin.readline()
except JvaeError:
    print("refused", flush=True)
"""
QUICK = ("--dataset", "digits", "--latent-dim", "2", "--hidden", "8,8", "--batch-size", "512", "--epochs", "1")


def start(path) -> subprocess.Popen:
    """Start a process that, on a line of input, owns the path or is refused, and, on another, ends."""
    command, pipe = [sys.executable, "-c", HOLD, str(path)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def tell(process: subprocess.Popen) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
def test_of_many_that_start_at_once_one_owns_it(tmp_path):
    for _ in range(20):
        processes = [start(tmp_path / "m.npz") for _ in range(3)]
        for process in processes:
            tell(process)
        assert sorted(process.stdout.readline() for process in processes) == ["owns\n", "refused\n", "refused\n"]
        for process in processes:
            process.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_leaves_locks_nothing(tmp_path):
    process = start(tmp_path / "m.npz")
    tell(process)
    assert process.stdout.readline() == "owns\n"
    with pytest.raises(JvaeError, match=f"process {process.pid} on {socket.gethostname()}"), owning(tmp_path / "m.npz"):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 1
    with owning(tmp_path / "m.npz"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_path_leads_to_is_owned(tmp_path):
    """Through links and other spellings, whether it exists or not; its neighbours are free."""
    (tmp_path / "scratch").mkdir()
    for name in ("link.npz", "again.npz"):
        (tmp_path / name).symlink_to(tmp_path / "scratch" / "m.npz")
    owner = re.escape(f": process {os.getpid()} on {socket.gethostname()} is writing it")
    with owning(tmp_path / "link.npz"):
        for other in ("again.npz", "scratch/m.npz", "scratch/../scratch/m.npz"):
            with pytest.raises(JvaeError, match=owner), owning(tmp_path / other):
                pass
        with owning(tmp_path / "scratch" / "n.npz"), owning(str(tmp_path / "scratch")):
            pass


def test_a_lock_has_a_name_that_fits(tmp_path):
    for path in (tmp_path / ("m" * 255), tmp_path / ("ø" * 127)):
        with owning(path):
            assert [lock_of(path)] == list(tmp_path.iterdir())


def test_a_lock_that_another_user_has_left_is_taken(tmp_path, monkeypatch):
    lock, opened = lock_of(tmp_path / "m.npz"), os.open
    lock.write_text("1 elsewhere\n")

    def refusing(path, flags, *more, **others):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", refusing)
    with owning(tmp_path / "m.npz"), pytest.raises(JvaeError, match="1 on elsewhere"), owning(tmp_path / "m.npz"):
        pass
    with pytest.raises(JvaeError, match="Permission denied"), owning(tmp_path / "n.npz"):
        pass


@pytest.mark.slow
def test_without_locks_a_file_that_another_has_written_is_left_as_it_is(tmp_path, monkeypatch, tiny, small):
    """The digest at its end shows that."""

    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    path = tmp_path / "m.npz"
    model, other = (random_model(Config(**{**small.to_dict(), "seed": i}), tiny) for i in (0, 1))
    with owning(path), owning(path):
        ours, theirs = OwnedFile(path), OwnedFile(path)
        for _ in range(2):
            with ours.saving():
                save(path, model)
        before = path.read_bytes()
        with pytest.raises(JvaeError, match="another process has written it"), theirs.saving():
            save(path, other)
        assert path.read_bytes() == before
        path.unlink()  # once it is removed, a save overwrites nothing
        with ours.saving():
            save(path, model)
        save(path, other)
        with pytest.raises(JvaeError, match="another process has written it"), ours.saving():
            save(path, model)
        assert load(path).config.seed == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("more", [(), ("--resume",), ("--overwrite",)])
def test_a_second_training_of_a_file_is_refused_before_any_work(more, tmp_path):
    path, log = tmp_path / "m.npz", tmp_path / "l.csv"
    with owning(path):
        assert str(path) in refused("train", *QUICK, "--model", path, *more, code=1)
    with owning(log):
        assert str(log) in refused("train", *QUICK, "--model", path, "--log", log, *more, code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_training_ends_where_another_has_written_its_file(tmp_path, monkeypatch):
    """As copying a file there does, or a process on a system without locks."""
    path, train_config_epochs = tmp_path / "m.npz", api.train_config_epochs

    def meanwhile(*arguments, **options):
        for model in train_config_epochs(*arguments, **options):
            path.write_text("another's")
            yield model

    monkeypatch.setattr(api, "train_config_epochs", meanwhile)
    assert "another process has written it" in jvae("train", *QUICK, "--model", path, code=1).stderr.splitlines()[-1]
    assert path.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_readers_are_not_asked(tmp_path, tiny, small):
    path = tmp_path / "m.npz"
    with owning(path):
        record = {"epoch": 1, "bound": -1.0, "reconstruction": -1.0, "kl": 0.0, "seconds": 1.0}
        save(path, random_model(small, tiny)._replace(history=[record]))
        load(path)
        jvae("plot", "history", "--model", path, "--output", tmp_path / "h.png")


def test_a_second_sweep_or_report_in_a_folder_is_refused(tmp_path):
    with owning(tmp_path):
        line = jvae("sweep", *QUICK, "--grid", "seed=0,1", "--output", tmp_path, code=1).stderr.splitlines()[-1]
        assert line.startswith(f"jvae: error: {tmp_path}: ")
        with pytest.raises(JvaeError, match="is writing it"), open_folder(tmp_path):
            pass
    assert list(Path(tmp_path).iterdir()) == []
    with open_folder(tmp_path), pytest.raises(JvaeError, match="is writing it"), owning(tmp_path):
        pass
