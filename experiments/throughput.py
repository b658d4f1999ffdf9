"""An epoch of jvae against an epoch of PyTorch, in turn, on this machine."""

import time
from collections.abc import Callable

import click
import numpy as np


@click.command()
@click.option(
    "--epochs", type=click.IntRange(2), default=6, help="epochs of each; the first, which compiles, is left out"
)
@click.option("--latent-dim", type=click.IntRange(1), default=10)
@click.option("--batch-size", type=click.IntRange(1), default=128)
@click.option("--images", type=click.IntRange(1, 60_000), default=60_000, help="training images in an epoch")
@click.option("--network", type=click.Choice(["mlp", "cnn"]), default="mlp")
@click.option(
    "--peer",
    type=click.Choice(["exercise", "no-pil", "tuned"]),
    default="exercise",
    help="the exercise's loop; its loop without torchvision's steps through PIL; resident tensors and fused Adam",
)
def throughput(epochs: int, latent_dim: int, batch_size: int, images: int, network: str, peer: str) -> None:
    """How much faster than PyTorch is an epoch on the CPU?

    Both train the same network on MNIST with the same batches and optimizer, one epoch each in turn. Needs the extra
    `pytorch`.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise click.ClickException("PyTorch is not installed: pip install 'jvae[pytorch]'") from error
    from jvae import run
    from jvae.config import Config
    from jvae.datasets import load_dataset
    from jvae.parallel import select_device

    select_device("cpu")
    data = load_dataset("mnist")
    data = data._replace(train_images=data.train_images[:images], train_labels=data.train_labels[:images])
    config = Config(latent_dim=latent_dim, epochs=epochs, batch_size=batch_size, network=network)  # type: ignore[arg-type]
    ours = run.train(config, data)
    theirs = make_peer(peer, network, latent_dim, batch_size, data.train_images[..., 0])
    seconds = []
    for i in range(epochs):
        started = time.perf_counter()
        next(ours)
        middle = time.perf_counter()
        theirs()
        pair = middle - started, time.perf_counter() - middle
        note = " (compiles: not counted)" if i == 0 else ""
        click.echo(
            f"epoch {i + 1}: jvae {pair[0]:6.2f} s   PyTorch {pair[1]:6.2f} s   ratio {pair[1] / pair[0]:.2f}{note}"
        )
        seconds.append(pair)
    counted = np.array(seconds[1:])
    ratios = counted[:, 1] / counted[:, 0]
    click.echo(
        f"median: jvae {np.median(counted[:, 0]):.2f} s, PyTorch {np.median(counted[:, 1]):.2f} s; "
        f"ratio {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
    )


def make_peer(peer: str, network: str, latent_dim: int, batch_size: int, images: np.ndarray) -> Callable[[], float]:
    """A function that trains PyTorch's model for one more epoch of images [n, h, w]."""
    import torch
    from torch.utils.data import DataLoader

    from experiments.pytorch_peer import BinarisedImages, build_vae, train_epoch, train_epoch_resident

    torch.manual_seed(0)
    tuned = peer == "tuned"
    model = build_vae(latent_dim, network, validate=False if tuned else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if tuned else None)
    if tuned:
        torch.set_flush_denormal(True)
        resident = torch.from_numpy((images >= 128).astype(np.float32))
        return lambda: train_epoch_resident(model, optimizer, resident, batch_size)
    loader = DataLoader(BinarisedImages(images, pil=peer == "exercise"), batch_size=batch_size, shuffle=True)
    return lambda: train_epoch(model, optimizer, loader)
