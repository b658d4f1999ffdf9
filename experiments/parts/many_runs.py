"""Seeds against time: how many runs a device trains per minute, many at once in jvae and one by one in PyTorch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.parts.mirror import peer_images
from experiments.reporting.comparison import figures, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Story, Values
from experiments.reporting.prose import Prose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jvae.data.dataset import Dataset
    from jvae.runs.config import Config

PEERS = ("exercise", "tuned", "compiled", "graphs")
WHAT = {
    "exercise": "PyTorch, the exercise's loop with its DataLoader",
    "tuned": "PyTorch tuned: resident tensors, fused Adam, no argument checks",
    "compiled": "PyTorch tuned and compiled",
    "graphs": "PyTorch tuned, compiled, a step captured as a CUDA graph with a capturable fused Adam",
}
EPOCHS = 5
"""Epochs of a run, when runs per minute are counted: the exercise's number."""
LARGE = {"cpu": 2048}
LARGE_ON_ACCELERATOR = 8192
"""Rows and columns of the square matmul that measures a device's peak."""
LAUNCHES = 20_000
"""Launches of the smallest kernel, one after another, that measure a device's launch rate."""
COPIED = {"cpu": 2**27}
COPIED_ON_ACCELERATOR = 2**31
"""Bytes that are read and written to measure the memory's bandwidth: more than any cache holds."""
PARAMETER_TRAFFIC = 10
"""How often a step passes over the parameters: it reads them forwards and backwards, writes the gradient, and Adam
reads that and reads and writes the parameters and two moments."""
PROSE = Prose(__file__)


class Contender(NamedTuple):
    """A program that trains, and how many runs at once."""

    who: str
    runs: int
    start: Callable[[], Callable[[], object]]
    """Returns a function that trains all runs for one more epoch, and returns when that is finished."""


def measure(
    lab: Lab, data: "Dataset", networks: Sequence[str], run_counts: Sequence[int], rounds: int, minutes: float
) -> Measured:
    """Time an epoch of every contender in turn, round after round, until the rounds or the minutes are over.

    The first round compiles and is left out. A contender that fails, or for which the time is too short, is reported,
    and the others go on.

    Raises:
        JvaeError: PyTorch's contenders cannot train on these images.
    """
    import jax

    backend = jax.default_backend()
    for network in networks:
        peer_images(data, network)
    found, ending = [], time.perf_counter() + 60 * minutes
    for i, network in enumerate(networks):
        now = time.perf_counter()
        mine = now + (ending - now) / (len(networks) - i)
        config = lab.settings.config(epochs=rounds + 1, network=network)  # one more shows how long it takes
        rows = time_in_turn(contenders(config, data, run_counts, backend), rounds, mine, lab.say)
        found.append({"network": network, "rows": rows, **shares(config, data, rows, backend)})
        lab.say(f"{i + 1}/{len(networks)} networks")
    values = {
        "networks": found,
        "images": len(data.train_images),
        "batch_size": lab.settings.batch_size,
        "device": f"{backend} ({jax.devices()[0].device_kind})",
        "graphs": backend == "gpu",
    }
    return values, {"seeds-against-time": plot_runs_a_minute(values)}


def contenders(config: "Config", data: "Dataset", run_counts: Sequence[int], backend: str) -> list[Contender]:
    """Return jvae with every number of runs, and PyTorch's variants; CUDA graphs only where there is CUDA."""
    from jvae.runs import api

    def ours(runs: int) -> Callable[[], object]:
        import jax

        epochs = api.train_config_epochs(replace(config, runs=runs), data)
        return lambda: jax.block_until_ready(next(epochs).params)

    def theirs(who: str) -> Callable[[], object]:
        from experiments.peers.pytorch import start_epochs

        device = "cuda" if backend == "gpu" else "cpu"
        images = peer_images(data, config.network)
        return start_epochs(who, config.network, config.latent_dim, config.batch_size, images, device)

    peers = PEERS if backend == "gpu" else PEERS[:-1]
    return [
        *(Contender(who, 1, partial(theirs, who)) for who in peers),
        *(Contender("jvae", runs, partial(ours, runs)) for runs in sorted(run_counts)),  # those that take longest last
    ]


