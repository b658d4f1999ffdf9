"""Epochs of jvae and of PyTorch in turn, on this machine; and whole processes of the exercise's command.

Question: how long does an epoch of the exercise take in jvae, in the exercise's loop, and in PyTorch as an expert
has it?
Source:   experiments/peers/pytorch.py, the exercise's loop and the tuned one.
Command:  python -m experiments throughput --output report
Expected: the exercise's loop 2.4 to 3.6 times jvae's seconds, tuned PyTorch 1.1 to 2.0 times, as the processor is.
Minutes:  3. On the CPU. Needs the extra `pytorch`.
"""

import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from experiments.parts.mirror import without_torch
from experiments.peers.commands import time_commands
from experiments.reporting.comparison import ratio_table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose

OURS = ("jvae", "jvae-bfloat16", "step-by-step")
THEIRS = ("exercise", "no-pil", "tuned", "compiled")
DEFAULT = ("jvae", "jvae-bfloat16", "step-by-step", "exercise", "tuned", "compiled")
PROSE = Prose(__file__)
WHAT = {
    "jvae-bfloat16": "jvae, `--precision bfloat16`",
    "step-by-step": "jvae's step called batch by batch",
    "exercise": "PyTorch, the exercise's loop with its DataLoader",
    "no-pil": "PyTorch, that without torchvision's steps through PIL",
    "tuned": "PyTorch tuned: resident tensors, fused Adam, no argument checks, no denormals",
    "compiled": "PyTorch tuned and compiled",
}


def measure(
    lab: Lab,
    rounds: int | None = None,
    images: int | None = None,
    network: str = "mlp",
    who: tuple[str, ...] = (),
    whole: bool = False,
) -> Measured:
    """Train the same network with the same batches and optimizer, one epoch each in turn."""
    import jax

    from jvae.errors import JvaeError

    if jax.default_backend() != "cpu":
        raise JvaeError(f"throughput compares on the CPU, not on {jax.default_backend()}: use --device cpu")
    if whole:
        return time_commands(rounds or 6, lab.settings.latent_dim, lab.settings.batch_size, lab.say), {}
    rounds = rounds or lab.settings.choose(6, 3)
    names = who or (DEFAULT[:-1] if lab.settings.quick else DEFAULT)
    images = min(images or lab.settings.choose(60_000, 12_800), len(lab.data.train_images))
    data = lab.data._replace(train_images=lab.data.train_images[:images], train_labels=lab.data.train_labels[:images])
    m, batch_size = lab.settings.latent_dim, lab.settings.batch_size
    config = lab.settings.config(epochs=rounds, network=network)
    theirs = (network, m, batch_size, data.train_images[..., 0])
    epochs = {n: our_epoch(n, config, data) if n in OURS else their_epoch(n, *theirs) for n in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name, epoch in epochs.items():
            lab.say(f"round {i + 1}/{rounds}: {name}")
            started = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - started)
    counted = {name: values[1:] for name, values in seconds.items()}  # the first round compiles
    return {"seconds": counted, "images": images, "network": network, "rounds": rounds}, {}


def tell(values: Values) -> Story:
    """Tell the table of seconds, and who is faster than whom in every round."""
    seconds = values["seconds"]
    first, *others = seconds
    if "memory" in values:
        memory = ", ".join(f"{name} {np.median(found):,.0f} MiB" for name, found in values["memory"].items())
        return Story(
            PROSE("whole, short"), PROSE("whole", processes=ratio_table(seconds, "the process"), memory=memory)
        )
    sentences = {}
    for name in others:
        ratios = np.divide(seconds[name], seconds[first])
        how = "slower" if ratios.min() > 1 else "faster" if ratios.max() < 1 else "neither"
        sentences[name] = PROSE(how, name=name, ratio=np.median(ratios), first=first)
    rounds = len(seconds[first])
    text = PROSE(
        "text",
        epochs=ratio_table({WHAT.get(name, name): each for name, each in seconds.items()}, "an epoch"),
        rounds=f"{rounds} round{'s' * (rounds > 1)}",
        images=values["images"],
        network=values["network"],
        sentences="\n- ".join(sentences.values()),
    )
    shown = [sentence for name, sentence in sentences.items() if name in ("exercise", "tuned", "compiled")]
    short = PROSE("short", seconds=np.median(seconds[first]), shown="; ".join(shown)) if shown else text
    return Story(short, text)


def our_epoch(name: str, config: Any, data: Any) -> Callable[[], object]:
    """Return a function that trains jvae's model for one more epoch."""
    from dataclasses import replace

    from jvae.runs import api

    if name == "step-by-step":
        return step_by_step(config, data.train_images)
    epochs = api.train_config_epochs(replace(config, precision="bfloat16") if name == "jvae-bfloat16" else config, data)
    return lambda: next(epochs)


def step_by_step(config: Any, images: np.ndarray) -> Callable[[], object]:
    """Return an epoch of the same step, jitted alone and called once a batch, as Flax's examples have it."""
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


def their_epoch(name: str, network: str, latent_dim: int, batch_size: int, images: np.ndarray) -> Callable[[], object]:
    """Return a function that trains PyTorch's model for one more epoch of images [n, h, w]."""
    import torch
    from torch.utils.data import DataLoader

    from experiments.peers import pytorch as peer

    torch.manual_seed(0)
    expert = name in ("tuned", "compiled")
    model = peer.build_vae(latent_dim, network, validate=False if expert else None, image_shape=images.shape[1:])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if expert else None)
    if expert:
        resident = torch.from_numpy((images >= 128).astype(np.float32))
        elbo = torch.compile(model.elbo) if name == "compiled" else model.elbo
        return peer.without_denormals()(lambda: peer.train_epoch_resident(model, elbo, optimizer, resident, batch_size))
    loader = DataLoader(peer.BinarisedImages(images, pil=name == "exercise"), batch_size=batch_size, shuffle=True)
    return lambda: peer.train_epoch(model, optimizer, loader)


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
    options=(
        click.option(
            "--rounds", type=click.IntRange(2), help="epochs of each; the first is left out; 6, or 3 with --quick"
        ),
        click.option(
            "--images", type=click.IntRange(1), help="training images in an epoch; 60000, or 12800 with --quick"
        ),
        click.option("--network", type=click.Choice(["mlp", "cnn"]), help="mlp"),
        click.option(
            "--who",
            type=click.Choice([*OURS, *THEIRS]),
            multiple=True,
            help="step-by-step: jvae's step, one call a batch; exercise: its loop; no-pil: that without torchvision's "
            "steps through PIL; tuned: resident tensors, fused Adam, no argument checks, no denormals; compiled: that "
            "compiled",
        ),
        click.option(
            "--whole", is_flag=True, help="time whole processes of the exercise's command instead, from the shell"
        ),
    ),
)
