"""Tighter bounds are not necessarily better: the signal-to-noise of IWAE's gradients against the number of draws.

Question: do the encoder's gradients drown as K grows, as Rainforth et al. derive, and does DReG save them?
Source:   Rainforth et al. 2018, Tighter variational bounds are not necessarily better, section 4 and figure 1;
          Tucker et al. 2019, Doubly reparameterized gradient estimators for Monte Carlo objectives.
Command:  python -m experiments slopes --output report
Expected: exponents +1/2 (decoder), -1/2 (encoder) and, with DReG, +1/2 (encoder), each within 0.1.
Minutes:  5.
"""

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.reporting.comparison import table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.reporting.verdicts import mean_and_sd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jvae.gradients import LatentModel

PROSE = Prose(__file__)
DIMENSIONS, IMAGES = 20, 32
"""The dimensions of x and of z, as in the paper; and the number of data whose mean gradient is measured."""
OFF = 0.01
"""The standard deviation of the noise added to the best parameters, as in the paper."""
DRAWS = (1, 3, 10, 30, 100, 300, 1000)
ASYMPTOTIC = 30
"""The exponents hold for many draws: they are fitted from this K on."""
LINES = {
    "decoder, IWAE": ("IWAE, pathwise", "decoder", 0.5),
    "encoder, IWAE": ("IWAE, pathwise", "encoder", -0.5),
    "encoder, DReG": ("IWAE, doubly", "encoder", 0.5),
}
"""Estimator, group of parameters, and the derived exponent."""
WITHIN = 0.1


def measure(lab: Lab, seeds: int | None = None, repeats: int | None = None) -> Measured:
    """Measure the signal-to-noise of gradients near the best parameters of a linear-Gaussian model."""
    seeds, repeats = seeds or lab.settings.choose(3, 2), repeats or lab.settings.choose(200, 50)
    draws = [k for k in DRAWS if not lab.settings.quick or k <= 300]
    found: dict[str, list[list[float]]] = {name: [] for name in LINES}
    for seed in range(seeds):
        lab.say(f"seed {seed}")
        noise = signal_to_noise(seed, draws, repeats)
        for name, (estimator, group, _) in LINES.items():
            found[name].append(noise[estimator, group])
    values = {"draws": draws, "signal_to_noise": found, "repeats": repeats}
    return values, {"slopes": plot(values)}


def signal_to_noise(seed: int, draws: list[int], repeats: int) -> dict[tuple[str, str], list[float]]:
    """Return the signal-to-noise of each estimator's gradient in each group of parameters, one number per K.

    The signal, which all estimators of a bound share, is taken from the mean gradient of DReG, the clearest.
    """
    import jax

    from jvae.gradients import IWAE_ESTIMATORS, gradient_moments, noise_by_group

    model, (params, x) = linear_gaussian(), near_the_best(seed)
    found: dict[tuple[str, str], list[float]] = {}
    for k in draws:
        noise = {
            name: jax.jit(
                lambda params, key, e=estimator, k=k: noise_by_group(
                    gradient_moments(e, model, params, key, x, k, repeats)
                )
            )(params, jax.random.key(seed))
            for name, estimator in IWAE_ESTIMATORS.items()
        }
        for group, clear in noise["IWAE, doubly"].items():
            signal = clear.signal_to_noise * clear.total_variance**0.5
            for name, groups in noise.items():
                ratio = float(signal / groups[group].total_variance ** 0.5)
                found.setdefault((name, group), []).append(ratio)
    return found


def linear_gaussian() -> "LatentModel":
    """Return p(z) = N(mu, I), p(x|z) = N(z, I), with q(z|x) = N(A x + b, 2/3 I): the paper's model."""
    import distrax
    import jax.numpy as jnp

    from jvae.gradients import LatentModel

    def gaussian(loc: Any, scale: float) -> Any:
        return distrax.Independent(distrax.Normal(loc, jnp.full_like(loc, scale)), 1)

    def posterior(params: Any, x: Any) -> Any:
        encoder = params["params"]["encoder"]
        return gaussian(x @ encoder["A"].T + encoder["b"], (2 / 3) ** 0.5)

    return LatentModel(
        posterior=posterior,
        log_likelihood=lambda params, z, x: gaussian(z, 1.0).log_prob(x),
        log_prior=lambda params, z: gaussian(params["params"]["decoder"]["mu"], 1.0).log_prob(z),
        kl=lambda params, x: None,
    )


