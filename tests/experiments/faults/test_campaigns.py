"""The short form of the fault campaign, and that it can fail."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.faults import environment, runs, together, writes
from experiments.faults.model_files import flipped_bits
from experiments.faults.writes import failing_writes
from experiments.parts import faults
from experiments.parts.faults import CAMPAIGNS, Campaign
from experiments.reporting.lab import Lab
from experiments.reporting.settings import Settings
from jvae.runs import checkpoint

# processes, repeated trainings, and the rest of model files
LONG = ("SIG", "two ", "interrupted", "failing write", "mutated", "mismatched", "flipped", "truncated")


@pytest.mark.parametrize(
    "campaign",
    [pytest.param(c, marks=pytest.mark.slow if c.fault.startswith(LONG) else []) for c in CAMPAIGNS],
    ids=lambda campaign: campaign.fault,
)
def test_faults_are_handled(campaign, tmp_path):
    texts = list(campaign.inject(tmp_path, 0.05))
    assert texts
    assert [text for text in texts if text] == []


@pytest.mark.slow
def test_the_campaign_sees_faults_that_are_not_handled(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "load", lambda path: None)
    assert all("was loaded" in text for text in flipped_bits(tmp_path, 0.01))
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, data: path.write_bytes(data[: len(data) // 2]))
    (tmp_path / "more").mkdir()
    with pytest.raises(checkpoint.ModelFileError, match="damaged"):
        list(failing_writes(tmp_path / "more", 0.1))


def test_an_error_that_ends_a_campaign_is_a_fault_that_is_not_handled(tmp_path):
    def inject(folder, share):
        yield ""
        raise OSError("the disk is on fire\nand more")

    row = faults.inject(Campaign("fire", "none", inject), 1.0, tmp_path, "")
    assert row["injected"] == 2
    assert row["missed"] == ["the campaign ends: OSError: the disk is on fire"]


def test_a_campaign_that_is_over_is_kept_for_the_same_commit_alone(tmp_path, monkeypatch):
    injected = []
    monkeypatch.setattr(faults, "CAMPAIGNS", (Campaign("one", "none", lambda *_: injected.append(1) or iter([""])),))
    for i, (source, calls) in enumerate(
        (("a", 1), ("a", 1), ("b", 2), ("b-dirty", 3), ("b-dirty", 4), ("", 5), ("", 6))
    ):
        monkeypatch.setattr(faults, "commit", lambda: source)  # noqa: B023
        values, _ = faults.measure(Lab(Settings(), tmp_path))
        assert (i, len(injected)) == (i, calls)
        assert values["rows"][0]["injected"] == 1


SLEEPER = "import os, time; os.close(2); time.sleep(60)"


@pytest.fixture
def hanging(monkeypatch):
    """The processes that were waited for with a time limit; each waits in vain."""
    waited = []

    def communicate(process, timeout):
        waited.append(process)
        raise subprocess.TimeoutExpired("a training", timeout)

    def start_training(path, *more):
        return subprocess.Popen([sys.executable, "-c", SLEEPER], stderr=subprocess.PIPE, text=True)

    communicated = subprocess.Popen.communicate
    monkeypatch.setattr(
        subprocess.Popen,
        "communicate",
        lambda process, *_, timeout=None: communicate(process, timeout) if timeout else communicated(process),
    )
    monkeypatch.setattr(runs, "start_training", start_training)
    monkeypatch.setattr(runs, "whole_training", lambda: Path("whole.npz"))
    monkeypatch.setattr(together, "JVAE", [sys.executable, "-c", SLEEPER])
    return waited


@pytest.mark.parametrize("inject", [partial(runs.signalled, runs.signal.SIGTERM), together.started_together])
def test_a_process_that_hangs_is_a_fault_and_is_killed(inject, hanging, tmp_path):
    texts = list(inject(tmp_path, 0.1))
    assert texts == [f"{i}: raises TimeoutExpired: Command 'a training' timed out after 120 seconds" for i in range(2)]
    assert hanging
    assert all(process.returncode < 0 for process in hanging)


def test_any_error_of_a_save_is_one_fault(tmp_path, monkeypatch):
    def small_model(folder):
        (folder / "original.npz").touch()
        return folder / "original.npz"

    def save(path, model):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writes, "small_model", small_model)
    monkeypatch.setattr(checkpoint, "load", lambda path: None)
    monkeypatch.setattr(checkpoint, "save", save)
    found = writes.failing_writes(tmp_path, 1.0)
    assert [next(found) for _ in range(2)] == ["raises OSError: [Errno 5] Input/output error"] * 2


RACER = """
import os, sys, time
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    with open(sys.argv[1] + ".tmp", "wb") as file:
        file.write(CONTENT)
    os.replace(sys.argv[1] + ".tmp", sys.argv[2])
time.sleep(0.3)
"""


@pytest.mark.parametrize(("content", "end"), [("open(sys.argv[1], 'rb').read()", ""), ("b'c'", "1 / 0")])
def test_every_save_of_two_writers_is_one_fault(content, end, tmp_path, monkeypatch):
    one = tmp_path / "original.npz"
    one.write_bytes(b"a")
    model = SimpleNamespace(_replace=lambda **_: model)
    monkeypatch.setattr(writes, "small_model", lambda folder: one)
    monkeypatch.setattr(writes, "WRITER", RACER.replace("CONTENT", content) + end)
    monkeypatch.setattr(checkpoint, "load", lambda path: model)
    monkeypatch.setattr(checkpoint, "save", lambda path, model: path.write_bytes(b"b"))
    *saves, last = writes.racing_writers(tmp_path, 0.01)
    assert len(saves) == 6  # not one for every look at the file
    assert ("the file was neither of the two" in saves) == bool(end)
    assert last.endswith("exit codes [1, 1]") == bool(end)


@pytest.mark.parametrize(("written", "said"), [(True, ""), (False, "exit code 0, no output, ''")])
def test_a_harmless_environment_in_which_nothing_is_written_is_a_fault(written, said, tmp_path, monkeypatch):
    harmless = environment.Case("TERM", "dumb", environment.EVALUATE)

    def run(case, folder):
        if written or case != harmless:
            (folder / case.words[-1]).touch()
        return SimpleNamespace(returncode=case.code, stderr="")

    monkeypatch.setattr(environment, "run", run)
    monkeypatch.setattr(environment, "cases", lambda: [harmless])
    *_, last = environment.bad_environments(tmp_path, 1.0)
    assert last == (said and f"{harmless}: {said}")
