"""Epochs of jvae and of PyTorch in turn, on this machine; and whole processes of the exercise's command."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from jvae.cli_pytorch import need_torch

OURS = ("jvae", "jvae-bfloat16", "step-by-step")
THEIRS = ("exercise", "no-pil", "tuned", "compiled")
DEFAULT = ("jvae", "jvae-bfloat16", "step-by-step", "exercise", "tuned", "compiled")


@click.command()
@click.option(
    "--rounds", type=click.IntRange(2), default=6, help="epochs of each; the first, which compiles, is left out"
)
@click.option("--latent-dim", type=click.IntRange(1), default=10)
@click.option("--batch-size", type=click.IntRange(1), default=128)
@click.option("--images", type=click.IntRange(1, 60_000), default=60_000, help="training images in an epoch")
@click.option("--network", type=click.Choice(["mlp", "cnn"]), default="mlp")
@click.option(
    "--who",
    "names",
    type=click.Choice([*OURS, *THEIRS]),
    multiple=True,
    default=DEFAULT,
    help="step-by-step: jvae's step, one call a batch; exercise: its loop; no-pil: that without torchvision's steps "
    "through PIL; tuned: resident tensors, fused Adam, no argument checks, no denormals; compiled: that compiled",
)
@click.option("--whole", is_flag=True, help="time whole processes of the exercise's command instead, from the shell")
def throughput(
    rounds: int, latent_dim: int, batch_size: int, images: int, network: str, names: tuple[str, ...], whole: bool
) -> None:
    """How fast is an epoch beside PyTorch's, on the CPU?

    All train the same network on MNIST with the same batches and optimizer, one epoch each in turn. Needs the extra
    `pytorch`.
    """
    need_torch()
    if whole:
        whole_processes(rounds, latent_dim, batch_size)
        return
    from jvae.config import Config
    from jvae.datasets import load_dataset
    from jvae.parallel import select_device

    select_device("cpu")
    data = load_dataset("mnist")
    data = data._replace(train_images=data.train_images[:images], train_labels=data.train_labels[:images])
    config = Config(latent_dim=latent_dim, epochs=rounds, batch_size=batch_size, network=network)  # type: ignore[arg-type]
    epochs = {
        name: our_epoch(name, config, data)
        if name in OURS
        else their_epoch(name, network, latent_dim, batch_size, data.train_images[..., 0])
        for name in names
    }
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name, epoch in epochs.items():
            started = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - started)
        note = " (compiles: not counted)" if i == 0 else ""
        click.echo(
            f"round {i + 1}: " + ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names) + note, err=True
        )
    click.echo(table({name: values[1:] for name, values in seconds.items()}, "an epoch"))


def table(seconds: dict[str, list[float]], what: str) -> str:
    """Medians, and the ratio of every time to the first one's of the same round, as a Markdown table."""
    first = np.array(next(iter(seconds.values())))
    lines = [f"| | {what} | times {next(iter(seconds))}'s (range) |", "|---|---|---|"]
    for name, values in seconds.items():
        ratios = np.array(values) / first
        compared = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        lines.append(f"| {name} | {np.median(values):.2f} s | {compared} |")
    return "\n".join(lines)


def our_epoch(name: str, config: Any, data: Any) -> Callable[[], object]:
    """A function that trains jvae's model for one more epoch."""
    from dataclasses import replace

    from jvae import run

    if name == "step-by-step":
        return step_by_step(config, data.train_images)
    epochs = run.train(replace(config, precision="bfloat16") if name == "jvae-bfloat16" else config, data)
    return lambda: next(epochs)


def step_by_step(config: Any, images: np.ndarray) -> Callable[[], object]:
    """The same step, jitted alone and called once a batch, as Flax's examples have it: what the loop inside gains."""
    import jax
    import jax.numpy as jnp

    from jvae.config import build_bound, build_model, build_optimizer, build_transform
    from jvae.training import Batch, init_state, make_train_step

    steps = len(images) // config.batch_size
    model, optimizer = build_model(config, images.shape[1:]), build_optimizer(config, steps)
    step = make_train_step(model.apply, build_bound(config, steps), optimizer, build_transform(config))
    compiled = jax.jit(step, donate_argnums=0)
    state, key = init_state(model, optimizer, jax.random.key(0), images.shape[1:]), jax.random.key(1)
    order, weights = np.random.default_rng(0), jnp.ones(config.batch_size)

    def epoch() -> None:
        nonlocal state
        for rows in order.permutation(len(images))[: steps * config.batch_size].reshape(steps, -1):
            state, metrics = compiled(state, key, Batch(jnp.asarray(images[rows]), weights))
        jax.block_until_ready((state, metrics))

    return epoch


def their_epoch(name: str, network: str, latent_dim: int, batch_size: int, images: np.ndarray) -> Callable[[], object]:
    """A function that trains PyTorch's model for one more epoch of images [n, h, w]."""
    import torch
    from torch.utils.data import DataLoader

    from experiments.pytorch_peer import BinarisedImages, build_vae, train_epoch, train_epoch_resident

    torch.manual_seed(0)
    expert = name in ("tuned", "compiled")
    model = build_vae(latent_dim, network, validate=False if expert else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if expert else None)
    if expert:
        torch.set_flush_denormal(True)
        resident = torch.from_numpy((images >= 128).astype(np.float32))
        elbo = torch.compile(model.elbo) if name == "compiled" else model.elbo
        return lambda: train_epoch_resident(model, elbo, optimizer, resident, batch_size)
    loader = DataLoader(BinarisedImages(images, pil=name == "exercise"), batch_size=batch_size, shuffle=True)
    return lambda: train_epoch(model, optimizer, loader)


def whole_processes(rounds: int, latent_dim: int, batch_size: int) -> None:
    """The exercise's command of 5 epochs from the shell: seconds and peak resident memory of each process, in turn."""
    settings = ["--latent-dim", str(latent_dim), "--epochs", "5", "--batch-size", str(batch_size)]
    jvae = [sys.executable, "-c", "from jvae.cli import main; main()", "train", "--device", "cpu", *settings]
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", str(Path(folder, "model.npz")), "--overwrite"]
        commands = {
            "jvae, cold": [*jvae, *model, "--no-compile-cache"],
            "jvae, compiled before": [*jvae, *model],
            "the exercise in PyTorch": [sys.executable, "-m", "experiments.pytorch_peer", *settings],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        memory: dict[str, list[float]] = {name: [] for name in commands}
        for i in range(rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode != 0:
                    raise click.ClickException(f"{' '.join(command)}: exit code {process.returncode}")
                if i > 0:  # the first round fills the caches of files and programs
                    seconds[name].append(time.perf_counter() - started)
                    memory[name].append(usage.ru_maxrss / 2**10)
    click.echo(table(seconds, "the command"))
    for name, values in memory.items():
        click.echo(f"peak resident memory, {name}: {np.median(values):,.0f} MiB")
