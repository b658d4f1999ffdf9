"""Faults of processes: runs that are interrupted, signalled and killed, and command lines that are wrong."""

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.faults.injection import ended, outcome
from experiments.faults.model_files import small_model

if TYPE_CHECKING:
    from jvae.data.dataset import Dataset
    from jvae.runs.config import Config

JVAE = [sys.executable, "-m", "jvae"]
QUICK: dict[str, Any] = {"dataset": "digits", "latent_dim": 2, "batch_size": 64, "hidden": (16, 16), "epochs": 4}
VARIATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"runs": 2, "prior": "mog", "num_components": 3},
    {"prior": "vamp", "num_components": 3, "pseudo_inputs": "data", "decoder": "gaussian"},
    {"prior": "flow", "schedule": "cosine", "warmup": 0.5, "kl_warmup": 2.0},
    {"levels": 2, "bound": "iwae", "num_samples": 2},
    {"runs": 2, "validation": "held-out", "keep": "best", "patience": 2, "learning_rate": 0.05},
)
SIGNALLED = ["--dataset", "digits", "--device", "cpu", "--latent-dim", "2", "--hidden", "64,64", "--batch-size", "16"]
SIGNALLED += ["--epochs", "40", "--runs", "2"]


def interrupted_epochs(folder: Path, share: float) -> Iterator[str]:
    """Resume trainings from the file of every epoch, and from one that was stopped within an epoch."""
    from jvae.data.datasets import load_dataset
    from jvae.runs import api
    from jvae.runs.checkpoint import save
    from jvae.runs.conditions import Chunking
    from jvae.runs.config import Config

    data = load_dataset("digits")
    for variation in VARIATIONS if share == 1 else VARIATIONS[-1:]:
        config = Config(**{**QUICK, **variation})
        saved = []
        for model in api.train_config_epochs(config, data):
            saved.append(folder / f"{len(model.history)}.npz")
            save(saved[-1], model)
        *boundaries, whole = saved
        *_, stopped = api.train_config_epochs(
            config, data, how=api.Conditions(interrupted=lambda: True, chunking=Chunking(7))
        )
        save(folder / "within.npz", stopped)
        assert stopped.state is not None
        assert stopped.state.done == 7
        for path in [*boundaries, folder / "within.npz"]:
            text = outcome(partial(resume_from, path, config, data, whole))
            yield text and f"{variation or 'the exercise'} from {path.stem}: {text}"


def resume_from(path: Path, config: "Config", data: "Dataset", whole: Path) -> str:
    """Return '' if a training that is resumed from a file ends with the same bits as the whole one."""
    from jvae.runs import api
    from jvae.runs.checkpoint import load, save

    resumed = path.with_name("resumed.npz")
    for model in api.train_config_epochs(config, data, resume=load(path)):
        save(resumed, model)
    return "" if same_training(resumed, whole) else "other bits"


def same_training(one: Path, other: Path) -> bool:
    """Return True if two model files hold the same bits: state, unfinished epoch, and history apart from seconds."""
    from jvae.runs.archive import named_arrays
    from jvae.runs.checkpoint import load

    models = [load(path) for path in (one, other)]
    arrays = [named_arrays(model.state) for model in models]
    histories = [[{k: v for k, v in record.items() if k != "seconds"} for record in m.history] for m in models]
    names = arrays[0].keys() | arrays[1].keys()
    return histories[0] == histories[1] and all(
        name in arrays[0] and name in arrays[1] and arrays[0][name].tobytes() == arrays[1][name].tobytes()
        for name in names
    )


@cache
def shared_folder() -> Path:
    """Return a folder for what campaigns share; it is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="jvae-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def whole_training() -> Path:
    """Train without a fault, once for all campaigns, and return the model file; this compiles what the others run."""
    path = shared_folder() / "whole.npz"
    start_training(path).communicate()
    return path


def start_training(path: Path, *more: str) -> subprocess.Popen:
    """Start a training process, and return it once it trains; compiled programs are shared."""
    programs = str(shared_folder() / "programs")
    caching = {"JAX_COMPILATION_CACHE_DIR": programs, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = caching | os.environ  # an existing cache is used
    command = [*JVAE, "train", *SIGNALLED, "--model", str(path), *more]
    with heard(signal.SIGINT):
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training on"):
            break
    return process


@contextlib.contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """Let child processes hear a signal that this process ignores, as a background job does."""
    ignored = signal.getsignal(number) == signal.SIG_IGN
    if ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        if ignored:
            signal.signal(number, signal.SIG_IGN)


def wait_for_epoch(process: subprocess.Popen, epoch: int) -> None:
    """Read a training's output until it has finished the epoch; 0 returns at once."""
    assert process.stderr is not None
    for line in process.stderr if epoch > 0 else ():
        if line.startswith(f"epoch {epoch}/"):
            return