def near_the_best(seed: int) -> tuple[Any, Any]:
    """Return parameters near the best for data drawn from the model, and the data."""
    import jax
    import jax.numpy as jnp

    mu_key, x_key, off_key = jax.random.split(jax.random.key(seed), 3)
    mu = jax.random.normal(mu_key, (DIMENSIONS,))
    x = mu + 2**0.5 * jax.random.normal(x_key, (IMAGES, DIMENSIONS))
    encoder = {"A": jnp.eye(DIMENSIONS) / 2, "b": x.mean(axis=0) / 2}
    leaves, tree = jax.tree.flatten({"params": {"encoder": encoder, "decoder": {"mu": x.mean(axis=0)}}})
    keys = jax.random.split(off_key, len(leaves))
    off = [leaf + OFF * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, off), x


def exponent(draws: list[int], ratios: list[float]) -> float:
    """Return the slope of a line through the logarithms, from `ASYMPTOTIC` draws on."""
    many = np.array(draws) >= ASYMPTOTIC
    return float(np.polyfit(np.log(np.array(draws)[many]), np.log(np.array(ratios)[many]), 1)[0])


def tell(values: Values) -> Story:
    """Tell the exponents beside the derived ones."""
    draws, lines, missed = values["draws"], [], []
    for name, (_, _, derived) in LINES.items():
        each = [exponent(draws, ratios) for ratios in values["signal_to_noise"][name]]
        obtained = float(np.mean(each))
        missed += [] if abs(obtained - derived) <= WITHIN else [name]
        first, last = (np.median(np.array(values["signal_to_noise"][name])[:, i]) for i in (0, -1))
        lines.append([name, mean_and_sd(each, 3), f"{derived:+.1f}", f"{first:.3g}", f"{last:.3g}"])
    header = ["gradient", "exponent", "derived", f"signal to noise, K = {draws[0]}", f"K = {draws[-1]}"]
    judged = {"least": ASYMPTOTIC, "within": WITHIN}
    verdict = PROSE("missed", names=", ".join(missed), **judged) if missed else PROSE("found", **judged)
    seeds = len(next(iter(values["signal_to_noise"].values())))
    text = PROSE(
        "text",
        exponents=table(header, lines),
        verdict=verdict,
        seeds=seeds,
        repeats=values["repeats"],
        images=IMAGES,
        dimensions=DIMENSIONS,
        least=ASYMPTOTIC,
    )
    return Story(verdict, text, sound=not missed)


def plot(values: Values) -> "Figure":
    """Plot signal to noise against the number of draws, one panel per gradient, with the derived slope dashed."""
    from jvae.view.plots import figure, soften

    draws = np.array(values["draws"])
    fig = figure(9.6, 3.4)
    panels = fig.subplots(1, len(LINES), sharex=True, sharey=True)
    for ax, (name, (_, _, derived)) in zip(panels, LINES.items(), strict=True):
        ratios = np.array(values["signal_to_noise"][name])
        for i, each in enumerate(ratios):
            ax.plot(draws, each, "o-", markersize=3, color="C0", alpha=0.7, label=None if i else "a seed each")
        guide = np.median(ratios[:, -1]) * (draws / draws[-1]) ** derived
        ax.plot(draws, guide, "k--", linewidth=1, label=f"slope {derived:+.1f}")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(name, fontsize=11)
        ax.set_xlabel("draws, K")
        ax.legend(frameon=False, fontsize=8)
        soften(ax)
    panels[0].set_ylabel("signal to noise of the gradient")
    return fig


PART = Part(
    name="slopes",
    title="Study: tighter bounds are not necessarily better",
    question="Do the encoder's gradients drown in noise as IWAE takes more draws, and does DReG save them?",
    help=__doc__,
    minutes=lambda s: s.choose(5, 1),
    measure=measure,
    tell=tell,
    uses=("quick",),
    options=(
        click.option("--seeds", type=click.IntRange(1), help="each draws data and parameters; 3, or 2 with --quick"),
        click.option("--repeats", type=click.IntRange(2), help="gradients of each; 200, or 50 with --quick"),
    ),
)
