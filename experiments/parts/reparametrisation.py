"""Why the reparametrisation trick matters: the noise of every gradient estimator, and what it does to training.

Question: how noisy is the encoder's gradient with each estimator, and what does training with each reach?
Source:   Kingma & Welling 2014; Roeder et al. 2017 (sticking the landing); estimators are derived in
          reparametrisation.md.
Command:  python -m experiments reparametrisation --epochs 3 --output report
          with --page it writes only trick.html, a page to try the trick on in one dimension
Expected: the score function's variance is thousands of times the pathwise one, and it hardly trains.
Minutes:  4; one seed, and batches of 125.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from experiments.reporting.comparison import figures, table
from experiments.reporting.lab import Lab
from experiments.reporting.part import Demonstration, Measured, Part, Story, Values
from experiments.reporting.prose import Prose
from experiments.trick.page import NAME, trick_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROSE = Prose(__file__)
BATCH = 32
"""Images whose mean gradient is measured."""
STEP_BATCH = 125
"""Images per training step, if there are as many; it divides 60,000."""
NOISIER, CLEAR = 10, 5
"""The ratio of variances, and the nats of one seed's test ELBO, above which a difference counts: seeds vary by one."""


def measure(lab: Lab, most: int | None = None, repeats: int | None = None) -> Measured:
    """Measure the noise of the encoder's gradient by estimator, draws and epoch; and train with each estimator.

    Every training takes the same steps with 2 draws an image, the least that the control variate needs.
    """
    import jax
    import jax.numpy as jnp

    from jvae.gradients import ELBO_ESTIMATORS, from_vae
    from jvae.runs.config import build_recipe

    most, repeats = most or lab.settings.choose(32, 8), repeats or lab.settings.choose(100, 50)
    most_images, data = lab.settings.choose(60_000, 15_000), lab.data
    data = data._replace(train_images=data.train_images[:most_images])
    config = lab.settings.config(epochs=lab.settings.choose(3, 1), batch_size=step_batch(len(data.train_images)))
    recipe = build_recipe(config, data.train_images.shape[1:])
    x = recipe.transform(jax.random.key(0), jnp.asarray(data.test_images[:BATCH]))
    curves, snapshots = {}, {}
    for name in ELBO_ESTIMATORS:
        lab.say(f"training with {name}")
        curves[name], snapshots[name] = training_curve(name, config, data)
    model, path = from_vae(recipe.model), snapshots["pathwise"]
    draws = [*(k for k in (2, 8, 32, 128, 512, 2048) if k < most), most]
    lab.say("the noise of the gradients")
    meters = {k: noise_meter(model, x, k, repeats) for k in draws}
    over_training = [meters[2](params) for params in path]
    noise = {"start": {2: over_training[0]}, "trained": {k: meter(path[-1]) for k, meter in meters.items()}}
    counts = {"repeats": repeats, "epochs": config.epochs, "images": BATCH, "trained_on": len(data.train_images)}
    values = {"curves": curves, "noise": noise, "noise_over_training": over_training, **counts}
    return values, {"estimators": plot(curves, noise["trained"], over_training)}


def step_batch(images: int) -> int:
    """Return the number of images of a training step, given that of all training images."""
    return min(STEP_BATCH, images)


