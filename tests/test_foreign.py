"""Models from outside jvae: a Laplace prior, a Student-t output and a custom encoder, on data of other ranks."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from tensorflow_probability.substrates import jax as tfp

from jvae.bounds import elbo, iwae
from jvae.data.dataset import Dataset, make_dataset
from jvae.decoders import BernoulliDecoder, GaussianDecoder
from jvae.encoders import GaussianEncoder
from jvae.errors import JvaeError, ModelFileError
from jvae.gradients import ELBO_ESTIMATORS, IWAE_ESTIMATORS
from jvae.nn.networks import MLP
from jvae.priors import FlowPrior, MoGPrior
from jvae.recipe import Recipe
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.conditions import Chunking
from jvae.runs.plan import Plan, check_plan
from jvae.runs.selection import select_run
from jvae.transforms import rescale
from jvae.vae import VAE, HierarchicalVAE, event_shape, latent_dims
from jvae.view import pictures
from jvae.view.explorer import explorer_page

SHAPES = [(36,), (6, 6, 1)]


class LaplacePrior(nn.Module):
    latent_dim: int

    def __call__(self, posterior=None):
        return distrax.Independent(distrax.Laplace(jnp.zeros(self.latent_dim), jnp.ones(self.latent_dim)), 1)


class Untyped(VAE):
    """A VAE of parts that the tests' type checker does not look at."""

    prior: Any
    decoder: Any
    encoder: Any


class UntypedLevels(HierarchicalVAE):
    prior: Any
    decoder: Any
    encoder: Any


class HeldEncoder(nn.Module):
    """An encoder with an array among its attributes, which does not hash."""

    scale: jax.Array

    @nn.compact
    def __call__(self, x):
        return distrax.Independent(distrax.Normal(nn.Dense(2)(x), self.scale), 1)


class Normalised(nn.Module):
    """A network with running means, which are no parameters."""

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x))


class GeluEncoder(nn.Module):
    latent_dim: int

    @nn.compact
    def __call__(self, x):
        h = nn.gelu(nn.Dense(16)(x.reshape(len(x), -1)))
        return distrax.Independent(
            distrax.Normal(nn.Dense(self.latent_dim)(h), nn.softplus(nn.Dense(self.latent_dim)(h))), 1
        )


class StudentTDecoder(nn.Module):
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        h = nn.gelu(nn.Dense(16)(z))
        loc = nn.Dense(int(np.prod(self.shape)))(h).reshape(len(z), *self.shape)
        return tfp.distributions.Independent(tfp.distributions.StudentT(5.0, loc, 0.3), len(self.shape))


def recipe_for(shape, bound=elbo, latent_dim=2, **more) -> Recipe:
    vae = VAE(LaplacePrior(latent_dim), StudentTDecoder(shape), GeluEncoder(latent_dim))
    return Recipe(vae, rescale, bound, optax.rmsprop(1e-3), unit="nats per datum, Student-t density", **more)


def data_of(shape) -> Dataset:
    generator = np.random.default_rng(0)
    labels = [generator.integers(0, 3, n).astype(np.uint8) for n in (90, 31)]
    images = [
        (40 + 60 * y[:, None] + generator.integers(0, 40, (len(y), 36))).astype(np.uint8).reshape(-1, *shape)
        for y in labels
    ]
    return Dataset(images[0], labels[0], images[1], labels[1], "made", "f" * 64)


