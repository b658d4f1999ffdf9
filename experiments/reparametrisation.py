"""Why the reparametrisation trick matters: the noise of every gradient estimator, and what it does to training."""

import json
from pathlib import Path
from typing import Any

import click

BATCH = 32
"""Images whose mean gradient is measured."""


@click.command()
@click.option("--dataset", default="mnist", help="data set")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="IDX files")
@click.option("--latent-dim", type=click.IntRange(1), default=10, help="M")
@click.option("--epochs", type=click.IntRange(1), default=3, help="passes over the training images")
@click.option("--batch-size", type=click.IntRange(1), default=125, help="images per step")
@click.option("--most", type=click.IntRange(2), default=64, help="the largest number of draws per image, K")
@click.option("--repeats", type=click.IntRange(2), default=100, help="gradients that a variance is taken over")
@click.option("--seed", type=click.IntRange(0), default=0, help="of the runs")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="folder for the picture and the figures"
)
def reparametrisation(
    dataset: str,
    data_dir: Path | None,
    latent_dim: int,
    epochs: int,
    batch_size: int,
    most: int,
    repeats: int,
    seed: int,
    output: Path | None,
) -> None:
    """Variance and signal-to-noise of the encoder's gradient, by estimator, draws and epoch; and training with each.

    Every training takes the same steps with 2 draws an image, the least that the control variate needs.
    """
    import jax
    import jax.numpy as jnp

    from jvae.config import Config, build_model, build_transform
    from jvae.datasets import load_dataset
    from jvae.gradients import ELBO_ESTIMATORS, from_vae

    data = load_dataset(dataset, data_dir=data_dir)
    config = Config(dataset=dataset, latent_dim=latent_dim, epochs=epochs, batch_size=batch_size, seed=seed)
    shape = data.train_images.shape[1:]
    vae, transform = build_model(config, shape), build_transform(config)
    x = transform(jax.random.key(seed), jnp.asarray(data.test_images[:BATCH]))
    curves, snapshots = {}, {}
    click.echo("| estimator | test ELBO at the start | " + " | ".join(f"epoch {i + 1}" for i in range(epochs)) + " |")
    click.echo("|---" * (epochs + 2) + "|")
    for name in ELBO_ESTIMATORS:
        bounds, params = training_curve(name, config, data)
        curves[name], snapshots[name] = bounds, params
        click.echo(f"| {name} | " + " | ".join(f"{bound:.2f}" for bound in bounds) + " |")
    model = from_vae(vae, closed_form_kl=True)
    path = snapshots["pathwise"]
    draws = [2**i for i in range(1, 20, 2) if 2**i <= most]
    noise = {
        "start": {k: noise_of(model, path[0], x, k, repeats) for k in draws},
        "trained": {k: noise_of(model, path[-1], x, k, repeats) for k in draws},
    }
    over_training = [noise_of(model, params, x, 2, repeats) for params in path]
    click.echo(f"\nencoder's gradient of the mean ELBO of {BATCH} images, 2 draws each, over {repeats} keys")
    click.echo("| estimator | variance at the start | ratio | variance trained | ratio | signal-to-noise trained |")
    click.echo("|---|---|---|---|---|---|")
    for name in ELBO_ESTIMATORS:
        columns = []
        for stage in ("start", "trained"):
            variance, pathwise = (noise[stage][2][n]["total_variance"] for n in (name, "pathwise"))
            columns.append(f"{variance:.3g} | {variance / pathwise:.3g}")
        click.echo(f"| {name} | {' | '.join(columns)} | {noise['trained'][2][name]['signal_to_noise']:.3g} |")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        results = {"curves": curves, "noise": noise, "noise_over_training": over_training, "config": config.to_dict()}
        (output / "reparametrisation.json").write_text(json.dumps(results, indent=2) + "\n")
        plot(curves, noise["trained"], over_training).savefig(output / "reparametrisation.png")


