"""An epoch of jvae against an epoch of the exercise's PyTorch loop, in turn, on this machine."""

import time

import click
import numpy as np


@click.command()
@click.option(
    "--epochs", type=click.IntRange(2), default=6, help="epochs of each; the first, which compiles, is left out"
)
@click.option("--latent-dim", type=click.IntRange(1), default=10)
@click.option("--batch-size", type=click.IntRange(1), default=128)
@click.option("--pil/--no-pil", default=True, help="PyTorch's images go through PIL, as torchvision's do")
def throughput(epochs: int, latent_dim: int, batch_size: int, pil: bool) -> None:
    """How much faster than the exercise's PyTorch loop is an epoch on the CPU?

    Both train the same network on MNIST with the same batches and optimizer, one epoch each in turn. Needs the extra
    `pytorch`.
    """
    try:
        import torch
        from torch.utils.data import DataLoader
    except ImportError as error:
        raise click.ClickException("PyTorch is not installed: pip install 'jvae[pytorch]'") from error
    from experiments.pytorch_peer import BinarisedImages, build_vae, train_epoch
    from jvae import run
    from jvae.config import Config
    from jvae.datasets import load_dataset
    from jvae.parallel import select_device

    select_device("cpu")
    data = load_dataset("mnist")
    ours = run.train(Config(latent_dim=latent_dim, epochs=epochs, batch_size=batch_size), data)
    torch.manual_seed(0)
    peer = build_vae(latent_dim)
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3)
    loader = DataLoader(BinarisedImages(data.train_images[..., 0], pil), batch_size=batch_size, shuffle=True)
    seconds = []
    for i in range(epochs):
        started = time.perf_counter()
        next(ours)
        middle = time.perf_counter()
        train_epoch(peer, optimizer, loader)
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