PLAN = {
    "epochs": 4,
    "batch_size": 20,
    "seeds": (3, 5, 8),
    "validation": "held-out",
    "held_out": 0.2,
    "keep": "best",
    "patience": 3,
}


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_foreign_model_is_trained_saved_resumed_evaluated_and_diagnosed(shape, tmp_path):
    recipe, data = recipe_for(shape), data_of(shape)
    whole = api.train(recipe, data, **PLAN)
    assert whole.history[0]["validation"][0] < whole.history[-1]["validation"][0]
    first = next(api.train_epochs(recipe, data, **PLAN))
    save(tmp_path / "m.npz", first)
    resumed = api.train(recipe, data, **PLAN, resume=load(tmp_path / "m.npz", recipe))
    how = api.Conditions(interrupted=lambda: True, chunking=Chunking(2))
    stopped = next(api.train_epochs(recipe, data, **PLAN, how=how))
    assert stopped.state.done == 2
    save(tmp_path / "s.npz", stopped)
    went_on = api.train(recipe, data, **PLAN, resume=load(tmp_path / "s.npz", recipe))
    for other in (resumed, went_on):
        jax.tree.map(np.testing.assert_array_equal, other.state, whole.state)
        assert [r["bound"] for r in other.history] == [r["bound"] for r in whole.history]
    alone = api.train(recipe, data, **{**PLAN, "seeds": (5,)})
    jax.tree.map(np.testing.assert_array_equal, alone.params, select_run(whole, 1).params)

    evaluations, diagnostics = api.evaluate(whole, data, num_samples=4, iwae=50), api.diagnose(whole, data)
    assert len(evaluations) == len(diagnostics) == 3
    for evaluated, diagnosed in zip(evaluations, diagnostics, strict=True):
        weighted = evaluated.importance.iwae
        assert evaluated.elbo.value < weighted.value + 4 * weighted.monte_carlo_error
        (level,) = diagnosed.levels
        assert level.num_units == 2
        assert level.kl > 0  # by draws: distrax has no closed form for Normal and Laplace either
        assert level.effective_components is None
        assert diagnosed.pixels_at_floor is None
    assert latent_dims(recipe.model, whole.run_params(), shape) == (2,)


@pytest.mark.slow
def test_a_foreign_model_is_loaded_with_its_recipe_alone(tmp_path):
    shape = SHAPES[0]
    save(tmp_path / "m.npz", next(api.train_epochs(recipe_for(shape), data_of(shape), **PLAN)))
    with pytest.raises(ModelFileError, match="custom recipe"):
        load(tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match="does not fit its recipe"):
        load(tmp_path / "m.npz", recipe_for(shape, latent_dim=3))
    other = recipe_for(shape)._replace(optimizer=optax.adam(1e-3))  # parameters can be read with another optimizer
    for params_only in (True, False):
        read = load(tmp_path / "m.npz", other, params_only)
        assert np.isfinite(api.evaluate(read, data_of(shape))[0].elbo.value)
        with pytest.raises(ModelFileError, match="cannot be resumed: " + ("no" if params_only else "its") + " state"):
            api.train_epochs(other, data_of(shape), **PLAN, resume=read)


@pytest.mark.slow
def test_the_pictures_of_a_foreign_model(tmp_path):
    """Every picture that makes sense, and one line for those that do not."""
    data, flat_data = data_of((6, 6, 1)), data_of((36,))
    model = next(api.train_epochs(recipe_for((6, 6, 1)), data, **PLAN))
    flat_model = next(api.train_epochs(recipe_for((36,)), flat_data, **PLAN))
    for i, (one, other) in enumerate(((model, data), (flat_model, flat_data))):
        for draw in (pictures.posterior, pictures.prior):
            draw(one, other).savefig(tmp_path / f"{draw.__name__}-{i}.png")
        pictures.history(one).savefig(tmp_path / f"history-{i}.png")
    for draw in (pictures.manifold, pictures.reconstructions, pictures.interpolation, pictures.traversals):
        draw(model, data).savefig(tmp_path / f"{draw.__name__}.png")
        with pytest.raises(JvaeError, match=r"data have the shape \[36\]: pictures of them need"):
            draw(flat_model, flat_data)
    pictures.samples(model, num_images=9, mean=True).savefig(tmp_path / "samples.png")
    title = pictures.title(model)
    assert "Laplace prior, StudentT output, GeluEncoder, M = 2" in title
    assert "component" not in str(pictures.prior(model, data).axes[0].get_legend_handles_labels()[1])
    with pytest.raises(JvaeError, match="the page cannot decode with StudentTDecoder"):
        explorer_page(model, data)


