"""Epochs of jvae and of PyTorch in turn, on this machine; and whole processes of the exercise's command.

Question: how long does an epoch of the exercise take in jvae, in the exercise's loop, and in tuned PyTorch?
Source:   experiments/peers/pytorch.py, the exercise's loop and the tuned one.
Command:  python -m experiments throughput --output report
Expected: the exercise's loop 2.4 to 3.8 times jvae's seconds, tuned PyTorch 1.1 to 2.0 times, by processor.
Minutes:  3; 8 with --device gpu, which times jvae with 1 to 512 runs at once beside PyTorch on CUDA, compiled and
          with CUDA graphs too; --run-counts does so on a CPU. Needs the extra `pytorch`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.parts import many_runs
from experiments.parts.mirror import peer_images, without_torch
from experiments.peers.commands import time_commands
from experiments.reporting.comparison import ratio_table, ratios_to_first
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from jvae.cli.near import Choice
from jvae.cli.options import numbers_option
from jvae.cli.path_types import InputFolder

if TYPE_CHECKING:
    from jvae.data.dataset import Dataset

OURS = ("jvae", "jvae-bfloat16", "step-by-step", "one-file")
THEIRS = ("exercise", "no-pil", "tuned", "compiled")
DEFAULT = ("jvae", "jvae-bfloat16", "step-by-step", "one-file", "exercise", "tuned", "compiled")
PROSE = Prose(__file__)
MANY = (1, 8, 64, 512)
MINUTES = 7.0
"""About the most that all of `MANY` take."""
EPOCHS = 5
"""Of the exercise's command."""
NETWORKS = {"mlp": "the fully connected network", "cnn": "the convolutional network"}
WHAT = many_runs.WHAT | {
    "jvae-bfloat16": "jvae, `--precision bfloat16`",
    "step-by-step": "jvae's step called batch by batch",
    "one-file": "`experiments/vae_bernoulli.py`",
    "no-pil": "PyTorch, that without torchvision's steps through PIL",
    "tuned": f"{many_runs.WHAT['tuned']}, no denormals",
}


def measure(
    lab: Lab,
    rounds: int | None = None,
    images: int | None = None,
    network: str = "",
    who: tuple[str, ...] = (),
    whole: bool = False,
    beside: Path | None = None,
    run_counts: tuple[int, ...] = (),
    minutes: float | None = None,
) -> Measured:
    """Train the same network with the same batches and optimizer, one epoch each in turn."""
    import jax

    if beside is not None and not whole:
        raise click.UsageError("--beside needs --whole")
    if whole and (images or who):
        raise click.UsageError("--whole times the exercise's command: leave out --images and --who")
    many = bool(run_counts) or jax.default_backend() != "cpu"
    if many and (whole or who):
        raise click.UsageError("--whole and --who compare on the CPU: use --device cpu, and no --run-counts")
    if minutes is not None and not many:
        raise click.UsageError("--minutes needs --run-counts or --device gpu")
    if whole and lab.settings.data_dir is not None:
        raise click.UsageError("--whole times the exercise's command, which reads the cache: leave out --data-dir")
    if whole and lab.settings.dataset != "mnist":
        raise click.UsageError(
            f"--whole times the exercise's command: --dataset is {lab.settings.dataset}: must be mnist"
        )
    if whole:
        network, m, batch_size = network or "mlp", str(lab.settings.latent_dim), str(lab.settings.batch_size)
        options = ["--latent-dim", m, "--batch-size", batch_size, "--network", network]
        found = time_commands(rounds or lab.settings.choose(6, 2), EPOCHS, options, beside, lab.say)
        return {**found, "network": network, "epochs": EPOCHS}, {}
    data = of_an_epoch(lab, images or lab.settings.choose(60_000, 12_800))
    rounds = rounds or lab.settings.choose(6, 3)
    if many:
        networks = (network,) if network else ("mlp", "cnn")
        return many_runs.measure(lab, data, networks, run_counts or MANY, rounds, minutes or MINUTES)
    network = network or "mlp"
    names = who or defaults(network, data.train_images.shape[1:], lab.settings.quick)
    config = lab.settings.config(epochs=rounds, network=network)
    grey = peer_images(data, network) if set(names) & set(THEIRS) else None
    epochs = {n: our_epoch(n, config, data) if n in OURS else their_epoch(n, config, grey) for n in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name, epoch in epochs.items():
            lab.say(f"round {i + 1}/{rounds}: {name}")
            started = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - started)
    counted = {name: values[1:] for name, values in seconds.items()}  # the first round compiles
    return {"seconds": counted, "images": len(data.train_images), "network": network, "rounds": rounds}, {}


