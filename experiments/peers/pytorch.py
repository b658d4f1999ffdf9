"""The exercise's VAE in PyTorch, as its students write it: the peer that jvae is measured against.

The same networks, initialisation, optimizer, batches and ELBO as `jvae train`. The loop is the exercise's: a DataLoader
that fetches and thresholds one image at a time, one optimizer step per batch. Needs the extra `pytorch`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import click
import numpy as np
import torch
import torch.distributions as td
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


class GaussianPrior(nn.Module):
    """p(z) = N(z | 0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent_dim), requires_grad=False)
        self.std = nn.Parameter(torch.ones(latent_dim), requires_grad=False)

    def forward(self) -> td.Distribution:
        """Return the prior: event shape [m]."""
        return td.Independent(td.Normal(self.mean, self.std), 1)


class MoGPrior(nn.Module):
    """p(z), a mixture of Gaussians with learned weights, means and standard deviations."""

    def __init__(self, latent_dim: int, num_components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.means = nn.Parameter(torch.randn(num_components, latent_dim))
        self.log_stds = nn.Parameter(torch.zeros(num_components, latent_dim))

    def forward(self) -> td.Distribution:
        """Return the prior: event shape [m]."""
        components = td.Independent(td.Normal(self.means, torch.exp(self.log_stds)), 1)
        return td.MixtureSameFamily(td.Categorical(logits=self.logits), components)


class GaussianEncoder(nn.Module):
    """q(z|x), from a network x -> (loc, log-scale)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.encoder_net = net

    def forward(self, x: torch.Tensor) -> td.Distribution:
        """Return the posterior: batch shape [b], event shape [m]."""
        loc, log_scale = torch.chunk(self.encoder_net(x), 2, dim=-1)
        return td.Independent(td.Normal(loc, torch.exp(log_scale)), 1)


class BernoulliDecoder(nn.Module):
    """p(x|z), from a network z -> logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.decoder_net = net

    def forward(self, z: torch.Tensor) -> td.Distribution:
        """Return the output distribution: batch shape [b], event shape [h, w]."""
        return td.Independent(td.Bernoulli(logits=self.decoder_net(z)), 2)


class ContinuousBernoulliDecoder(BernoulliDecoder):
    """p(x|z), a density on [0, 1], from logits; with PyTorch's clamp it integrates to 15.94/|logit| beyond 15.94."""

    def __init__(self, net: nn.Module, clamp: bool = True) -> None:
        super().__init__(net)
        self.clamp = clamp

    def forward(self, z: torch.Tensor) -> td.Distribution:
        """Return the output distribution."""
        pixels = td.ContinuousBernoulli if self.clamp else UnclampedContinuousBernoulli
        return td.Independent(pixels(logits=self.decoder_net(z)), 2)


class UnclampedContinuousBernoulli(td.ContinuousBernoulli):
    """PyTorch's distribution without its clamp: a density at every logit."""

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Return log p(x) = eta x - log((e^eta - 1)/eta) in nats, at logits eta."""
        eta, size = self.logits, self.logits.abs().clamp(min=1e-6)
        return eta * value - eta.clamp(min=0) - torch.log(-torch.expm1(-size) / size)


class GaussianDecoder(BernoulliDecoder):
    """p(x|z) with a fixed standard deviation, from a network z -> mean."""

    def forward(self, z: torch.Tensor, std: float = 0.3) -> td.Distribution:
        """Return the output distribution."""
        return td.Independent(td.Normal(self.decoder_net(z), std), 2)


class VAE(nn.Module):
    """The exercise's model, with its ELBO as mean over the batch."""

    def __init__(self, prior: nn.Module, decoder: BernoulliDecoder, encoder: GaussianEncoder) -> None:
        super().__init__()
        self.prior, self.decoder, self.encoder = prior, decoder, encoder

    def elbo(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch of the one-draw ELBO, with the closed-form KL where there is one, in nats."""
        q, p = self.encoder(x), self.prior()
        z = q.rsample()
        kl = q.log_prob(z) - p.log_prob(z) if isinstance(self.prior, MoGPrior) else td.kl_divergence(q, p)
        return torch.mean(self.decoder(z).log_prob(x) - kl, dim=0)


def build_vae(latent_dim: int, network: str = "mlp", image_shape: tuple[int, int] = (28, 28)) -> VAE:
    """Build the VAE, M latent dimensions, with the exercise's fully connected networks or with `--network cnn`'s."""
    nets = mlp_nets(latent_dim, image_shape=image_shape) if network == "mlp" else cnn_nets(latent_dim)
    return VAE(GaussianPrior(latent_dim), BernoulliDecoder(nets[1]), GaussianEncoder(nets[0]))


def cnn_nets(
    latent_dim: int, channels: tuple[int, ...] = (32, 64), activation: Callable[[], nn.Module] = nn.ReLU
) -> tuple[nn.Module, nn.Module]:
    """Return the encoder's and the decoder's network, images [b, 28, 28], as `jvae.nn.networks` has them."""
    depth, up = len(channels), [*channels[::-1], 1]
    end, start = 28 // 2**depth, math.ceil(28 / 2**depth)
    halve = [layer for a, b in pairwise((1, *channels)) for layer in (nn.Conv2d(a, b, 4, 2, 1), activation())]
    double = [layer for a, b in pairwise(up) for layer in (activation(), nn.ConvTranspose2d(a, b, 4, 2, 1))][1:]
    crop = [nn.ZeroPad2d((0, 28 - start * 2**depth) * 2)] if start > end else []
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28)), *halve,
        nn.Flatten(), nn.Linear(up[0] * end**2, 256), activation(), nn.Linear(256, 2 * latent_dim),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 256), activation(), nn.Linear(256, up[0] * start**2), activation(),
        nn.Unflatten(1, (up[0], start, start)), *double, *crop, nn.Flatten(1, 2),
    )  # fmt: skip
    return encoder, decoder


def mlp_nets(
    latent_dim: int,
    hidden: tuple[int, ...] = (512, 512),
    image_shape: tuple[int, int] = (28, 28),
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> tuple[nn.Module, nn.Module]:
    """Return the exercise's networks, with PyTorch's default initialisation."""
    pixels = image_shape[0] * image_shape[1]

    def mlp(*widths: int) -> list[nn.Module]:
        return [layer for a, b in pairwise(widths) for layer in (activation(), nn.Linear(a, b))][1:]

    encoder = nn.Sequential(nn.Flatten(), *mlp(pixels, *hidden, 2 * latent_dim))
    decoder = nn.Sequential(*mlp(latent_dim, *hidden[::-1], pixels), nn.Unflatten(-1, image_shape))
    return encoder, decoder


class BinarisedImages(Dataset):
    """uint8 images [n, h, w], fetched one at a time as torchvision's MNIST does, and transformed as the exercise does.

    Step by step what `datasets.MNIST(transform=Compose([ToTensor(), Lambda(threshold)]))` computes for an image: a PIL
    image, back to an array, to a tensor [1, h, w] in [0, 1], to a binary [h, w]. Without `pil`, the threshold alone.
    """

    def __init__(self, images: np.ndarray, pil: bool = True) -> None:
        self.images = torch.from_numpy(images)
        self.pil = pil

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        """Return the i-th image, 0 or 1: [h, w]."""
        if not self.pil:
            return (self.images[i].to(torch.float32).div(255) > 0.5).float()
        image = Image.fromarray(self.images[i].numpy(), mode="L")  # torchvision's MNIST.__getitem__
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))  # ToTensor, to the end of the next line
        scaled = pixels.view(image.size[1], image.size[0], 1).permute((2, 0, 1)).contiguous().to(torch.float32).div(255)
        return (scaled > 0.5).float().squeeze()


def train_epoch(model: VAE, optimizer: torch.optim.Optimizer, loader: DataLoader, device: str = "cpu") -> float:
    """Train for one epoch with the exercise's loop; return the last batch's loss, which it shows at every step."""
    model.train()
    for batch in loader:
        x = batch.to(device)
        optimizer.zero_grad()
        loss = -model.elbo(x)
        loss.backward()
        optimizer.step()
        shown = loss.item()
    return shown


def train_epoch_resident(
    model: VAE,
    elbo: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    batch_size: int,
) -> float:
    """Train for one epoch as an expert writes it: binary images [n, h, w] in memory, no DataLoader, no host read.

    `elbo` is the model's own, or that compiled.
    """
    model.train()
    for rows in torch.randperm(len(images), device=images.device).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = -elbo(images[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


def captured_step(
    elbo: Callable[[torch.Tensor], torch.Tensor], optimizer: torch.optim.Optimizer, images: torch.Tensor
) -> Callable[[torch.Tensor], None]:
    """Capture a training step on images [b, h, w] as one CUDA graph; return a function that replays it on others.

    A few steps are taken first, on a separate stream, as a capture requires; the optimizer must be capturable.
    """

    def step(x: torch.Tensor) -> None:
        loss = -elbo(x)
        loss.backward()
        optimizer.step()

    place, stream = images.clone(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            step(place)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)  # the gradients live in the graph's memory, and are written, not added to
    with torch.cuda.graph(graph):
        step(place)

    def replay(x: torch.Tensor) -> None:
        place.copy_(x)
        graph.replay()

    return replay


def train_epoch_captured(replay: Callable[[torch.Tensor], None], images: torch.Tensor, batch_size: int) -> None:
    """Train for one epoch with a captured step; the epoch's first images fill up its last, smaller batch."""
    order = torch.randperm(len(images), device=images.device)
    missing = -len(images) % batch_size
    for rows in torch.cat([order, order[:missing]]).split(batch_size):
        replay(images[rows])
    torch.cuda.synchronize()


def start_epochs(
    who: str, network: str, latent_dim: int, batch_size: int, images: np.ndarray, device: str = "cpu"
) -> Callable[[], object]:
    """Return a function that trains for one more epoch of uint8 images [n, h, w], and returns when that is finished.

    Args:
        who: exercise or no-pil: its loop, with or without torchvision's steps through PIL; tuned: resident tensors,
            fused Adam, no argument checks; compiled: tuned and compiled; graphs: compiled, a CUDA graph per step.
        network: mlp or cnn.
        latent_dim: M.
        batch_size: images per step.
        images: the data.
        device: cpu or cuda.
    """
    torch.manual_seed(0)
    expert = who in ("tuned", "compiled", "graphs")
    model = build_vae(latent_dim, network, images.shape[1:]).to(device)
    if not expert:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loader = DataLoader(BinarisedImages(images, pil=who == "exercise"), batch_size=batch_size, shuffle=True)
        return lambda: train_epoch(model, optimizer, loader, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=who == "graphs")
    resident = torch.from_numpy((images >= 128).astype(np.float32)).to(device)
    elbo = model.elbo if who == "tuned" else torch.compile(model.elbo)
    if who == "graphs":
        with tuned(device):
            replay = captured_step(elbo, optimizer, resident[:batch_size])
        return tuned(device)(lambda: train_epoch_captured(replay, resident, batch_size))
    return tuned(device)(lambda: train_epoch_resident(model, elbo, optimizer, resident, batch_size))


@contextmanager
def tuned(device: str = "cpu") -> Iterator[None]:
    """Set PyTorch up as an expert does in this context alone, since all of it is the whole process's.

    No checks of the distributions' arguments; denormal numbers, which slow a processor down, become 0; and a GPU's
    products have the precision that is jax's default there.
    """
    precision, checks = torch.get_float32_matmul_precision(), td.Distribution._validate_args
    torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
    td.Distribution.set_default_validate_args(False)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        td.Distribution.set_default_validate_args(checks)
        torch.set_float32_matmul_precision(precision)


@click.command()
@click.option("--latent-dim", default=32)
@click.option("--epochs", default=10)
@click.option("--batch-size", default=32)
@click.option("--network", type=click.Choice(["mlp", "cnn"]), default="mlp")
def train(latent_dim: int, epochs: int, batch_size: int, network: str) -> None:
    """Run the exercise's `train` on MNIST, read from jvae's files: the process that jvae's is compared with."""
    from jvae.data.datasets import load_dataset

    images = load_dataset("mnist").train_images[..., 0]
    model = build_vae(latent_dim, network)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(BinarisedImages(images), batch_size=batch_size, shuffle=True)
    for epoch in range(epochs):
        click.echo(f"epoch {epoch + 1}: loss of the last batch {train_epoch(model, optimizer, loader):.2f}")


if __name__ == "__main__":
    train()
