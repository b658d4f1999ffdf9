"""Exercise 1.1: probabilistic PCA, where every answer is known."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    import jax
    from matplotlib.figure import Figure

    from jvae.ppca import PPCA, Posterior

NUM_SAMPLES = (1, 10, 100, 1000)


@click.command()
@click.option("--dataset", default="digits", help="data set, with pixels / 255")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="IDX files")
@click.option("--latent-dim", type=click.IntRange(1), default=10, help="M, below the number of pixels")
@click.option("--steps", type=click.IntRange(1), default=1000, help="of EM, and of Adam")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.1, help="Adam's first step size")
@click.option("--num-images", type=click.IntRange(2), default=200, help="test images for the IWAE table")
@click.option("--seed", type=int, default=0, help="decides the starts and the draws")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="folder for the pictures")
def ppca(
    dataset: str,
    data_dir: Path | None,
    latent_dim: int,
    steps: int,
    learning_rate: float,
    num_images: int,
    seed: int,
    output: Path | None,
) -> None:
    """Do EM and gradient ascent reach the closed form, is b the mean, and does IWAE reach the known log p(x)?"""
    import jax
    import jax.numpy as jnp

    from jvae import ppca as model_of
    from jvae.datasets import load_dataset

    try:
        data = load_dataset(dataset, data_dir=data_dir)
        train, test = (
            jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255
            for images in (data.train_images, data.test_images)
        )
        closed = model_of.fit_closed_form(train, latent_dim)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    n, d = train.shape
    click.echo(f"{dataset}: n = {n} images of d = {d} pixels in [0, 1], not dequantised; m = {latent_dim}")

    start_key, key = jax.random.split(jax.random.key(seed))
    em = model_of.fit_em(train, latent_dim, steps, start_key)
    gradient = model_of.fit_gradient(train, latent_dim, steps, learning_rate, start_key)
    models = {
        "closed form": closed,
        f"EM, {steps} steps": em.model,
        f"gradient (Adam), {steps} steps": gradient.model,
        "closed form, covariance times n/(n-1)": with_unbiased_covariance(closed, n),
    }
    mean = jax.jit(lambda model, x: jnp.mean(model_of.log_likelihood(model, x)))
    reference = sklearn_scores(np.asarray(train), np.asarray(test), latent_dim)
    rows = {name: (float(mean(model, train)), float(mean(model, test))) for name, model in models.items()}
    click.echo("\nlog-likelihood, nats per image\n\n| fit | training images | test images |\n|---|---|---|")
    for name, values in (rows | {"scikit-learn's PCA.score, float64": reference}).items():
        click.echo(f"| {name} | {values[0]:.4f} | {values[1]:.4f} |")
    matched = rows["closed form, covariance times n/(n-1)"][0]
    click.echo(f"\nrelative difference of the last two, training images: {abs(matched / reference[0] - 1):.1e}")
    top = float(mean(closed, train))

    moments = model_of.compute_moments(train)
    click.echo("\ngradient of the mean log-likelihood in b\n\n| W, sigma | b | norm |\n|---|---|---|")
    slope = jax.jit(jax.grad(model_of.mean_log_likelihood))
    for name, model in {"closed form": closed, "random": model_of.random_model(moments, latent_dim, key)}.items():
        for place, b in {"mean": moments.mean, "mean + 0.01": moments.mean + 0.01, "0": 0 * moments.mean}.items():
            norm = float(jnp.linalg.norm(slope(model._replace(loc=b), moments).loc))
            click.echo(f"| {name} | {place} | {norm:.3g} |")

    gaps, exact = iwae_gaps(closed, key, test[:num_images])
    standard_errors = gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1])
    click.echo(
        f"\nIWAE with a wrong q (moved by half a standard deviation, 1.5 times too wide), {gaps.shape[1]} test images\n"
        "standard error: of the draws, for the images' log p(x) is known\n\n"
        "| K | IWAE, nats per image | minus exact log p(x) | standard error |\n|---|---|---|---|"
    )
    for k, gap, spread in zip(NUM_SAMPLES, gaps.mean(axis=1), standard_errors, strict=True):
        click.echo(f"| {k} | {exact + gap:.4f} | {gap:+.4f} | {spread:.4f} |")
    click.echo(f"| exact | {exact:.4f} | 0 | |")
    click.echo(f"expected at K = 1, -KL(q || p(z|x)): {-wrong_divergence(closed, test[:1]):+.4f}")

    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        paths = {"EM": np.asarray(em.log_likelihood), "gradient (Adam)": np.asarray(gradient.log_likelihood)}
        plot_convergence(paths, top, f"PPCA on {dataset}, m = {latent_dim}").savefig(output / "ppca_convergence.png")
        title = f"PPCA on {dataset}, m = {latent_dim}: IWAE with a wrong q"
        plot_iwae(exact + gaps.mean(axis=1), standard_errors, exact, title).savefig(output / "ppca_iwae.png")


def with_unbiased_covariance(model: "PPCA", n: int) -> "PPCA":
    """The model whose covariance is n/(n-1) of the given one's: scikit-learn's convention."""
    c = n / (n - 1)
    return model._replace(weights=model.weights * np.sqrt(c), log_scale=model.log_scale + np.log(c) / 2)


def sklearn_scores(train: np.ndarray, test: np.ndarray, latent_dim: int) -> tuple[float, float]:
    """scikit-learn's mean log-likelihood of both sets of images, nats per image, in float64."""
    from sklearn.decomposition import PCA

    fitted = PCA(latent_dim, svd_solver="covariance_eigh").fit(train.astype(np.float64))
    return fitted.score(train.astype(np.float64)), fitted.score(test.astype(np.float64))


