import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import fake_model

from jvae.bounds import LogDensities, elbo
from jvae.errors import NonFiniteError
from jvae.recipe import Recipe
from jvae.runs import api
from jvae.runs.config import Config, build_model, build_recipe
from jvae.training import (
    Batch,
    TrainState,
    fit,
    init_state,
    make_epoch,
    make_train_step,
    shuffled_batches,
    steps_per_epoch,
)
from jvae.transforms import binarise


def parts(config: Config):
    """Return the model's state and train step."""
    recipe = build_recipe(config, (8, 8, 1), 4)
    return init_state(recipe, jax.random.key(config.seed), (8, 8, 1)), make_train_step(recipe)


def assert_trees_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize(("num_images", "batch_size"), [(100, 32), (96, 32), (5, 5), (5, 3), (1, 1)])
def test_every_image_counts_once_an_epoch(num_images, batch_size, key):
    indices, weights = shuffled_batches(key, num_images, batch_size)
    assert indices.shape == weights.shape == (steps_per_epoch(num_images, batch_size), batch_size)
    assert sorted(np.asarray(indices)[np.asarray(weights) == 1]) == list(range(num_images))
    assert set(np.unique(weights)) <= {0, 1}


@pytest.mark.slow
def test_padding_does_not_touch_the_step(small, tiny, key):
    """A batch of 20 images padded with others of weight 0 gives the step of the 20 alone, with the same noise."""

    @fake_model
    def densities(params, key, x):  # a model whose noise does not depend on the batch's size
        value = jnp.sum(x, axis=(1, 2, 3)) * params["w"] + jax.random.normal(key, ())
        return LogDensities(value, value, value, jnp.square(params["w"]) * value)

    step = make_train_step(Recipe(densities, binarise, elbo, optax.sgd(0.1)))
    params = {"params": {"w": jnp.float32(0.3)}}
    state = TrainState(params, optax.sgd(0.1).init(params), jnp.int32(0))
    images = jnp.asarray(tiny.train_images)
    alone = step(state, key, Batch(images[:20], jnp.ones(20)))
    padded = step(state, key, Batch(images[:32], (jnp.arange(32) < 20).astype(jnp.float32)))
    assert_trees_close(alone, padded)
    unmasked = step(state, key, Batch(images[:32], jnp.ones(32)))
    assert not np.isclose(alone[0].params["params"]["w"], unmasked[0].params["params"]["w"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "bound", "prior"),
    [
        ("stl", "elbo", "gaussian"),
        ("dreg", "iwae", "vamp"),  # its prior's gradient reaches the encoder too
        ("stl", "elbo", "vamp"),
        ("dreg", "iwae", "gaussian"),
    ],
)
def test_a_steps_gradient_is_that_of_the_bound_whatever_the_estimator(estimator, bound, prior, tiny):
    """Over many keys, for every parameter of the encoder and the decoder, with one padding datum in the batch."""
    components = {"num_components": 3} if prior == "vamp" else {}
    fields = {"latent_dim": 2, "hidden": (4,), "bound": bound, "num_samples": 3, "prior": prior, **components}
    batch = Batch(jnp.asarray(tiny.train_images[:4]), jnp.array([1.0, 1.0, 1.0, 0.0]))

    def gradients(name, seed):
        recipe = build_recipe(Config(estimator=name, **fields), (8, 8, 1))._replace(optimizer=optax.sgd(1.0))
        state, step = init_state(recipe, jax.random.key(0), (8, 8, 1)), make_train_step(recipe)

        def one(key):
            after, _ = step(state, key, batch)
            moved = jax.tree.map(jnp.subtract, state.params, after.params)["params"]
            return {part: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved[part])]) for part in moved}

        keys = jax.random.split(jax.random.key(seed), 5000)
        return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=500))(keys)

    ours, own = gradients(estimator, 1), gradients("pathwise", 2)
    assert {"encoder", "decoder"} <= ours.keys()
    for part, found in ours.items():
        both = [np.asarray(each, np.float64) for each in (found, own[part])]
        error = np.sqrt(sum(each.var(axis=0, ddof=1) / len(each) for each in both))
        off = np.abs(both[0].mean(axis=0) - both[1].mean(axis=0)) / (error + 1e-12)
        assert np.max(off) < 5, f"{part}: {np.max(off):.2f} standard errors off"
        assert np.max(np.abs(both[1].mean(axis=0)) / (error + 1e-12)) > 15  # the gradients are not lost in noise


def test_scan_equals_a_loop_over_steps(small, tiny, key):
    state, step = parts(small)
    images = jnp.asarray(tiny.train_images)
    scanned, result = jax.jit(make_epoch(step, small.batch_size))(state, key, images)

    shuffle_key, step_key = jax.random.split(key)
    indices, weights = shuffled_batches(jax.random.fold_in(shuffle_key, 0), len(images), small.batch_size)
    bounds = []
    for row, weight in zip(indices, weights, strict=True):
        state, metrics = jax.jit(step)(state, step_key, Batch(images[row], weight))
        bounds += [float(metrics.bound)] * int(weight.sum())
    assert_trees_close(scanned, state)
    assert len(bounds) == len(images)
    np.testing.assert_allclose(result.mean.bound, np.mean(bounds), rtol=1e-5)


