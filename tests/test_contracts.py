"""What every model keeps: 4 priors x 5 outputs x 2 networks, on the digits."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from jvae.bounds import draw, elbo
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config, build_model, build_transform
from jvae.view import pictures

PRIORS = {
    "gaussian": {},
    "mog": {"num_components": 4},
    "vamp": {"num_components": 4},
    "flow": {},
}
OUTPUTS = {
    "bernoulli": {},
    "gaussian-fixed": {"decoder": "gaussian", "variance": "fixed"},
    "gaussian-scalar": {"decoder": "gaussian", "variance": "scalar"},
    "gaussian-pixel": {"decoder": "gaussian", "variance": "pixel"},
    "continuous-bernoulli": {"decoder": "continuous-bernoulli"},
}
NETWORKS = {"mlp": {"hidden": (16, 16)}, "cnn": {}}
ALL = list(itertools.product(PRIORS, OUTPUTS, NETWORKS))


def config_of(prior: str, output: str, network: str) -> Config:
    common = {"dataset": "digits", "latent_dim": 3, "epochs": 1, "batch_size": 50}
    return Config(prior=prior, network=network, **common, **PRIORS[prior], **OUTPUTS[output], **NETWORKS[network])


def all_finite(tree) -> bool:
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("prior", "output", "network"), ALL)
def test_every_combination_trains_evaluates_samples_and_plots(prior, output, network, tiny, tmp_path):
    config = config_of(prior, output, network)
    *_, model = api.train_config_epochs(config, tiny)
    save(tmp_path / "model.npz", model)
    model = load(tmp_path / "model.npz")
    assert all_finite([model.params, model.state.runs])
    result = api.evaluate(model, tiny, num_samples=3)[0]
    assert all_finite([result.elbo, result.reconstruction, result.kl])
    np.testing.assert_allclose(result.elbo.value, result.reconstruction.value - result.kl.value, rtol=1e-4, atol=1e-3)
    diagnostics = api.diagnose(model, tiny)[0]
    assert (diagnostics.levels[0].effective_components is None) == (prior in ("gaussian", "flow"))
    assert (diagnostics.pixels_at_floor is None) == (output not in ("gaussian-scalar", "gaussian-pixel"))

    vae = build_model(config, (8, 8, 1))
    for mean in (False, True):
        x = jax.jit(lambda params, mean=mean: vae.apply(params, jax.random.key(0), 5, mean, method="sample"))(
            model.run_params()
        )
        assert x.shape == (5, 8, 8, 1)
        assert all_finite(x)
    for figure in (
        pictures.samples(model, num_images=4, mean=False),
        pictures.posterior(model, tiny),
        pictures.prior(model, tiny),
    ):
        figure.savefig(tmp_path / "picture.png")
    plt.close("all")


@pytest.mark.parametrize(("prior", "output", "network"), ALL)
def test_gradients_reach_every_parameter(prior, output, network, digits):
    """The gradient of the ELBO is finite everywhere, and no array of parameters is left without one."""
    config = config_of(prior, output, network)
    vae = build_model(config, (8, 8, 1))
    x = build_transform(config)(jax.random.key(1), jnp.asarray(digits.train_images[:50]))
    params = jax.jit(vae.init)(jax.random.key(0), jax.random.key(0), x)
    if prior == "flow":  # whose last layers start at zero, so that the first gradient stops there
        weights = params["params"]
        jitter = jax.tree.map(lambda p: p + 0.01, weights["prior"])
        params = {"params": {**weights, "prior": jitter}}

    @jax.jit
    def gradient(params):
        d = lambda params: draw(lambda k, x: vae.apply(params, k, x), jax.random.key(2), x)  # noqa: E731
        return jax.grad(lambda params: jnp.mean(elbo(d(params))))(params)

    grads = gradient(params)
    assert all_finite(grads)
    silent = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(grads)[0]
        if not np.any(np.asarray(leaf))
    ]
    assert silent == []


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_low_dimensional_latents_are_drawn_too(prior, latent_dim, tiny):
    config = Config(
        dataset="digits", prior=prior, latent_dim=latent_dim, epochs=1, batch_size=50, hidden=(16, 16), **PRIORS[prior]
    )
    model = next(api.train_config_epochs(config, tiny))
    for draw_picture in (pictures.posterior, pictures.prior, pictures.manifold, pictures.traversals):
        assert draw_picture(model, tiny).axes
    assert pictures.interpolation(model, tiny).axes
