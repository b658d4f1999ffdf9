"""What the tests of several files use."""

import jax
import numpy as np

from jvae.data.datasets import Dataset
from jvae.runs.checkpoint import ModelFile, current_versions
from jvae.runs.config import Config, build_model, build_optimizer
from jvae.training import init_state


def random_model(config: Config, dataset: Dataset, spread: float = 0.1) -> ModelFile:
    """A model that nobody has trained, whose decoder has weights - biases too - that no initialiser made."""
    shape = dataset.test_images.shape[1:]
    state = init_state(build_model(config, shape), build_optimizer(config, 1), jax.random.key(0), shape)
    decoder = state.params["params"]["decoder"]
    leaves, tree = jax.tree.flatten(decoder)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + spread * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = {"params": {**state.params["params"], "decoder": jax.tree.unflatten(tree, moved)}}
    return ModelFile(config, state._replace(params=params), [], shape, dataset.fingerprint, current_versions())


def assert_within(estimates: np.ndarray, exact: np.ndarray, errors: float = 5.0) -> None:
    """The mean of independent estimates [k, ...] lies within so many computed standard errors of the exact value."""
    estimates = np.asarray(estimates, np.float64)
    mean = estimates.mean(axis=0)
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    off = np.abs(mean - exact) / (standard_error + 1e-12)
    assert np.max(off) < errors, f"{np.max(off):.2f} standard errors off"