def duration_of(path: Path) -> float:
    """Return the seconds that all epochs of a training without a fault take, once it is compiled."""
    whole_training()
    process = start_training(path)
    started = ended = time.perf_counter()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch"):
            ended = time.perf_counter()
    process.communicate()
    return ended - started


def signalled(number: signal.Signals, folder: Path, share: float) -> Iterator[str]:
    """Send a signal to trainings at a random moment, and resume them."""
    moments, whole, path = random.Random(number), whole_training(), folder / "model.npz"
    for i in range(max(1, round(20 * share))):
        text = outcome(partial(signal_once, number, moments, path, whole))
        yield text and f"{i}: {text}"
        path.unlink(missing_ok=True)


def signal_once(number: signal.Signals, moments: random.Random, path: Path, whole: Path) -> str:
    """Return '' if a signal ends a training as it must, and the training resumes to the same bits as the whole one."""
    with ended(start_training(path)) as process:
        wait_for_epoch(process, moments.randrange(30))
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
    if process.returncode != 128 + number:
        return f"exit code {process.returncode}, {said[-200:]!r}"
    with ended(start_training(path, "--resume")) as resumed:
        resumed.communicate(timeout=300)
    fine = resumed.returncode == 0 and same_training(path, whole)
    return "" if fine else f"resumed to other bits, or not at all (exit code {resumed.returncode})"


def killed_in_training(folder: Path, share: float) -> Iterator[str]:
    """Kill trainings at a random moment."""
    moments, path = random.Random(0), folder / "model.npz"
    seconds = duration_of(path)
    path.unlink()
    for _ in range(max(1, round(20 * share))):
        with ended(start_training(path, "--overwrite")):
            time.sleep(moments.uniform(0, 1) * seconds)
        yield outcome(partial(verdict_on, path))


SAVER = """
import sys
from pathlib import Path
from jvae.runs.checkpoint import load, save
model = load(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    save(Path(sys.argv[2]), model)
"""


def killed_while_saving(folder: Path, share: float) -> Iterator[str]:
    """Kill processes that do nothing but save."""
    moments, path = random.Random(1), folder / "model.npz"
    original = small_model(folder)
    for _ in range(max(2, round(80 * share))):
        command = [sys.executable, "-c", SAVER, str(original), str(path)]
        with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.1))
        yield outcome(partial(verdict_on, path))


def verdict_on(path: Path) -> str:
    """Return what is wrong with a file whose writer was killed, once its temporaries are swept as by the next one."""
    from jvae.errors import ModelFileError
    from jvae.files import sweep_temporaries
    from jvae.runs.checkpoint import load

    sweep_temporaries(path)
    left = [other.name for other in path.parent.glob(f".{path.name}.*.tmp")]
    if left:
        return f"temporaries are left: {', '.join(left)}"
    try:
        if path.exists():
            load(path)
    except ModelFileError as error:
        return str(error)
    return ""


def bad_command_lines(folder: Path, share: float) -> Iterator[str]:
    """Give a wrong value to every option that comes from Config."""
    script = "import sys; from jvae.cli.main import main\ntry: main()\nfinally: print('jax' in sys.modules)"
    lines = wrong_lines()
    for words in lines if share == 1 else lines[:: round(1 / share)]:
        command = [sys.executable, "-c", script, "train", *words, "--model", str(folder / "m.npz")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            yield f"{' '.join(words)}: works"
            continue
        said = done.stderr.splitlines()
        right = done.returncode == 2 and len(said) == 1 and done.stdout == "False\n" and not any(folder.iterdir())
        what = f"exit code {done.returncode}, {done.stderr[-200:]!r}"
        yield "" if right else f"{' '.join(words)}: {what}"


def wrong_lines() -> list[list[str]]:
    """Return command lines, each of which breaks one rule of Config."""
    from jvae.cli.options import flag
    from jvae.runs.config import Config, config_fields

    lines = []
    for field in config_fields():
        option = flag(field.name)
        enabled = [word for rule in field.needs for word in (flag(rule.name), str(rule.values[0]))]
        if field.type is bool:
            lines += [[f"--no-{option[2:]}"]] if field.needs else []  # it needs another output
            continue
        lines.append([*enabled, option, "nonsense"])
        if field.range is not None:
            lines.append([*enabled, option, str(-1)])
            lines.append([*enabled, option, "nan"])
        if field.name == "hidden":  # the default network takes it
            lines.append(["--network", "cnn", option, "64"])
        elif any(getattr(Config(), rule.name) not in rule.values for rule in field.needs):
            unusual = ["64"] if field.type is tuple else field.choices or [str(field.default + 1)]
            lines.append([option, unusual[-1]])
    others = ["--nothing"], ["--mesh", "x"], ["--epochs"], ["--seed", json.dumps(2**64)], ["--resume", "--overwrite"]
    return [*lines, *others]
