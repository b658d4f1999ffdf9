"""Standard streams that are closed, full, or of another encoding."""

import errno
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from jvae.cli.console import log
from jvae.cli.streams import printable

JVAE = f"{sys.executable} -m jvae"


@pytest.mark.parametrize(
    ("line", "code", "errors"),
    [
        ("datasets >/dev/full", 1, 1),
        ("--help >/dev/full", 1, 1),
        ("datasets >&-", 0, 0),
        ("trian >&- 2>&- <&-", 2, 0),
        ("trian 2>/dev/full", 2, 0),
        ("datasets | true", 1, 0),
        ("évaluate", 2, 1),
    ],
)
def test_output_that_cannot_be_written_gives_no_traceback(line, code, errors):
    variables = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONDEVMODE": "1"}
    pipe = {"args": ["bash", "-o", "pipefail", "-c", f"{JVAE} {line}"]}
    done = subprocess.run(**pipe, capture_output=True, env=variables, timeout=60)
    said = done.stderr.decode().splitlines()
    assert (done.returncode, len(said)) == (code, errors), said


def test_work_goes_on_when_its_output_fails(monkeypatch):
    monkeypatch.setattr("click.echo", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    log("a line")


def test_files_are_written_although_stdout_is_full(tmp_path):
    train = "train --device cpu --dataset digits --latent-dim 2 --hidden 4 --epochs 1 --model m.npz --json t.json"
    for line in (train, "evaluate --model m.npz --json e.json"):
        done = subprocess.run(f"{JVAE} {line} >/dev/full", shell=True, cwd=tmp_path, capture_output=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].startswith("jvae: error: the output: No space left")
    assert {"m.npz", "t.json", "e.json"} <= {path.name for path in tmp_path.iterdir()}


def test_a_text_of_one_line_has_nothing_that_cannot_be_printed():
    assert printable("a\nb\x1b[0m\udcff ±") == r"a\nb\x1b[0m\udcff ±"
