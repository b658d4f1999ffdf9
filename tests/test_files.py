"""Files: what a path leads to is written whole or not at all, and what would fail is known beforehand."""

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from jvae.errors import JvaeError
from jvae.files import (
    check_writable,
    fitting_name,
    is_stdout,
    open_text,
    same_file,
    sweep_temporaries,
    write_atomically,
    write_file,
    write_json,
    write_text,
)


def test_links_stay_and_lead_to_what_is_written(tmp_path):
    (tmp_path / "scratch").mkdir()
    target, link, chain = tmp_path / "scratch" / "m.npz", tmp_path / "m.npz", tmp_path / "chain"
    link.symlink_to("scratch/m.npz")  # it does not exist yet
    chain.symlink_to(link)
    for data in (b"first", b"second"):
        write_atomically(chain, data)
        assert target.read_bytes() == data
        assert link.is_symlink()
        assert chain.is_symlink()
        assert os.listdir(tmp_path / "scratch") == ["m.npz"]
        assert sorted(os.listdir(tmp_path)) == ["chain", "m.npz", "scratch"]


def test_what_is_replaced_passes_its_permissions_on(tmp_path):
    path = tmp_path / "m.npz"
    write_file(path, b"new")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    write_file(path, b"newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_text_goes_straight_into_a_pipe_and_all_else_is_refused(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"elbo": -1.5})
    reader.join()
    assert json.loads(read[0]) == {"elbo": -1.5}
    with pytest.raises(JvaeError, match="a pipe"):
        write_file(pipe, b"data")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_stays_a_device_and_a_full_one_is_one_line(tmp_path):
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root makes devices")
    for write, data in ((write_text, "text"), (write_file, b"data")):
        with pytest.raises(JvaeError, match="cannot be written"):
            write(full, data)
        assert stat.S_ISCHR(full.lstat().st_mode)


def test_a_dash_is_stdout(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_text(Path("-")) as file:
        file.write("a,b\n")
    assert capsys.readouterr().out == "a,b\n"
    assert os.listdir() == []


def test_what_stdout_is_takes_text_and_is_never_replaced(tmp_path, capfd):
    path = tmp_path / "out.txt"
    path.write_text("")
    saved = os.dup(1)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
        assert is_stdout(path)
        assert same_file(path, Path("-"))
        with pytest.raises(OSError, match="own output"):
            write_atomically(path, b"data")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert not is_stdout(path)


def test_files_are_the_same_by_what_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("")
    other.write_text("")
    (tmp_path / "soft").symlink_to(one)
    os.link(one, tmp_path / "hard")
    (tmp_path / "ahead").symlink_to(tmp_path / "new")
    for same in (Path("one"), tmp_path / "soft", tmp_path / "hard", tmp_path / ".." / tmp_path.name / "one"):
        assert same_file(one, same)
        assert not same_file(other, same)
    assert same_file(Path("new"), tmp_path / "ahead")
    assert not same_file(Path("new"), one)


def test_long_names_are_shortened_and_stay_different(tmp_path):
    assert fitting_name("prior=mog") == "prior=mog"
    one, other = fitting_name("x" * 300), fitting_name("x" * 299 + "y")
    assert len(one) == len(other) == 128
    assert one != other
    assert len(os.fsencode(fitting_name("å" * 200))) <= 128
    longest = tmp_path / ("n" * 255)
    write_atomically(longest, b"data")  # its temporary's name fits too
    assert longest.read_bytes() == b"data"
    assert os.listdir(tmp_path) == [longest.name]


def test_temporaries_of_long_and_linked_names_are_swept(tmp_path):
    (tmp_path / "scratch").mkdir()
    target, link = tmp_path / "scratch" / "m.npz", tmp_path / "link.npz"
    link.symlink_to(target)
    left = target.with_name(f".m.npz.{socket.gethostname()}.{2**22 + 1}.x.tmp")
    left.write_text("")
    assert sweep_temporaries(link) == [left]
    assert not left.exists()


def test_a_folder_that_cannot_be_listed_is_written_to(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    write_atomically(tmp_path / "m.npz", b"data")
    assert (tmp_path / "m.npz").read_bytes() == b"data"


def test_the_probe_leaves_nothing_and_fails_as_the_write_would(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    check_writable(path)
    assert os.listdir(tmp_path) == []
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a read-only file, which root may write
    with pytest.raises(PermissionError):
        check_writable(path)
    with pytest.raises(OSError, match="No such file"):
        check_writable(tmp_path / "no" / "m.npz")
