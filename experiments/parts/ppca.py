"""Exercise 1.1: probabilistic PCA, where every answer is known.

Question: what are the maximum-likelihood b, W and sigma^2 of PPCA, and do EM, gradient ascent and scikit-learn agree?
Source:   the sheet's exercise 1.1; Tipping & Bishop 1999; the derivation is in exercise_1_1.md.
Command:  python -m experiments ppca --output report
Expected: 182.15 nats per training image of MNIST with m = 10, as scikit-learn's PCA.score within 1e-5 relative.
Minutes:  1.
"""

from typing import TYPE_CHECKING

import click
import numpy as np

from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import SURE, margin

if TYPE_CHECKING:
    import jax

    from jvae.ppca import PPCA, Posterior

PROSE = Prose(__file__)
NUM_SAMPLES = (1, 10, 100, 1000)
AGREE = 1e-5
"""The difference from float64 that float32 is allowed: relative to the value, or to one nat if that is larger."""


def measure(lab: Lab, steps: int | None = None, learning_rate: float = 0.1, num_images: int = 200) -> Measured:
    """Measure the closed form, EM, gradient ascent, scikit-learn's PCA, the gradient in b, and IWAE with a wrong q."""
    import jax
    import jax.numpy as jnp

    from experiments.parts.ppca_plots import plot_convergence, plot_iwae
    from jvae import ppca as model_of
    from jvae.errors import JvaeError

    steps, m = steps or lab.settings.choose(1000, 300), lab.settings.latent_dim
    train, test = (
        jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255
        for images in (lab.data.train_images, lab.data.test_images)
    )
    n, d = train.shape
    try:
        closed = model_of.fit_closed_form(train, m)
    except ValueError as error:  # latent_dim does not fit the data
        raise JvaeError(str(error)) from error
    start_key, key = jax.random.split(jax.random.key(0))
    lab.say(f"EM and gradient ascent, {steps} steps each")
    em = model_of.fit_em(train, m, steps, start_key)
    gradient = model_of.fit_gradient(train, m, steps, learning_rate, start_key)
    models = {
        "closed form": closed,
        f"EM, {steps} steps": em.model,
        f"gradient (Adam), {steps} steps": gradient.model,
        "closed form, covariance times n/(n-1)": with_unbiased_covariance(closed, n),
    }
    mean = jax.jit(lambda model, x: jnp.mean(model_of.log_likelihood(model, x)))
    fits = {name: [float(mean(model, train)), float(mean(model, test))] for name, model in models.items()}
    lab.say("scikit-learn's PCA")
    reference = sklearn_scores(np.asarray(train), np.asarray(test), m)

    moments = model_of.compute_moments(train)
    slope = jax.jit(jax.grad(model_of.mean_log_likelihood))
    gradients = [
        {"weights": name, "b": place, "norm": float(jnp.linalg.norm(slope(model._replace(loc=b), moments).loc))}
        for name, model in {"closed form": closed, "random": model_of.random_model(moments, m, key)}.items()
        for place, b in {"mean": moments.mean, "mean + 0.01": moments.mean + 0.01, "0": 0 * moments.mean}.items()
    ]
    gaps, exact = iwae_gaps(closed, key, test[:num_images])
    errors = gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1])
    paths = {"EM": np.asarray(em.log_likelihood), "gradient (Adam)": np.asarray(gradient.log_likelihood)}
    top, about = fits["closed form"][0], f"{lab.settings.dataset}, m = {m}"
    values = {
        "n": n, "d": d, "m": m, "fits": fits, "sklearn": list(reference), "gradients": gradients,
        "sigma": float(jnp.exp(closed.log_scale)), "draws": NUM_SAMPLES, "gaps": gaps.mean(axis=1).tolist(),
        "errors": errors.tolist(), "exact": exact, "expected_gap": -wrong_divergence(closed, test[:1]),
        "images": int(gaps.shape[1]),
    }  # fmt: skip
    convergence = plot_convergence(paths, top, f"PPCA on {about}")
    bounds = plot_iwae(NUM_SAMPLES, exact + gaps.mean(axis=1), errors, exact, f"PPCA on {about}: IWAE with a wrong q")
    return values, {"convergence": convergence, "iwae": bounds}


def tell(values: Values) -> Story:
    """Tell the table of fits, the oracle, the gradient in b, and the bounds beside the known log p(x)."""
    fits, reference = values["fits"], values["sklearn"]
    names = list(fits)
    top, matched = fits[names[0]][0], fits[names[-1]][0]
    off = abs(matched - reference[0]) / max(abs(reference[0]), 1)  # a mean log-density may happen to be near 0
    agrees = off < AGREE
    below = {name: top - fits[name][0] for name in names[1:3]}
    slack = AGREE * max(abs(top), 1)
    reached = [name for name, gap in below.items() if abs(gap) <= slack]
    higher = [name for name, gap in below.items() if gap < -slack]
    norms = {(row["weights"], row["b"]): row["norm"] for row in values["gradients"]}
    vanishes = all(norms[w, "mean"] < 1e-2 * norms[w, "mean + 0.01"] for w in ("closed form", "random"))
    if higher:
        climb = PROSE("climb: too high", names=" and ".join(higher))
    elif len(reached) == 2:
        climb = PROSE("climb: reached")
    else:
        missing = [PROSE("climb: one short", name=n, gap=gap) for n, gap in below.items() if n not in reached]
        climb = PROSE("climb: short", missing=" and ".join(missing))
    oracle = PROSE("oracle: agrees", off=off) if agrees else PROSE("oracle: differs", off=off, limit=AGREE)
    bound, lawful = bounds_beside_theory(values)
    exact = values["exact"]
    gaps = [
        (k, exact + gap, gap, e) for k, gap, e in zip(values["draws"], values["gaps"], values["errors"], strict=True)
    ]
    text = PROSE(
        "text",
        v=values,
        variance=values["sigma"] ** 2,
        fits=PROSE.each("fit", [*fits.items(), ("scikit-learn's `PCA.score`, float64", reference)]),
        climb=climb,
        oracle=oracle,
        slopes=PROSE.each("slope", values["gradients"]),
        best_b=PROSE(f"gradient vanishes: {vanishes}"),
        gaps=PROSE.each("gap", gaps),
        bound=bound,
        level=100 * SURE,
    )
    short = PROSE("short", top=top, oracle=oracle, climb=climb, bound="" if lawful else f" {bound}")
    return Story(short.replace("**", ""), text, sound=agrees and vanishes and not higher and lawful)