def training_curve(name: str, config: Any, data: Any) -> tuple[list[float], list[Any]]:
    """The test ELBO at the start and after every epoch of training with an estimator, and the parameters there."""
    import jax
    import jax.numpy as jnp
    import optax

    from jvae.config import build_model, build_optimizer, build_transform
    from jvae.evaluation import evaluate
    from jvae.gradients import ELBO_ESTIMATORS, from_vae
    from jvae.training import Batch, Metrics, TrainState, fit, init_state, make_epoch

    images = data.train_images[: len(data.train_images) // config.batch_size * config.batch_size]
    optimizer = build_optimizer(config, len(images) // config.batch_size)
    vae = build_model(config, images.shape[1:])
    transform, model = build_transform(config), from_vae(vae, closed_form_kl=True)

    def step(state: TrainState, key: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        transform_key, draw_key = jax.random.split(jax.random.fold_in(key, state.step))
        x = transform(transform_key, batch.images)
        bound, grads = ELBO_ESTIMATORS[name](model, state.params, draw_key, x, 2)
        loss_grads = jax.tree.map(jnp.negative, grads)
        updates, opt_state = optimizer.update(loss_grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1), Metrics(bound, bound, jnp.zeros(()))

    def test_elbo(params: Any) -> float:
        return evaluate(vae.apply, params, jax.random.key(0), data.test_images, transform, 2).elbo.value

    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    start = init_state(vae, optimizer, init_key, images.shape[1:])
    bounds, snapshots = [test_elbo(start.params)], [jax.device_get(start.params)]
    epoch = make_epoch(step, len(images), config.batch_size)
    for state, _ in fit(epoch, start, run_key, jnp.asarray(images), config.epochs):
        bounds.append(test_elbo(state.params))
        snapshots.append(jax.device_get(state.params))
    return bounds, snapshots


def noise_of(model: Any, params: Any, x: Any, num_samples: int, repeats: int) -> dict[str, dict[str, float]]:
    """The noise of every estimator's gradient for the encoder.

    The signal is the same for all, for they have one expectation: it is taken from the pathwise mean, the score
    function's own being lost in its noise.
    """
    import jax

    from jvae.gradients import ELBO_ESTIMATORS, gradient_moments, noise_by_group

    found = {}
    for name, estimator in ELBO_ESTIMATORS.items():
        measure = jax.jit(
            lambda params, key, estimator=estimator: noise_by_group(
                gradient_moments(estimator, model, params, key, x, num_samples, repeats)
            )["encoder"]
        )
        found[name] = {k: float(v) for k, v in measure(params, jax.random.key(1))._asdict().items()}
    return with_one_signal(found)


def with_one_signal(noise: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Every estimator's signal-to-noise with the pathwise estimator's signal."""
    path = noise["pathwise"]
    signal = path["signal_to_noise"] * path["total_variance"] ** 0.5
    return {
        name: {"total_variance": v["total_variance"], "signal_to_noise": signal / v["total_variance"] ** 0.5}
        for name, v in noise.items()
    }


def plot(curves: dict[str, list[float]], noise: dict[int, Any], over_training: list[Any]) -> Any:
    """Three panels: variance against draws, signal-to-noise over training, test ELBO over training."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(12.5, 4.3), dpi=150, layout="constrained")
    left, middle, right = fig.subplots(1, 3)
    styles = dict(zip(curves, (("C0", "o-"), ("C1", "s--"), ("C2", "^:"), ("C3", "D-"), ("C4", "v-")), strict=True))
    for name, (colour, style) in styles.items():
        kind: dict[str, Any] = {"color": colour, "markersize": 5, "label": name}
        left.plot(list(noise), [noise[k][name]["total_variance"] for k in noise], style, **kind)
        middle.plot([n[name]["signal_to_noise"] for n in over_training], style, **kind)
        right.plot(curves[name], style, **kind)
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
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in (middle, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return fig