@pytest.mark.slow
def test_jit_equals_eager(small, tiny, key):
    state, step = parts(small)
    batch = Batch(jnp.asarray(tiny.train_images[:32]), jnp.ones(32))
    assert_trees_close(jax.jit(step)(state, key, batch), step(state, key, batch), rtol=1e-4)


@pytest.mark.slow
def test_a_run_is_a_function_of_its_key(small, tiny):
    def bounds(seed):
        config = Config(**{**small.to_dict(), "seed": seed})
        return [record["bound"] for model in api.train_config_epochs(config, tiny) for record in model.history[-1:]]

    assert bounds(1) == bounds(1)
    assert bounds(1) != bounds(2)


@pytest.mark.slow
def test_epochs_shuffle_anew_and_continue_from_the_step(small, tiny, key):
    """Two epochs at once, and one epoch resumed from a copy of the first one's state, give the same bits."""
    state, step = parts(small)
    epoch = make_epoch(step, small.batch_size)
    images = jnp.asarray(tiny.train_images)
    saved = [jax.device_get(s) for s, _ in fit(epoch, state, key, images, 2)]
    resumed, _ = next(fit(epoch, jax.tree.map(jnp.asarray, saved[0]), key, images, 1))
    jax.tree.map(np.testing.assert_array_equal, saved[1], jax.device_get(resumed))
    orders = [shuffled_batches(jax.random.fold_in(key, i), 100, 32)[0] for i in range(2)]
    assert not np.array_equal(*orders)


@pytest.mark.slow
def test_one_compilation_serves_all_epochs(small, tiny, key):
    traces = itertools.count()
    state, step = parts(small)

    def counted(*args):
        next(traces)
        return step(*args)

    epoch = make_epoch(counted, small.batch_size)
    for _ in fit(epoch, state, key, jnp.asarray(tiny.train_images), 4):
        pass
    assert next(traces) == 1


@pytest.mark.slow
def test_the_state_is_donated(small, tiny, key):
    state, step = parts(small)
    first = jax.tree.leaves(state.params)[0]
    next(fit(make_epoch(step, 32), state, key, jnp.asarray(tiny.train_images), 1))
    assert first.is_deleted()


@pytest.mark.slow
def test_training_raises_the_bound(small, tiny):
    *_, last = api.train_config_epochs(Config(**{**small.to_dict(), "epochs": 20, "learning_rate": 3e-3}), tiny)
    assert last.history[-1]["bound"] > last.history[0]["bound"] + 5
    assert [record["epoch"] for record in last.history] == list(range(1, 21))


@pytest.mark.slow
def test_one_gradient_step_is_adams(small, tiny, key):
    """The step against Adam's formulas of the first step: minus the learning rate times the sign of the gradient."""
    state, step = parts(small)
    batch = Batch(jnp.asarray(tiny.train_images[:32]), jnp.ones(32))
    after, _ = step(state, key, batch)
    model = build_model(small, (8, 8, 1))
    _, draw_key = jax.random.split(jax.random.fold_in(key, 0))
    x = (batch.data >= 128).astype(jnp.float32)

    def loss(params):
        d = model.apply(params, jax.random.split(draw_key, 1)[0], x)
        return jnp.mean(d.kl - d.log_px_z)

    grads = jax.grad(loss)(state.params)
    moved = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    expected = jax.tree.map(lambda g: -small.learning_rate * g / (jnp.abs(g) + 1e-8), grads)
    assert_trees_close(moved, expected, rtol=2e-2, atol=2e-6)


def test_a_batch_larger_than_the_data_is_refused_at_once(small, tiny):
    with pytest.raises(ValueError, match=r"batch_size is 101: must be at most .* 100"):
        api.train_config_epochs(Config(**{**small.to_dict(), "batch_size": 101}), tiny)


@pytest.mark.slow
def test_a_non_finite_bound_names_epoch_and_step(small, tiny):
    with pytest.raises(NonFiniteError, match=r"epoch 1, step \d of 4"):
        list(api.train_config_epochs(Config(**{**small.to_dict(), "learning_rate": 1e30}), tiny))


def test_non_finite_parameters_are_seen_although_the_bound_was_finite(key):
    """The last update breaks the parameters, which no bound of the epoch shows."""

    @fake_model
    def densities(params, key, x):
        value = jnp.sum(x, axis=(1, 2, 3))
        return LogDensities(value, value, value, value * jnp.sqrt(params["w"] - 1) * 0)  # an infinite slope at 1

    step = make_train_step(Recipe(densities, lambda key, x: x.astype(jnp.float32), elbo, optax.sgd(1.0)))
    params = {"params": {"w": jnp.float32(1.0)}}
    state = TrainState(params, optax.sgd(1.0).init(params), jnp.int32(0))
    images = jnp.ones((4, 2, 2, 1), jnp.uint8)
    _, result = make_epoch(step, 4)(state, key, images)
    assert np.isfinite(result.mean.bound)
    assert not result.params_finite