def bounds_beside_theory(values: Values) -> tuple[str, bool]:
    """Return in words whether IWAE is -KL at K = 1, rises with K and stays below log p(x); and True if that may be.

    With this q the gap to log p(x) has one distribution for all images, so that their gaps are independent draws of it.
    """
    draws, gaps, errors = values["draws"], values["gaps"], values["errors"]
    theory, rounding = values["expected_gap"], AGREE * abs(values["exact"])

    def noise(error: float) -> float:
        return margin(error, values["images"], SURE) + rounding

    agrees = abs(gaps[0] - theory) <= noise(errors[0])
    start = PROSE(f"theory: {agrees}", draws=draws[0], theory=theory, gap=gaps[0], error=errors[0])
    steps = [
        (f"from K = {draws[i]} to {draws[i + 1]}", gaps[i + 1] - gaps[i], noise(float(np.hypot(*errors[i : i + 2]))))
        for i in range(len(draws) - 1)
    ]
    rises = [where for where, step, least in steps if step > least]
    falls = [where for where, step, least in steps if step < -least]
    fall = PROSE("falls", where=" and ".join(falls)) if falls else PROSE("falls nowhere")
    climb = PROSE("rises", where=" and ".join(rises) or "nowhere", falls=fall)
    above = [str(k) for k, gap, error in zip(draws, gaps, errors, strict=True) if gap > noise(error)]
    place = "below" if gaps[-1] < -noise(errors[-1]) else "there"
    end = PROSE(f"end: {place}", draws=draws[-1], gap=gaps[-1], error=errors[-1])
    if above:
        end = PROSE("end: above", draws=", ".join(above))
    return f"{start} {climb} {end}", agrees and not falls and not above


def with_unbiased_covariance(model: "PPCA", n: int) -> "PPCA":
    """Return the model with n/(n-1) times the covariance of the given one: scikit-learn's convention."""
    c = n / (n - 1)
    return model._replace(weights=model.weights * np.sqrt(c), log_scale=model.log_scale + np.log(c) / 2)


def sklearn_scores(train: np.ndarray, test: np.ndarray, latent_dim: int) -> tuple[float, float]:
    """Return scikit-learn's mean log-likelihood of both sets of images, nats per image, in float64."""
    from sklearn.decomposition import PCA

    fitted = PCA(latent_dim, svd_solver="covariance_eigh").fit(train.astype(np.float64))
    return fitted.score(train.astype(np.float64)), fitted.score(test.astype(np.float64))


def wrong_posterior(model: "PPCA", x: "jax.Array") -> "Posterior":
    """Return a diagonal q: the exact mean moved by half a standard deviation, the scales 1.5 times too wide."""
    import jax.numpy as jnp

    from jvae.ppca import Posterior, posterior

    q = posterior(model, x)
    scale = jnp.linalg.norm(q.scale_tril, axis=1)
    return Posterior(q.loc + scale / 2, jnp.diag(1.5 * scale))


def wrong_divergence(model: "PPCA", x: "jax.Array") -> float:
    """Return KL(q || p(z|x)) of the wrong q in nats: the same for every x, as covariance and displacement are."""
    from jvae.divergences import kl_full
    from jvae.ppca import posterior

    return float(kl_full(*wrong_posterior(model, x), *posterior(model, x))[0])


def iwae_gaps(model: "PPCA", key: "jax.Array", x: "jax.Array") -> tuple[np.ndarray, float]:
    """Return IWAE-K minus log p(x), nats, by number of draws and image: [len(NUM_SAMPLES), b]; and mean log p(x)."""
    import jax

    from jvae.bounds import draw, iwae
    from jvae.ppca import log_densities, log_likelihood

    q, exact = wrong_posterior(model, x), np.asarray(log_likelihood(model, x), np.float64)

    def gap(key: "jax.Array", num_samples: int) -> np.ndarray:
        bound = jax.jit(lambda key: iwae(draw(lambda k, x: log_densities(model, k, x, q), key, x, num_samples, 20)))
        return np.asarray(bound(key), np.float64) - exact

    keys = jax.random.split(key, len(NUM_SAMPLES))
    return np.stack([gap(k, number) for k, number in zip(keys, NUM_SAMPLES, strict=True)]), float(exact.mean())


PART = Part(
    name="ppca",
    title="Exercise 1.1: probabilistic PCA",
    question="What are the maximum-likelihood b, W and σ² of a VAE with a linear decoder and one output variance?",
    help=__doc__,
    minutes=lambda s: s.choose(60, 25) / 60,
    measure=measure,
    tell=tell,
    uses=("dataset", "latent_dim", "device", "quick"),
    derivation="exercise_1_1.md",
    options=(
        click.option("--steps", type=click.IntRange(1), help="of EM, and of Adam; 1000, or 300 with --quick"),
        click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Adam's first step size; 0.1"),
        click.option("--num-images", type=click.IntRange(2), help="test images for the IWAE table; 200"),
    ),
)
