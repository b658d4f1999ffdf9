"""Signals: handled from the first moment, polled at a training's safe points, never with a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import jvae

from jvae.cli.interruption import (
    SIGNALS,
    Ended,
    interruptible,
    is_echo,
    listening,
    say_at_end,
    standing,
    starts_extension,
)
from jvae.runs import api
from jvae.runs.checkpoint import load

QUICK = ("--dataset", "digits", "--latent-dim", "2", "--hidden", "8,8", "--batch-size", "512", "--epochs", "2")
COMPUTES = """
import sys
from hashlib import pbkdf2_hmac
from jvae.cli import interruption
interruption.GRACE_SECONDS = interruption.ECHO_SECONDS = 0.1
with getattr(interruption, sys.argv[1])():
    print("begins", flush=True)
    pbkdf2_hmac("sha256", b"x", b"y", 10**9)  # minutes in C, in which no handler in Python runs
"""


SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10**6):
        pass
except:
    pass
"""
LOST = {
    "in an import": "import swallows",
    "in a finaliser": "type('T', (), {'__del__': lambda self: os.kill(os.getpid(), 15)})()",
    "nowhere": "os.kill(os.getpid(), 15)",
}
COMMAND = """
import os, sys, time
from jvae.cli.interruption import listening

def wait(seconds):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(0.01)

with listening():
    try:
        {lost}
        wait(2)
        print("goes on")
    finally:
        wait(0.5)
        print("cleaned up", flush=True)
"""

ROOT = Path(__file__).parents[2]
ENDED_AFTER = """
import os, runpy, signal, sys, threading
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()
_, _, module, command = sys.argv
sys.argv = [module, command]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def signalled(number, hint="", catches=(), then=None):
    """Run a command that gets a signal, catches what that raises, and raises something else."""
    with listening() as interruption, listening():
        interruption.hint = hint
        try:
            os.kill(os.getpid(), number)
        except catches as error:
            if then is not None:
                raise then from error


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_polled_by_a_training_and_ends_anything_else(number):
    before = signal.getsignal(number)
    with interruptible() as interruption:
        assert not interruption
        os.kill(os.getpid(), number)
        assert interruption
        assert interruption.exit_code == 128 + number
    with pytest.raises(Ended) as ended:
        signalled(number, "do so")
    assert ended.value.code == 128 + number
    assert ended.value.line == f"stopped by {number.name}: do so"
    with listening() as interruption:
        say_at_end("do so")  # before any signal
        assert interruption.hint == "do so"
    assert signal.getsignal(number) == before
    assert standing() is None


@pytest.mark.parametrize("then", [None, ImportError("initialization of _core failed")])
def test_what_a_signal_raises_is_not_swallowed_nor_taken_for_another_error(then):
    with pytest.raises(Ended):
        signalled(signal.SIGTERM, catches=SystemExit, then=then)
    with pytest.raises(ImportError), listening():
        raise ImportError


def test_an_ignored_signal_stays_ignored(monkeypatch):
    """As under nohup or in a shell's background job."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_echo_is_not_a_second_signal():
    assert is_echo(signal.SIGHUP, signal.SIGHUP, 0.1)
    assert not is_echo(signal.SIGHUP, signal.SIGHUP, 1.0)
    assert not is_echo(signal.SIGINT, signal.SIGTERM, 0.1)
    assert is_echo(signal.SIGXCPU, signal.SIGXCPU, 10.0)


def test_no_exception_is_raised_into_the_start_of_an_extension():
    def frame(name, back=None):
        return SimpleNamespace(f_code=SimpleNamespace(co_qualname=name), f_back=back)

    start = frame("setattr", frame("ExtensionFileLoader.exec_module", frame("main")))
    unchecked = starts_extension.__wrapped__  # a frame cannot be made
    assert unchecked(start)
    assert not unchecked(frame("SourceFileLoader.exec_module", frame("main")))


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_what_a_signal_raises_is_raised_again_where_it_is_lost(lost, tmp_path):
    """And what is open is cleaned up, once: a cleanup that takes time is not cut short."""
    (tmp_path / "swallows.py").write_text(SWALLOWS, encoding="utf-8")
    (tmp_path / "command.py").write_text(COMMAND.format(lost=lost), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    process = subprocess.run(
        [sys.executable, "-c", "import command"], env=environment, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (143, "cleaned up\n", "")


@pytest.mark.parametrize(("how", "signals"), [("listening", 1), ("interruptible", 2)])
def test_a_process_that_computes_is_ended_too(how, signals):
    """A second signal at once ends a process that saves at safe points; the first one soon ends any other."""
    process = subprocess.Popen([sys.executable, "-c", COMPUTES, how], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "begins\n"
    for _ in range(signals):
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert len(said.splitlines()) == signals


@pytest.mark.slow
@pytest.mark.parametrize(("module", "command"), [("jvae", "info"), ("experiments", "code")])
def test_a_command_is_ended_from_its_first_moment(module, command):
    """During imports too: silently or with one line, never with a traceback."""
    for seconds in (0.1, 0.3, 0.6):
        process = subprocess.run(
            [sys.executable, "-c", ENDED_AFTER, str(seconds), module, command], capture_output=True
        )
        assert process.returncode in (130, -signal.SIGINT)  # a shell reports both as 130
        assert process.stdout == b""
        assert len(process.stderr.splitlines()) <= 1


def test_what_comes_before_a_signal_is_heard_imports_next_to_nothing():
    """`python -m jvae` imports the package before `__main__`, which listens; `typing` takes a tenth of a second."""
    code = "import sys, jvae; print({'typing', 'inspect', 'click'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def interrupting(monkeypatch, number, epochs):
    """Send a signal after some epochs, before what is computed next."""
    train_config_epochs = api.train_config_epochs

    def interrupted(*arguments, **options):
        models = train_config_epochs(*arguments, **options)
        for _ in range(epochs):
            yield next(models)
        os.kill(os.getpid(), number)
        yield from models

    monkeypatch.setattr(api, "train_config_epochs", interrupted)


def test_a_training_is_saved_at_the_next_safe_point_and_says_how_to_go_on(tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    interrupting(monkeypatch, signal.SIGUSR2, epochs=1)
    line = jvae("train", *QUICK, "--model", path, code=128 + signal.SIGUSR2).stderr.splitlines()[-1]
    assert f"jvae train --resume --model {path}" in line
    assert load(path).state.epoch == 2
    monkeypatch.undo()
    jvae("train", "--resume", "--model", path)
    assert len(load(path).history) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_training_that_has_nothing_to_save_is_ended_at_once(tmp_path, monkeypatch):
    interrupting(monkeypatch, signal.SIGUSR1, epochs=0)
    jvae("train", *QUICK, "--model", tmp_path / "m.npz", code=128 + signal.SIGUSR1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "module", "connected", "finalised"),
    [(143, "jax", False, False), (143, "jax", True, True), (143, "none", False, True), (1, "jax", False, True)],
)
def test_a_stopped_computation_ends_without_pythons_finalisation(code, module, connected, finalised):
    """Which would free arrays that XLA's threads still read: the process crashed, with 139 in place of 143."""
    lines = (
        "import atexit, sys; from types import SimpleNamespace as Stand",
        f"sys.modules[{module!r}] = Stand(distributed=Stand(is_initialized=lambda: {connected}))",
        "from jvae.cli.interruption import ending_at_once",
        "atexit.register(print, 'finalised')",
        "print('said')",
        f"with ending_at_once(): raise SystemExit({code})",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (code, ["said", *["finalised"] * finalised])