def time_in_turn(
    contenders: Sequence[Contender], rounds: int, ending: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return one row per contender: who, runs, the seconds of its counted epochs, and why there are none, if so.

    In a round before those that count, every contender compiles. It is left out if it has more runs than the one
    before and would take too long. The first round counts in any case, the others if they are over in time.
    """
    rows: list[dict[str, Any]] = [{"who": c.who, "runs": c.runs, "seconds": [], "failed": ""} for c in contenders]
    epochs = compile_in_turn(contenders, rows, ending, say)
    lasting = 0.0
    for number in range(1, rounds):
        if number > 1 and time.perf_counter() + lasting > ending:
            say(f"the time is over after round {number - 1} of {rounds - 1}")
            break
        began = time.perf_counter()
        for i, row in enumerate(rows):
            if row["failed"]:
                continue
            seconds = attempt(row, epochs[i])
            row["seconds"] += [] if row["failed"] else [seconds]
            outcome = row["failed"] or f"{seconds:.3g} s"
            say(f"round {number}/{rounds - 1}: {row['who']}, runs {row['runs']}: {outcome}")
        lasting = time.perf_counter() - began
    return rows


def compile_in_turn(
    contenders: Sequence[Contender], rows: Sequence[dict[str, Any]], ending: float, say: Callable[[str], None]
) -> dict[int, Callable[[], object]]:
    """Return the contenders' epochs by index, each compiled; note in the rows which failed or would take too long."""
    epochs: dict[int, Callable[[], object]] = {}
    before: Beginning | None = None
    for i, (contender, row) in enumerate(zip(contenders, rows, strict=True)):
        lasting = 0.0 if before is None or before.who != contender.who else before.seconds_with(contender.runs)
        if lasting and time.perf_counter() + lasting > ending:
            row["failed"] = f"left out, for it would take {lasting:.0f} s, and --minutes leaves less"
        else:
            first = attempt(row, lambda: epochs.setdefault(i, contender.start())())  # noqa: B023
            more = not row["failed"] and any(c.who == contender.who for c in contenders[i + 1 :])
            before = Beginning(*contender[:2], first, attempt(row, epochs[i])) if more else None
        say(f"{contender.who}, runs {contender.runs}: {row['failed'] or f'{first:.1f} s, with compiling'}")
    return epochs


class Beginning(NamedTuple):
    """How long a contender took before the rounds that count."""

    who: str
    runs: int
    first: float
    """The seconds of its first epoch, with compiling."""
    second: float
    """The seconds of its second."""

    def seconds_with(self, runs: int) -> float:
        """Return about how long more runs take to compile, for an epoch, and for another in the first round."""
        return 2 * (self.first - self.second) + 2 * self.second * runs / self.runs


def attempt(row: dict[str, Any], work: Callable[[], object]) -> float:
    """Return the seconds that some work takes; whatever fails in it, in any library, is noted in the row."""
    started = time.perf_counter()
    try:
        work()
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return time.perf_counter() - started


def shares(config: "Config", data: "Dataset", rows: Sequence[dict[str, Any]], backend: str) -> dict[str, Any]:
    """Return one run's FLOPs in matmuls and bytes of parameters moved in an epoch, and the device's three rates."""
    from jvae.runs.checkpoint import run_shapes
    from jvae.runs.memory import tree_bytes
    from jvae.tools.benchmark import Shape, step_products, time_product, training_of
    from jvae.training import steps_per_epoch

    training = training_of(replace(config, runs=1), data.train_images)
    steps = steps_per_epoch(len(data.train_images), config.batch_size)
    flops = sum(shape.flops * count for shape, count in step_products(training).items())
    size = LARGE.get(backend, LARGE_ON_ACCELERATOR)
    square = Shape(size, size, size, "float32")
    params = tree_bytes(run_shapes(training.recipe_of(None), data.train_images.shape[1:], 1).params)
    return {
        "epoch_flops": flops * steps,
        "epoch_bytes": PARAMETER_TRAFFIC * params * steps,
        "steps": steps,
        "peak": square.flops / time_product(square, 5).median,
        "bandwidth": bandwidth(COPIED.get(backend, COPIED_ON_ACCELERATOR)),
        "launches": launch_rate(),
    }


def bandwidth(size: int, repeats: int = 5) -> float:
    """Return the bytes per second that the device reads and writes, from arrays of `size` bytes in all."""
    import jax
    import jax.numpy as jnp

    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x, seconds = jax.block_until_ready(add(jnp.zeros(size // 8, jnp.float32))), []
    for _ in range(repeats):
        started = time.perf_counter()
        x = jax.block_until_ready(add(x))
        seconds.append(time.perf_counter() - started)
    return size / min(seconds)


def launch_rate() -> float:
    """Return how many of the smallest kernels the device finishes per second, one after another."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def chain(x: jax.Array) -> jax.Array:
        def body(_: int, x: jax.Array) -> jax.Array:
            return jax.lax.optimization_barrier(x + 1)

        return jax.lax.fori_loop(0, LAUNCHES, body, x)

    x = jax.block_until_ready(chain(jnp.zeros(())))
    started = time.perf_counter()
    jax.block_until_ready(chain(x))
    return LAUNCHES / (time.perf_counter() - started)


def runs_a_minute(row: dict[str, Any]) -> float:
    """Return how many runs of `EPOCHS` epochs a contender trains per minute."""
    return 60 * row["runs"] / (EPOCHS * float(np.median(row["seconds"])))


def tell(values: Values) -> Story:
    """Tell one table per network: seconds per epoch, runs per minute, the shares of the device's rates."""
    texts, short = [], []
    for one in values["networks"]:
        timed = sorted((row for row in one["rows"] if row["seconds"]), key=lambda row: row["who"] != "jvae")
        lines = [line_of(row, one) for row in timed]
        failed = [f"{row['who']}, {row['runs']} runs: {row['failed']}" for row in one["rows"] if row["failed"]]
        header = ["", "runs at once", "an epoch of all", "runs a minute", "of peak", "of bandwidth", "launches a step"]
        texts.append(
            PROSE(
                "network",
                network=one["network"],
                table=table(header, lines),
                rounds=max((len(row["seconds"]) for row in timed), default=0),
                peak=figures(one["peak"] / 1e12),
                bandwidth=figures(one["bandwidth"] / 1e12),
                launches=figures(one["launches"]),
                failed="".join(f"\n- not timed: {text}" for text in failed),
            )
        )
        ours = [row for row in timed if row["who"] == "jvae"]
        theirs = [row for row in timed if row["who"] != "jvae"]
        if ours and theirs:
            best, peer = max(ours, key=runs_a_minute), max(theirs, key=runs_a_minute)
            short.append(
                PROSE(
                    "short",
                    network=one["network"],
                    runs=best["runs"],
                    best=figures(runs_a_minute(best)),
                    peer=WHAT[peer["who"]],
                    peers=figures(runs_a_minute(peer)),
                )
            )
    about = {name: values[name] for name in ("device", "images", "batch_size")}
    graphs = "" if values["graphs"] else " " + PROSE("no graphs")
    text = PROSE("text", **about, epochs=EPOCHS, networks="\n\n".join(texts), graphs=graphs)
    return Story(" ".join(short) or text, text)


def line_of(row: dict[str, Any], network: dict[str, Any]) -> list[str]:
    """Return a contender's line of its network's table."""
    seconds = float(np.median(row["seconds"]))
    rate = row["runs"] / seconds
    peak, moved = rate * network["epoch_flops"] / network["peak"], rate * network["epoch_bytes"] / network["bandwidth"]
    per_step = seconds / network["steps"] * network["launches"]
    who = "jvae" if row["who"] == "jvae" else WHAT[row["who"]]
    numbers = [f"{seconds:.3g} s", figures(runs_a_minute(row)), f"{peak:.2g}", f"{moved:.2g}", figures(per_step)]
    return [who, str(row["runs"]), *numbers]


def plot_runs_a_minute(values: Values) -> "Figure":
    """Plot runs per minute against runs at once, one panel per network, with a level line per variant of PyTorch."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    from jvae.view.plots import figure

    networks = values["networks"]
    fig = figure(5.5 * len(networks), 4)
    for axis, one in zip(fig.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
        timed = [row for row in one["rows"] if row["seconds"]]
        ours = [(row["runs"], runs_a_minute(row)) for row in timed if row["who"] == "jvae"]
        axis.plot(*np.array(ours).reshape(-1, 2).T, "o-", color="tab:blue", label="jvae")
        for i, row in enumerate(row for row in timed if row["who"] != "jvae"):
            level = {"linestyle": ["-", "--", "-.", ":"][i % 4], "color": f"C{i + 1}"}
            axis.axhline(runs_a_minute(row), label=f"PyTorch, {row['who']}, one by one", **level)
        axis.set(xscale="log", yscale="log", xlabel="runs at once", ylabel=f"runs of {EPOCHS} epochs a minute")
        axis.set_title(f"{one['network']} on {values['device']}")
        ticks = [runs for runs, _ in ours]
        axis.set_xticks(ticks, [str(runs) for runs in ticks])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # some are shown if all lie within one power of ten
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.legend(fontsize="small")
    return fig
