"""`jvae train --log`: one line per epoch, complete at any time, and the same after an interruption."""

import csv
import json
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvae.cli.epoch_log import open_epoch_log
from jvae.cli.main import main
from jvae.errors import JvaeError

QUICK = ["--dataset", "digits", "--latent-dim", "2", "--batch-size", "256", "--hidden-dim", "4", "--device", "cpu"]


def train(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["train", *QUICK, *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stderr


@pytest.mark.slow
def test_a_resumed_log_has_every_epoch_once(tmp_path):
    model, log, result = tmp_path / "m.npz", tmp_path / "log.CSV", tmp_path / "r.json"
    several = ["--runs", 2, "--validation", "test", "--model", model, "--json", result]
    train(*several, "--epochs", 2, "--log", log)
    log.write_text(log.read_text()[:-5])  # as a crashed machine may leave it
    train(*several, "--epochs", 4, "--log", log, "--resume")
    rows = list(csv.DictReader(log.read_text().splitlines()))
    history = json.loads(result.read_text())["history"]
    assert list(rows[0])[:3] == ["epoch", "bound_0", "bound_1"]
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    for row, record in zip(rows, history, strict=True):
        assert [float(row["validation_0"]), float(row["validation_1"])] == record["validation"]
        assert float(row["seconds"]) == record["seconds"]
    lines = tmp_path / "log.jsonl"
    assert "finished" in train(*several, "--epochs", 4, "--log", lines, "--resume")
    assert [json.loads(line) for line in lines.read_text().splitlines()] == history


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_epoch_can_be_read_as_it_ends(tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    with open_epoch_log(path, []) as write:
        assert path.read_text() == ""
        for epoch in (1, 2, 3):
            write({"epoch": epoch, "bound": [-1.5, None], "validation": [float("nan"), None], "seconds": 0.25})
            assert len(path.read_text().splitlines()) == epoch + (suffix == ".csv")
    if suffix == ".csv":
        assert path.read_text().splitlines()[1] == "1,-1.5,,,,0.25"
    else:
        assert json.loads(path.read_text().splitlines()[0])["validation"] == [None, None]


def test_a_log_goes_through_links_pipes_and_stdout(tmp_path, capsys):
    record = {"epoch": 1, "bound": -1.5}
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "log.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.jsonl").read_text()))
    reader.start()
    for path in (tmp_path / "link.jsonl", tmp_path / "pipe.jsonl", Path("-")):
        with open_epoch_log(path, [record]) as write:
            write(record)
    reader.join()
    assert (tmp_path / "link.jsonl").is_symlink()
    lines = 2 * (json.dumps(record) + "\n")
    assert (tmp_path / "log.jsonl").read_text() == read[0] == capsys.readouterr().out == lines


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    with open_epoch_log(tmp_path / "log.csv", []) as write:
        (tmp_path / "log.csv").unlink()
        (tmp_path / "log.csv").mkdir()
        with pytest.raises(JvaeError, match="cannot be written"):
            write({"epoch": 1})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log", "log.txt"], "the ending must be one of .csv, .jsonl"),
        (["--log", "no/such/log.csv"], "does not exist"),
        (["--log", "a.csv", "--model", "./a.csv"], "--model and --log must be different files"),
        (["--log", "a.jsonl", "--json", "a.jsonl"], "--json and --log must be different files"),
        (["--model", "a", "--json", "a"], "--model and --json must be different files"),
    ],
)
def test_a_wrong_log_is_refused_before_any_work(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    line = train(*options, code=2)
    assert said in line
    assert len(line.splitlines()) == 1
    assert os.listdir(tmp_path) == []