@pytest.mark.slow
def test_a_custom_start_and_weight_of_the_kl():
    """The start gets training data and the run's key; the weight gets the step; metrics have the KL unweighted."""
    seen = {}

    def start(params, key, x):
        seen["x"] = x
        bias = params["params"]["decoder"]["Dense_1"]["bias"]
        moved = {**params["params"]["decoder"]["Dense_1"], "bias": bias + x.mean()}
        decoder = {**params["params"]["decoder"], "Dense_1": moved}
        return {"params": {**params["params"], "decoder": decoder}}

    data = data_of((36,))
    plain = api.train(recipe_for((36,)), data, epochs=1, batch_size=30)
    recipe = recipe_for((36,), start=start, kl_weight=lambda step: jnp.where(step < 2, 0.0, 1.0))
    model = api.train(recipe, data, epochs=1, batch_size=30)
    assert seen["x"].shape == (90, 36)
    assert sorted(np.asarray(seen["x"]).sum(axis=1)) == pytest.approx(
        sorted(data.train_images.sum(axis=1) / 255), rel=1e-5
    )
    assert model.history[0]["reconstruction"] > plain.history[0]["reconstruction"]
    assert model.history[0]["bound"] > model.history[0]["reconstruction"] - model.history[0]["kl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ELBO_ESTIMATORS, *IWAE_ESTIMATORS])
def test_every_estimator_trains_its_bound(name):
    """With a smaller last batch, whose padding does not count."""
    bound, estimators = (elbo, ELBO_ESTIMATORS) if name in ELBO_ESTIMATORS else (iwae, IWAE_ESTIMATORS)
    recipe = recipe_for((36,), bound, num_samples=3, estimator=estimators[name])
    model = api.train(recipe, data_of((36,)), epochs=3, batch_size=32)
    assert model.history[-1]["bound"] > model.history[0]["bound"]


@pytest.mark.slow
def test_padding_does_not_touch_an_estimate():
    from jvae.gradients import from_vae, pathwise

    recipe = recipe_for((36,))
    x = jnp.asarray(data_of((36,)).train_images[:8]) / 255
    params = jax.jit(recipe.model.init)(jax.random.key(0), jax.random.key(1), x)
    parts = from_vae(recipe.model)
    half = (jnp.arange(8) < 4).astype(jnp.float32)
    repeated = jnp.concatenate([x[:4], x[:4]])

    def without_noise(params, x):
        return distrax.Independent(distrax.Normal(parts.posterior(params, x).mean(), 1e-20), 1)

    exact = parts._replace(posterior=without_noise, kl=lambda params, x: jnp.zeros(len(x)))
    estimate = jax.jit(lambda params, *data: pathwise(exact, params, jax.random.key(2), data[0], 1, *data[1:]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        estimate(params, x, half),
        estimate(params, repeated),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": ELBO_ESTIMATORS["pathwise"], "bound": iwae}, "estimator is of the bound elbo"),
        ({"estimator": IWAE_ESTIMATORS["IWAE, doubly"]}, "estimator is of the bound iwae"),
        ({"estimator": ELBO_ESTIMATORS["pathwise"], "kl_weight": lambda step: 1.0}, "kl_weight must be None"),
        ({"bound": iwae, "kl_weight": lambda step: 1.0}, "kl_weight must be None with the bound iwae"),
        ({"num_samples": 0}, "num_samples is 0: must be at least 1"),
        ({"num_samples": np.array([2, 3])}, "num_samples is of the type ndarray: must be a whole number"),
        ({"num_samples": True}, "num_samples is True: must be a whole number"),
        ({"optimizer": "adam"}, "optimizer is 'adam': must be optax's, such as"),
        ({"optimizer": optax.adam}, "optimizer is of the type function: must be optax's, such as"),
        ({"bound": "elbo"}, "bound is 'elbo': must be a function"),
        ({"transform": None}, "transform is None: must be a function"),
        ({"kl_weight": 2.0}, "kl_weight is 2.0: must be a function"),
        ({"start": 3}, "start is 3: must be a function"),
        ({"estimator": "stl"}, "estimator is 'stl': must be a function"),
        ({"unit": None}, "unit is None: must be words"),
        ({"model": "vae"}, "model is 'vae': must be a jvae.VAE"),
        (
            {"model": Untyped(LaplacePrior, GeluEncoder(2), GeluEncoder(2))},
            "model.prior is of the type .*: must be a Flax",
        ),
        ({"model": UntypedLevels(*3 * [LaplacePrior(2)])}, "model.prior is of the type LaplacePrior: must be a VAE"),
        (
            {"model": VAE(LaplacePrior(2), StudentTDecoder((36,)), HeldEncoder(jnp.zeros(2)))},
            "model.encoder.scale is of the type .*: must be hashable",
        ),
        (
            {"model": VAE(LaplacePrior(2), StudentTDecoder((36,)), GaussianEncoder(Normalised()))},
            "the model has batch_stats: must have params alone",
        ),
    ],
)
def test_parts_of_a_recipe_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        api.train(recipe_for((36,))._replace(**changes), data_of((36,)), epochs=1, batch_size=30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0: must be a whole number, at least 1"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (2**32,)}, "seeds has 4294967296"),
        ({"seeds": (3, 4, 3)}, "seeds has 3 more than once: must be different"),
        ({"keep": "best"}, "keep is best: applies only with validation"),
        ({"held_out": float("nan")}, "held_out is nan"),
        ({"held_out": 0.3}, "held_out is 0.3: applies only with validation held-out, not none"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        api.train_epochs(recipe_for((36,)), data_of((36,)), **{"epochs": 1, "batch_size": 30, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 2.5}, "batch_size is 2.5: must be a whole number"),
        ({"validation": "some"}, "validation is 'some': must be one of none, held-out, test"),
    ],
)
def test_a_plan_of_wrong_types_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_plan(Plan(1, 30)._replace(**changes))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mesh": 2}, "mesh is 2: must be a Mesh"),
        ({"stream": "yes"}, "stream is 'yes': must be a bool"),
        ({"chunking": None}, "chunking is None: must be a Chunking"),
        ({"chunking": Chunking(seconds=float("nan"))}, "chunking.seconds is nan: must be at least 0 and finite"),
        ({"chunking": Chunking(first_steps=0)}, "chunking.first_steps is 0: must be at least 1"),
        ({"progress": None}, "progress is None: must be a function"),
        ({"runs_together": 0}, "runs_together is 0: must be at least 1"),
        ({"block": -1}, "block is -1: must be at least 1"),
    ],
)
def test_a_condition_that_is_none_is_named(how, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        api.train_epochs(
            recipe_for((36,)), data_of((36,)), epochs=1, batch_size=30, how=api.Conditions()._replace(**how)
        )


def test_lists_of_different_lengths_are_named():
    with pytest.raises(ValueError, match=r"^train_images is not an array: "):
        make_dataset([[1, 2], [3]], [[1, 2]])
    with pytest.raises(ValueError, match=r"^test_labels is not an array: "):
        make_dataset([[1]], [[1], [2]], None, [[1], [2, 3]])
    with pytest.raises(ValueError, match=r"^test_images is dict: must be an array of numbers"):
        make_dataset([[1]], {})


def test_what_is_no_density_of_each_datum_is_refused(key):
    """An output over data of another shape, or distributions whose dimensions are a part of the batch."""
    data = jnp.zeros((3, 36))
    for parts, error in (
        ((LaplacePrior(2), StudentTDecoder((5,)), GeluEncoder(2)), r"data of the shape \[5\]: the data have \[36\]"),
        ((LaplacePrior(2), StudentTDecoder((6, 6)), GeluEncoder(2)), r"of the shape \[6, 6\]: the data have \[36\]"),
        ((LaplacePrior(2), BernoulliDecoder(MLP((4,), (1,))), GeluEncoder(2)), r"shape \[1\]: the data have \[36\]"),
        ((LaplacePrior(2), MLP((4,), (36,)), GeluEncoder(2)), "the decoder returned .*: must return a distribution"),
        ((LaplacePrior(2), StudentTDecoder((36,)), MLP((4,), (2,))), "the encoder returned .*: must return a distr"),
        ((LaplacePrior(3), StudentTDecoder((36,)), GeluEncoder(2)), r"of the shape \[3\]: must be \[2\], as q\(z\|x\)"),
        ((MoGPrior(5, 3), StudentTDecoder((36,)), GeluEncoder(1)), r"of the shape \[5\]: must be \[1\], as q\(z\|x\)"),
        ((FlowPrior(4), StudentTDecoder((36,)), GeluEncoder(1)), r"of the shape \[4\]: must be \[1\], as q\(z\|x\)"),
        ((LaplacePrior(2), StudentTDecoder((36,)), GaussianEncoder(MLP((4,), (3,)))), "net has 3 outputs: must be 2m"),
        ((BatchedPrior(), StudentTDecoder((36,)), GeluEncoder(2)), r"p\(z\) has the batch shape \[1\]: must be one"),
        (
            (LaplacePrior(2), PixelwiseDecoder(), GeluEncoder(2)),
            r"log p\(x\|z\) has the shape \[3, 36\]: must be \[3\]",
        ),
        (
            (PixelwisePrior(), StudentTDecoder((36,)), GeluEncoder(2)),
            r"log p\(z\) has the shape \[3, 2\]: must be \[3\]",
        ),
    ):
        with pytest.raises(ValueError, match=error):
            VAE(*parts).init(key, key, data)


class PixelwiseDecoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return distrax.Normal(nn.Dense(36)(z), 1.0)


class BatchedPrior(nn.Module):
    def __call__(self, posterior=None):
        return distrax.Independent(distrax.Normal(jnp.zeros((1, 2)), 1.0), 1)


class PixelwisePrior(nn.Module):
    def __call__(self, posterior=None):
        return distrax.Normal(jnp.zeros(2), jnp.ones(2))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: GaussianDecoder(GeluEncoder(2), "fixed", 0.0), "fixed_scale is 0.0: must be above 0"),
        (lambda: FlowPrior(2, num_layers=0), "num_layers is 0: must be at least 1"),
        (lambda: FlowPrior(2, "spline", num_bins=0), "num_bins is 0: must be at least 1"),
        (lambda: FlowPrior(2, "spline", spline_limit=-1.0), "spline_limit is -1.0: must be above 0"),
    ],
)
def test_a_part_of_a_model_refuses_what_gives_no_density(make, error):
    with pytest.raises(ValueError, match=error):
        make()


def test_a_priors_bijector_is_not_traced_for_its_shape():
    """Nor inside another distribution: its parameters would leak from the trace."""
    traced = []

    class Watched(distrax.ScalarAffine):
        def forward(self, x):
            traced.append(x)
            return super().forward(x)

    base = distrax.Transformed(distrax.Normal(jnp.zeros(2), 1.0), Watched(0.0, 1.0))
    priors = (base, distrax.Independent(base, 1))
    traced.clear()  # Independent has counted the dimensions of its batch
    assert [event_shape(p) for p in priors] == [None, None]
    assert event_shape(distrax.Independent(distrax.Normal(jnp.zeros((3, 2)), 1.0), 1)) == (2,)
    assert event_shape(FlowPrior(2).bind({"params": {}})()) == (2,)
    assert traced == []
