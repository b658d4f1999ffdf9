"""What `jvae train` shows while it trains: on a terminal of 80 columns, and without a terminal."""

import os
import pty
import re
import struct
import subprocess
import sys

import pytest
from click.testing import CliRunner

from jvae.cli.main import main
from jvae.cli.progress import COLLAPSED_KL, LINE_SECONDS, Bar, Extent, Line, Lines, next_pace
from jvae.runs import api
from jvae.runs.conditions import Chunking, Progress
from jvae.runs.config import Config

QUICK = ["--dataset", "digits", "--latent-dim", "2", "--batch-size", "128", "--hidden-dim", "4", "--device", "cpu"]


def screen(text: str, columns: int) -> tuple[list[str], int]:
    """Return what a terminal shows at the end, and how often it had to wrap a line."""
    lines, column, wraps = [[" "] * columns], 0, 0
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\n":
            lines.append([" "] * columns)
        else:
            assert character.isprintable(), repr(character)
            if column == columns:
                lines.append([" "] * columns)
                column, wraps = 0, wraps + 1
            lines[-1][column] = character
            column += 1
    return ["".join(line).rstrip() for line in lines], wraps


def in_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Run a command whose stderr is a terminal with some columns; return its exit code and what it wrote there."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 4096):
            written += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=300), written.decode()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 40])
def test_a_terminal_shows_one_line_that_never_wraps(tmp_path, columns):
    code = "import sys; from jvae.cli.main import main; main(sys.argv[1:], prog_name='jvae')"
    options = [*QUICK, "--epochs", "40", "--runs", "2", "--validation", "test", "--model", str(tmp_path / "m.npz")]
    exit_code, text = in_terminal([sys.executable, "-c", code, "train", *options], columns)
    assert exit_code == 0, text
    _, moving = text.replace("\r\n", "\n").split("epoch 1/40", 1)
    lines, wraps = screen("epoch 1/40" + moving, columns)
    assert wraps == 0
    assert [line for line in lines if line.startswith("epoch")] == [lines[0]]  # it stayed where it was
    assert lines[0].startswith("epoch 40/40 |")
    assert "compiling" in moving.split("\r")[0]
    if columns == 80:
        assert re.search(r"\| 00:00 left, [\d,]+ images/s, mean validation -\d+\.\d\d, kl \d+\.\d\d$", lines[0])


def test_a_terminal_without_columns_is_taken_for_a_usual_one(capsys):
    """A terminal that reports 0 columns is taken for one of 80."""
    told = Bar(Extent(3, 100, 1))
    with told:
        told.line.numbers = "x" * 200
        assert told.line.format_dict["ncols"] == 79
        assert len(Line.format_meter(**told.line.format_dict)) == 79
    assert "epoch 1/3" in capsys.readouterr().err


def test_the_time_left_leaves_compilation_out():
    """Steps take 0.01 s, 100 to an epoch; the first chunk compiles for 50 s, what follows the first epoch for 20 s."""
    pace, now = None, 0.0
    for epoch in range(1, 5):
        for step in (20, 60, 100):
            now += 0.01 * (20 if step == 20 else 40)
            now += {(1, 20): 50.0, (2, 20): 20.0}.get((epoch, step), 0.0)
            pace = next_pace(pace, Progress(epoch, step, 100, 1), now)
            if (epoch, step) == (1, 20):
                assert pace.rate is None
            else:
                assert pace.rate == pytest.approx(1.0)


def test_an_epoch_of_one_chunk_has_a_rate_of_its_own():
    now, said = [0.0], []
    told = Lines(Extent(3, 1000, 1), said.append, clock=lambda: now[0])
    with told:
        for epoch, seconds in ((1, 9.0), (2, 2.0), (3, 4.0)):
            now[0] += seconds
            told.chunk(Progress(epoch, 100, 100, 1))
            told.epoch({"epoch": epoch, "bound": -3.0, "reconstruction": -1.0, "kl": 2.0, "seconds": seconds})
    assert [line.partition(" s")[2].strip() for line in said[1:]] == [
        "", "00:02 left  500 images/s", "00:00 left  250 images/s"
    ]  # fmt: skip


def test_lines_start_before_the_first_epoch_ends():
    now, said = [0.0], []
    told = Lines(Extent(2, 1000, 5), said.append, clock=lambda: now[0])
    record = {"epoch": 1, "bound": [-3.0, None], "reconstruction": [-1.0, None], "kl": [2.0, None], "seconds": 60.0}
    with told:
        assert said == ["epoch 1/2  compiling"]
        for step in range(10, 101, 10):
            now[0] += 6.0
            told.chunk(Progress(1, step, 100, 5))
        told.epoch(record)
    steps = [int(found[1]) for line in said if (found := re.search(r"step (\d+)/100", line))]
    assert steps == [10, 60]  # a line after the first chunk, the next after LINE_SECONDS
    assert LINE_SECONDS == 30
    assert said[-1].startswith("epoch 1/2  mean of 1 run:  bound    -3.000")
    assert said[-1].endswith("60.00 s  01:00 left  83 images/s")


def test_a_collapsed_kl_is_told_once_a_run():
    said = []
    told = Lines(Extent(3, 100, 3), said.append)
    record = {"epoch": 1, "bound": [-3.0] * 3, "reconstruction": [-1.0] * 3, "seconds": 1.0}
    told.epoch({**record, "kl": [COLLAPSED_KL / 2, 1.0, None]})
    told.epoch({**record, "kl": [COLLAPSED_KL / 2, COLLAPSED_KL, None]})
    told.epoch({**record, "kl": [COLLAPSED_KL / 2, 0.0, None]})
    warnings = [line for line in said if line.startswith("warning")]
    assert [re.search(r"of run (\d)", line)[1] for line in warnings] == ["0", "1"]


@pytest.mark.slow
def test_training_reports_its_progress_with_the_same_results(small: Config, tiny):
    seen = []
    how = api.Conditions(chunking=Chunking(first_steps=3, seconds=0.0), progress=seen.append)
    *_, told = api.train_config_epochs(small, tiny, how=how)
    *_, silent = api.train_config_epochs(small, tiny)
    assert [(at.epoch, at.step) for at in seen] == [(1, 3), (1, 4), *((2, step) for step in range(1, 5))]
    assert {(at.num_steps, at.running) for at in seen} == {(4, 1)}
    assert told.history[-1]["bound"] == silent.history[-1]["bound"]


@pytest.mark.slow
def test_a_collapse_is_told_by_the_command(tmp_path):
    options = [*QUICK, "--epochs", "30", "--beta", "100", "--learning-rate", "0.01", "--model", str(tmp_path / "m.npz")]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("the KL of all dimensions has collapsed") == 1
    assert "epoch 1/30  compiling" in result.stderr
