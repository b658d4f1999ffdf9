"""Settings of XLA and of a step: which of them make a step faster on this processor?

Question: does a setting of XLA, bfloat16 or one flat array of parameters make a training step faster here?
Source:   XLA's debug_options_flags.cc; optax.flatten.
Command:  python -m experiments settings --output report
Expected: none that helps both networks on every processor, so that jvae sets none; oneDNN's calls can ruin the CNN.
Minutes:  12.
"""

import os
import subprocess
import sys
from typing import Any, NamedTuple

import click
import numpy as np

from experiments.reporting.comparison import figures, median_and_range, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.settings import Settings
from jvae.errors import JvaeError

PROSE = Prose(__file__)
NETWORKS = ("mlp", "cnn")
DEFAULT, AGAIN = "as jvae trains", "again as jvae trains"
"""The second one shows the noise of the comparison."""
BETTER = 0.97
"""The median ratio to the default's seconds that counts as faster, if every round is faster than both of these."""


class Setting(NamedTuple):
    """A setting to try: flags for XLA, and options of the worker."""

    flags: str = ""
    options: tuple[str, ...] = ()


SETTINGS = {
    DEFAULT: Setting(),
    AGAIN: Setting(),
    "one flat array for Adam": Setting(options=("--flat",)),
    "bfloat16 operands": Setting(options=("--precision", "bfloat16")),
    "without YNNPACK": Setting("--xla_cpu_experimental_ynn_fusion_type="),
    "oneDNN for products": Setting(
        "--xla_cpu_experimental_onednn_custom_call=true --xla_cpu_experimental_ynn_fusion_type="
    ),
    "vectors of 512 bits": Setting("--xla_cpu_prefer_vector_width=512"),
    "products on one thread": Setting("--xla_cpu_multi_thread_eigen=false"),
    "operations in memory's order": Setting("--xla_cpu_enable_concurrency_optimized_scheduler=false"),
}


def measure(lab: Lab, rounds: int | None = None, seconds: float | None = None) -> Measured:
    """Take steps under each setting in turn, each in its own process, in rounds of some seconds per setting.

    Raises:
        JvaeError: a process without any setting ends.
    """
    rounds, seconds = rounds or lab.settings.choose(9, 3), seconds or lab.settings.choose(20, 2) / 10
    found = {}
    for network in NETWORKS:
        workers = {name: start(setting, network, lab) for name, setting in SETTINGS.items()}
        try:
            steps = {name: ask(worker, seconds) for name, worker in workers.items()}
            times: dict[str, list[float | None]] = {name: [] for name in SETTINGS}
            for i in range(rounds):
                lab.say(f"{network}: round {i + 1}/{rounds}")
                for name in list(SETTINGS) if i % 2 else list(SETTINGS)[::-1]:
                    times[name].append(steps[name] and ask(workers[name], seconds))
        finally:
            for worker in workers.values():
                worker.kill()
                worker.communicate()
        found[network] = {name: None if None in each else each for name, each in times.items()}
        if found[network][DEFAULT] is None or found[network][AGAIN] is None:
            raise JvaeError(f"{network}: the process that trains as jvae does ended, so that nothing can be compared")
    return {"seconds": found, "rounds": rounds, "batch_size": lab.settings.batch_size}, {}


def start(setting: Setting, network: str, lab: Lab) -> "subprocess.Popen[str]":
    """Start a process that takes steps on request."""
    command = [sys.executable, "-m", "experiments.peers.steps", network, str(lab.settings.batch_size), *setting.options]
    environment = {**os.environ, "XLA_FLAGS": setting.flags, "JAX_PLATFORMS": "cpu"}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, text=True, **pipes)


def ask(worker: "subprocess.Popen[str]", seconds: float) -> float | None:
    """Return a worker's seconds per step, measured over the given seconds; None if it has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        print(seconds, file=worker.stdin, flush=True)
    except BrokenPipeError:
        return None
    said = worker.stdout.readline()
    return float(said) if said else None


def tell(values: Values) -> Story:
    """Tell the table of ratios, and which settings help both networks."""
    ratios: dict[str, dict[str, np.ndarray | None]] = {name: {} for name in SETTINGS}
    for network, seconds in values["seconds"].items():
        for name, each in seconds.items():
            ratios[name][network] = None if each is None else np.divide(each, seconds[DEFAULT])
    lines = [
        [name, *("ends" if r is None else median_and_range(r) for r in each.values())] for name, each in ratios.items()
    ]
    flags = [[name, f"`{SETTINGS[name].flags}`"] for name in ratios if SETTINGS[name].flags]
    faster: dict[str, list[str]] = {name: [] for name in SETTINGS if name not in (DEFAULT, AGAIN)}
    for network, seconds in values["seconds"].items():
        for name, networks in faster.items():
            if seconds[name] is not None and is_faster(seconds[name], seconds[DEFAULT], seconds[AGAIN]):
                networks.append(network)
    both = [name for name, networks in faster.items() if len(networks) == len(NETWORKS)]
    one = [f"{name} ({', '.join(networks)})" for name, networks in faster.items() if len(networks) == 1]
    header = ["setting", *(f"{network} (range)" for network in values["seconds"])]
    steps = {network: np.median(each[DEFAULT]) * 1e3 for network, each in values["seconds"].items()}
    verdict = PROSE("some", both=", ".join(both) or "none", one=", ".join(one) or "none")
    verdict = verdict if both or one else PROSE("none")
    text = PROSE(
        "text",
        settings=table(header, lines),
        flags=table(["setting", "XLA_FLAGS"], flags),
        rounds=values["rounds"],
        batch_size=values["batch_size"],
        steps=" and ".join(f"{figures(ms)} ms ({network})" for network, ms in steps.items()),
        verdict=verdict,
    )
    return Story(verdict, text)


def is_faster(seconds: list[float], default: list[float], again: list[float]) -> bool:
    """Return True if seconds are below both of the default's in every round, and by more than these two differ."""
    noise = abs(np.median(np.divide(again, default)) - 1)
    within = bool(np.all(np.less(seconds, np.minimum(default, again))))
    return within and float(np.median(np.divide(seconds, default))) < min(BETTER, 1 - noise)


def obstacle(settings: Settings) -> str:
    """Return why the settings cannot be measured on a device: they are those of a CPU."""
    import jax

    if settings.device == "cpu" or (settings.device == "auto" and jax.default_backend() == "cpu"):
        return ""
    return "XLA's settings are measured on a CPU: use --device cpu"


PART = Part(
    name="settings",
    title="Study: settings of XLA",
    question="Which settings of XLA, and of a step, make it faster on this processor?",
    help=__doc__,
    minutes=lambda s: s.choose(12, 2),
    measure=measure,
    tell=tell,
    uses=("batch_size", "quick"),
    obstacle=obstacle,
    timed=True,
    options=(
        click.option("--rounds", type=click.IntRange(2), help="of all settings in turn; 9, or 3 with --quick"),
        click.option("--seconds", type=click.FloatRange(0, min_open=True), help="of each, in a round; 2, or 0.2"),
    ),
)