def training_curve(name: str, config: Any, data: Any) -> tuple[list[float], list[Any]]:
    """Return test ELBO and parameters at the start and after every epoch of training with an estimator."""
    import jax
    import jax.numpy as jnp

    from jvae.evaluation import evaluate
    from jvae.gradients import ELBO_ESTIMATORS
    from jvae.runs.config import build_recipe
    from jvae.training import fit, init_state, make_epoch, make_train_step

    images = data.train_images[: len(data.train_images) // config.batch_size * config.batch_size]
    recipe = build_recipe(config, images.shape[1:], len(images) // config.batch_size)
    recipe = recipe._replace(estimator=ELBO_ESTIMATORS[name], num_samples=2, kl_weight=None)

    def test_elbo(params: Any) -> float:
        return evaluate(recipe.model, params, jax.random.key(0), data.test_images, recipe.transform, 2)[0].elbo.value

    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    start = init_state(recipe, init_key, images.shape[1:])
    bounds, snapshots = [test_elbo(start.params)], [jax.device_get(start.params)]
    epoch = make_epoch(make_train_step(recipe), config.batch_size)
    for state, _ in fit(epoch, start, run_key, jnp.asarray(images), config.epochs):
        bounds.append(test_elbo(state.params))
        snapshots.append(jax.device_get(state.params))
    return bounds, snapshots


def noise_meter(model: Any, x: Any, num_samples: int, repeats: int) -> Callable[[Any], dict[str, dict[str, float]]]:
    """Return a function of parameters that measures the noise of every estimator's gradient in the encoder.

    All estimators have the same expectation, the signal. It is taken from the pathwise mean: the score function's own
    is lost in its noise.
    """
    import jax

    from jvae.gradients import ELBO_ESTIMATORS, gradient_moments, noise_by_group

    def meter(estimator: Any) -> Callable:
        return jax.jit(
            lambda params, key: noise_by_group(
                gradient_moments(estimator, model, params, key, x, num_samples, repeats)
            )["encoder"]
        )

    meters = {name: meter(estimator) for name, estimator in ELBO_ESTIMATORS.items()}

    def measure(params: Any) -> dict[str, dict[str, float]]:
        key = jax.random.key(1)
        found = {name: {k: float(v) for k, v in m(params, key)._asdict().items()} for name, m in meters.items()}
        return with_one_signal(found)

    return measure


def with_one_signal(noise: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return every estimator's signal-to-noise with the pathwise estimator's signal."""
    path = noise["pathwise"]
    signal = path["signal_to_noise"] * path["total_variance"] ** 0.5
    return {
        name: {"total_variance": v["total_variance"], "signal_to_noise": signal / v["total_variance"] ** 0.5}
        for name, v in noise.items()
    }


def tell(values: Values) -> Story:
    """Tell the table of noise and of training, and how much the trick gains, if it does."""
    start, trained = values["noise"]["start"]["2"], values["noise"]["trained"]["2"]
    curves = values["curves"]
    lines = []
    for name in curves:
        cells = [name]
        for stage in (start, trained):
            variance, pathwise = stage[name]["total_variance"], stage["pathwise"]["total_variance"]
            cells += [figures(variance), figures(variance / pathwise)]
        lines.append([*cells, f"{trained[name]['signal_to_noise']:.2g}", f"{curves[name][-1]:.1f}"])
    ratio = trained["score function"]["total_variance"] / trained["pathwise"]["total_variance"]
    lead = curves["pathwise"][-1] - curves["score function"][-1]
    quietest = min(trained, key=lambda name: trained[name]["total_variance"])
    top = max(curve[-1] for curve in curves.values())
    best = [name for name, curve in curves.items() if curve[-1] > top - CLEAR]
    found = "does not show" if ratio <= NOISIER else "matters" if lead > CLEAR else "shows in the noise"
    reached = "not apart" if abs(lead) <= CLEAR else "lower" if lead > 0 else "higher"
    verdict = PROSE(
        "verdict",
        found=PROSE(found),
        ratio=figures(float(f"{ratio:.2g}")),
        reached=PROSE(reached, lead=lead if reached == "not apart" else abs(lead)),
    )
    stages = ["variance at the start", "times pathwise", "variance, trained", "times pathwise, trained"]
    text = PROSE(
        "text",
        results=table(["estimator", *stages, "signal-to-noise", "test ELBO"], lines),
        v=values,
        epochs=f"{values['epochs']} epoch{'s' * (values['epochs'] > 1)}",
        batch=step_batch(values["trained_on"]),
        clear=CLEAR,
        verdict=verdict,
        quietest=quietest,
        highest=PROSE("one is highest", name=best[0])
        if len(best) == 1
        else PROSE("several", clear=CLEAR, names=", ".join(best)),
    )
    return Story(verdict.replace("**", ""), text)


def plot(curves: dict[str, list[float]], noise: dict[int, Any], over_training: list[Any]) -> "Figure":
    """Plot three panels: variance against draws, signal-to-noise over training, test ELBO over training."""
    from jvae.view.plots import figure, soften

    fig = figure(12.5, 4.3)
    left, middle, right = fig.subplots(1, 3)
    styles = dict(zip(curves, (("C0", "o-"), ("C1", "s--"), ("C2", "^:"), ("C3", "D-"), ("C4", "v-")), strict=True))
    for name, (colour, style) in styles.items():
        kind: dict[str, Any] = {"color": colour, "markersize": 5, "label": name}
        left.plot(list(noise), [noise[k][name]["total_variance"] for k in noise], style, **kind)
        middle.plot([n[name]["signal_to_noise"] for n in over_training], style, **kind)
        right.plot(range(1, len(curves[name])), curves[name][1:], style, **kind)
    left.set(xscale="log", yscale="log", xlabel="draws per image, K", ylabel="total variance, encoder's gradient")
    left.set_xticks(list(noise), [str(k) for k in noise])
    left.minorticks_off()
    left.set_title("variance against draws, after training", fontsize=11)
    middle.set(yscale="log", xlabel="epoch", ylabel="signal-to-noise, encoder's gradient")
    middle.set_title("signal-to-noise over training, 2 draws", fontsize=11)
    right.set(xlabel="epoch", ylabel="test ELBO, nats per image")
    best = max(max(curve) for curve in curves.values())
    right.set_ylim(min(min(curve[1:]) for curve in curves.values()) - 8, best + 8)
    right.set_title("training with each estimator, same steps", fontsize=11)
    for ax in (left, middle, right):
        soften(ax)
    for ax in (middle, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return fig


PART = Part(
    name="reparametrisation",
    title="Study: the reparametrisation trick and its rivals",
    question="How noisy is the encoder's gradient with the reparametrisation trick and without it, and does "
    "that matter in training?",
    help=__doc__,
    minutes=lambda s: 0.6 + s.choose(60, 0) / 60 + 5 * min(s.epochs, 3) * 5 / 60,
    measure=measure,
    tell=tell,
    uses=("dataset", "latent_dim", "device", "quick"),
    derivation="reparametrisation.md",
    demonstration=Demonstration(NAME, trick_page),
    options=(
        click.option(
            "--most", type=click.IntRange(2), help="the largest number of draws per image, K; 32, or 8 with --quick"
        ),
        click.option("--repeats", type=click.IntRange(2), help="gradients that a variance is taken over; 100, or 50"),
    ),
)