def of_an_epoch(lab: Lab, images: int) -> "Dataset":
    """Return the data with its first training images only, at most so many.

    Raises:
        click.UsageError: they do not fill a batch.
    """
    data, batch_size = lab.data, lab.settings.batch_size
    data = data._replace(train_images=data.train_images[:images], train_labels=data.train_labels[:images])
    if batch_size > (images := len(data.train_images)):
        raise click.UsageError(f"--batch-size is {batch_size}: must be at most the images of an epoch, {images}")
    return data


def defaults(network: str, shape: tuple[int, ...], quick: bool) -> list[str]:
    """Return who is timed by default: the one file where it can train, and compiled PyTorch unless quick."""
    left_out = {"compiled"} if quick else set()
    return [name for name in DEFAULT if name not in left_out and (name != "one-file" or fits_one_file(network, shape))]


def fits_one_file(network: str, shape: tuple[int, ...]) -> bool:
    """Return True if the exercise in one file has such a network, for images of such a shape."""
    from experiments import vae_bernoulli as alone

    return network == "mlp" and shape == alone.SHAPE


def tell(values: Values) -> Story:
    """Tell the table of seconds, and who is faster than whom in every round."""
    if "networks" in values:
        return many_runs.tell(values)
    seconds = values["seconds"]
    first = next(iter(seconds))
    if "memory" in values:
        return tell_whole(values)
    sentences, shown = [], []
    for name, ratios in list(ratios_to_first(seconds).items())[1:]:
        how = "slower" if ratios.min() > 1 else "faster" if ratios.max() < 1 else "neither"
        sentences.append(PROSE(how, name=spoken(name), ratio=np.median(ratios), first=spoken(first)))
        if name in ("exercise", "tuned", "compiled"):
            shown.append(sentences[-1])
    rounds, network = len(seconds[first]), NETWORKS[values["network"]]
    text = PROSE(
        "text",
        epochs=ratio_table({WHAT.get(name, name): each for name, each in seconds.items()}, "an epoch"),
        rounds=f"{rounds} round{'s' * (rounds > 1)}",
        images=values["images"],
        network=network,
        sentences="\n- ".join(sentences),
    )
    given = {"first": spoken(first), "network": network, "shown": "; ".join(shown or sentences) or "Nothing beside it"}
    return Story(PROSE("short", seconds=np.median(seconds[first]), **given), text)


def spoken(who: str) -> str:
    """Return a program's name in a sentence."""
    return WHAT.get(who, who).partition(":")[0]


def tell_whole(values: Values) -> Story:
    """Tell what whole processes took, one table each of their seconds and their memory."""
    what = {"seconds": "the process", "epoch": "an epoch", "start": "before its first step"}
    tables = {term: ratio_table(values[term], name) for term, name in what.items()}
    ours = {name: found for name, found in values["start"].items() if name.startswith("jvae")}
    tables["start"] = ratio_table(ours, what["start"])  # a small difference of PyTorch's long epochs would be noise
    memory = ", ".join(f"{name} {np.median(found):,.0f} MiB" for name, found in values["memory"].items())
    given = {"epochs": values["epochs"], "network": NETWORKS[values["network"]]}
    return Story(PROSE("whole, short", **given), PROSE("whole", **tables, memory=memory))


def our_epoch(name: str, config: Any, data: Any) -> Callable[[], object]:
    """Return a function that trains jvae's model for one more epoch."""
    from dataclasses import replace

    from jvae.runs import api

    if name == "step-by-step":
        return step_by_step(config, data.train_images)
    if name == "one-file":
        return one_file(config, data.train_images)
    epochs = api.train_config_epochs(replace(config, precision="bfloat16") if name == "jvae-bfloat16" else config, data)
    return lambda: next(epochs)


