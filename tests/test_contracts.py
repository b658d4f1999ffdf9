"""What must hold for every model: 4 priors x 5 outputs x 2 networks, on the digits.

A combination is one test, because it is trained and compiled once for everything that must hold.
"""

import itertools

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from helpers import random_model

from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config
from jvae.view import pictures

pytestmark = pytest.mark.usefixtures("few_draws")

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
NETWORKS = {"mlp": {"hidden": (16,)}, "cnn": {"channels": (4,)}}
DRAWN = {  # every prior, output and network once
    ("mog", "gaussian-fixed", "mlp"),
    ("gaussian", "bernoulli", "cnn"),
    ("vamp", "gaussian-scalar", "cnn"),
    ("flow", "gaussian-pixel", "mlp"),
    ("gaussian", "continuous-bernoulli", "mlp"),
}


def config_of(prior: str, output: str, network: str) -> Config:
    common = {"dataset": "digits", "latent_dim": 3, "epochs": 1, "batch_size": 50}
    return Config(prior=prior, network=network, **common, **PRIORS[prior], **OUTPUTS[output], **NETWORKS[network])


def all_finite(tree) -> bool:
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "output", "network"), [*itertools.product(PRIORS, OUTPUTS, NETWORKS)])
def test_every_combination_trains_evaluates_and_samples(prior, output, network, tiny, tmp_path):
    """Its gradients are finite and reach every array of parameters, too: Adam's first moments are their means.

    It takes two steps, since a flow's last layers start at zero and stop the first gradient. Pictures use nothing of a
    model but priors, posteriors and means: they are drawn once for every prior, output and network.
    """
    config = config_of(prior, output, network)
    *_, model = api.train_config_epochs(config, tiny)
    save(tmp_path / "model.npz", model)
    model = load(tmp_path / "model.npz")
    assert all_finite([model.params, model.state.runs])
    assert model.state.done == 2
    gradients = jax.tree_util.tree_flatten_with_path(optax.tree_utils.tree_get(model.state.runs.opt_state, "mu"))[0]
    assert len(gradients) == len(jax.tree.leaves(model.params))
    assert [jax.tree_util.keystr(path) for path, leaf in gradients if not np.any(leaf)] == []

    result = api.evaluate(model, tiny, num_samples=4)[0]
    assert all_finite([result.elbo, result.reconstruction, result.kl])
    np.testing.assert_allclose(result.elbo.value, result.reconstruction.value - result.kl.value, rtol=1e-4, atol=1e-3)
    diagnostics = api.diagnose(model, tiny)[0]
    assert (diagnostics.levels[0].effective_components is None) == (prior in ("gaussian", "flow"))
    assert (diagnostics.pixels_at_floor is None) == (output not in ("gaussian-scalar", "gaussian-pixel"))
    for mean in (False, True):
        x = api.sample(model, jax.random.key(0), 5, mean=mean)
        assert x.shape == (5, 8, 8, 1)
        assert all_finite(x)
    if (prior, output, network) in DRAWN:
        for figure in (
            pictures.samples(model, num_images=5, mean=False),
            pictures.posterior(model, tiny),
            pictures.prior(model, tiny),
        ):
            figure.savefig(tmp_path / "picture.png")
        plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_low_dimensional_latents_are_drawn_too(prior, latent_dim, tiny):
    config = Config(
        dataset="digits", prior=prior, latent_dim=latent_dim, epochs=1, batch_size=50, hidden=(16,), **PRIORS[prior]
    )
    trained = prior == "flow"  # a flow starts as the standard normal
    model = next(api.train_config_epochs(config, tiny)) if trained else random_model(config, tiny)
    for draw_picture in (pictures.posterior, pictures.prior, pictures.manifold, pictures.traversals):
        assert draw_picture(model, tiny).axes
    assert pictures.interpolation(model, tiny).axes