def wrong_posterior(model: "PPCA", x: "jax.Array") -> "Posterior":
    """A diagonal q: the exact posterior's mean moved by half a standard deviation, its scales 1.5 times too wide."""
    import jax.numpy as jnp

    from jvae.ppca import Posterior, posterior

    q = posterior(model, x)
    scale = jnp.linalg.norm(q.scale_tril, axis=1)
    return Posterior(q.loc + scale / 2, jnp.diag(1.5 * scale))


def wrong_divergence(model: "PPCA", x: "jax.Array") -> float:
    """KL(q || p(z|x)) of the wrong q in nats: the same for every x, for covariance and displacement are."""
    from jvae.divergences import kl_full
    from jvae.ppca import posterior

    return float(kl_full(*wrong_posterior(model, x), *posterior(model, x))[0])


def iwae_gaps(model: "PPCA", key: "jax.Array", x: "jax.Array") -> tuple[np.ndarray, float]:
    """IWAE-K minus log p(x), in nats, for every number of draws and image: [len(NUM_SAMPLES), b]; mean log p(x)."""
    import jax

    from jvae.bounds import draw, iwae
    from jvae.ppca import log_densities, log_likelihood

    q, exact = wrong_posterior(model, x), np.asarray(log_likelihood(model, x), np.float64)

    def gap(key: "jax.Array", num_samples: int) -> np.ndarray:
        bound = jax.jit(lambda key: iwae(draw(lambda k, x: log_densities(model, k, x, q), key, x, num_samples, 20)))
        return np.asarray(bound(key), np.float64) - exact

    keys = jax.random.split(key, len(NUM_SAMPLES))
    return np.stack([gap(k, number) for k, number in zip(keys, NUM_SAMPLES, strict=True)]), float(exact.mean())


def plot_convergence(paths: dict[str, np.ndarray], top: float, title: str) -> "Figure":
    """The mean log-likelihood after every step, and how far it is still below the closed form's."""
    from jvae.plots import INK, figure, soften

    fig = figure(10, 4.2)
    left, right = fig.subplots(1, 2)
    for (name, path), colour in zip(paths.items(), ("C0", "C1"), strict=True):
        steps = np.arange(1, len(path) + 1)
        left.plot(steps, path, color=colour, label=name)
        right.plot(steps, np.where(top - path > rounding(top), top - path, np.nan), color=colour, label=name)
    left.axhline(top, color=INK, linestyle="--", linewidth=1, label="closed form")
    # the first steps from b = 0 are far below everything else
    low = min(path[min(len(path) - 1, 20)] for path in paths.values())
    left.set_ylim(low - 0.05 * (top - low), top + 0.08 * (top - low))
    left.set_ylabel("log-likelihood, nats per image")
    left.legend(frameon=False, loc="lower right")
    right.axhspan(1e-9, rounding(top), color="0.9", label="float32 rounding")
    right.set_ylim(rounding(top) / 10, None)
    right.set_yscale("log")
    right.set_ylabel("closed form minus fit, nats per image")
    right.legend(frameon=False)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("step")
        soften(ax)
    fig.suptitle(title, fontsize=11)
    return fig


def rounding(value: float) -> float:
    """What a sum of about the size of the value loses in float32."""
    return 10 * float(np.finfo(np.float32).eps) * abs(value)


def plot_iwae(values: np.ndarray, errors: np.ndarray, exact: float, title: str) -> "Figure":
    """IWAE-K with its standard errors against the number of draws, under the line of the exact log-likelihood."""
    from jvae.plots import INK, figure, soften

    fig = figure(6.4, 4.4)
    ax = fig.subplots()
    ax.axhline(exact, color=INK, linestyle="--", linewidth=1, label="exact log p(x)")
    ax.errorbar(
        NUM_SAMPLES, values, yerr=2 * errors, color="C0", marker="o", capsize=4, label="IWAE ± 2 standard errors"
    )
    ax.set_xscale("log")
    ax.set_xlabel("draws K")
    ax.set_ylabel("nats per image")
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False, loc="lower right")
    soften(ax)
    return fig