def their_epoch(name: str, config: Any, images: Any) -> Callable[[], object]:
    """Return a function that trains PyTorch's model for one more epoch of uint8 images [n, h, w]."""
    from experiments.peers.pytorch import start_epochs

    return start_epochs(name, config.network, config.latent_dim, config.batch_size, images)


def step_by_step(config: Any, images: np.ndarray) -> Callable[[], object]:
    """Return an epoch of the same step, jitted alone and called once per batch, as in Flax's examples."""
    import jax
    import jax.numpy as jnp

    from jvae.runs.config import build_recipe
    from jvae.training import Batch, init_state, make_train_step

    steps = len(images) // config.batch_size
    recipe = build_recipe(config, images.shape[1:], steps)
    compiled = jax.jit(make_train_step(recipe), donate_argnums=0)
    state, key = init_state(recipe, jax.random.key(0), images.shape[1:]), jax.random.key(1)
    order, weights = np.random.default_rng(0), jnp.ones(config.batch_size)

    def epoch() -> None:
        nonlocal state
        for rows in order.permutation(len(images))[: steps * config.batch_size].reshape(steps, -1):
            state, metrics = compiled(state, key, Batch(jnp.asarray(images[rows]), weights))
        jax.block_until_ready((state, metrics))

    return epoch


def one_file(config: Any, images: np.ndarray) -> Callable[[], object]:
    """Return an epoch of the exercise in one file, which has fully connected networks for images of 28x28."""
    import jax
    import jax.numpy as jnp
    import optax

    from experiments import vae_bernoulli as alone

    if not fits_one_file(config.network, images.shape[1:]):
        raise click.UsageError("--who one-file needs images of 28x28 and --network mlp")
    model, optimizer, data = alone.make_vae(config.latent_dim), optax.adam(config.learning_rate), jnp.asarray(images)
    params = jax.jit(model.init)(jax.random.key(0), jax.random.key(1), data[:1])
    state = params, optimizer.init(params)
    train = alone.make_epoch(alone.make_train_step(model, optimizer), config.batch_size)

    def epoch() -> None:
        nonlocal state
        state, bound = train(state, jax.random.key(2), data)
        float(bound)

    return epoch


PART = Part(
    name="throughput",
    title="Study: speed",
    question="How long does an epoch take beside the exercise's PyTorch loop, and beside PyTorch as an expert "
    "writes it?",
    help=__doc__,
    minutes=lambda s: s.choose(170, 20) / 60,
    measure=measure,
    tell=tell,
    uses=("dataset", "latent_dim", "batch_size", "device", "quick"),
    obstacle=without_torch,
    timed=True,
    packages=("torch",),
    options=(
        click.option(
            "--rounds", type=click.IntRange(2), help="epochs of each; the first is left out; 6, or 3 with --quick"
        ),
        click.option(
            "--images", type=click.IntRange(1), help="training images in an epoch; 60000, or 12800 with --quick"
        ),
        click.option("--network", type=Choice(["mlp", "cnn"]), help="mlp; with --device gpu both"),
        click.option(
            "--who",
            type=Choice([*OURS, *THEIRS]),
            multiple=True,
            help="step-by-step: jvae's step, one call per batch; one-file: "
            "experiments/vae_bernoulli.py; exercise: its loop; no-pil: the same without "
            "torchvision's steps through PIL; tuned: resident tensors, fused Adam, no argument checks, no denormals; "
            "compiled: the tuned loop compiled",
        ),
        numbers_option(
            "--run-counts",
            help="seeds against time: jvae with these numbers of runs at once beside PyTorch, for both networks; "
            "--device gpu implies 1,8,64,512",
        ),
        click.option(
            "--minutes", type=click.FloatRange(0, min_open=True), help="about the most that --run-counts takes; 7"
        ),
        click.option(
            "--whole",
            is_flag=True,
            help="time whole processes of the exercise's command instead, from the shell: the process, an epoch, what "
            "comes before the first step, and the memory",
        ),
        click.option(
            "--beside",
            type=InputFolder(),
            help="checkout of another version of jvae, timed in turn with this one (with --whole)",
        ),
    ),
)
