"""Helpers shared by several test files."""

import base64
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner, Result

from jvae.bounds import LogDensities
from jvae.cli.main import main
from jvae.data.dataset import Dataset
from jvae.recipe import Recipe
from jvae.runs.checkpoint import TrainedModel, current_versions
from jvae.runs.config import Config, build_recipe
from jvae.runs.plan import plan_of
from jvae.runs.state import init_loop_state
from jvae.training import TrainState, init_state
from jvae.vae import VAE


def rest_slow(cases: Iterable[Any]) -> list[Any]:
    """Return a test's cases, all but the first marked slow."""
    first, *rest = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*first), *(pytest.param(*case, marks=pytest.mark.slow) for case in rest)]


def random_model(config: Config, dataset: Dataset, spread: float = 0.1) -> TrainedModel:
    """Return an untrained model whose decoder's weights and biases are moved at random from their initial values."""
    about = (dataset.name, dataset.test_images.shape[1:], dataset.fingerprint)
    recipe, runs = random_state(config, about[1], spread)
    runs = jax.tree.map(lambda leaf: leaf, runs)  # a tree of this model's own
    loop = init_loop_state(runs, 1, False)
    return TrainedModel(recipe, plan_of(config), runs.params, loop, [], *about, current_versions(), config)


@cache
def random_state(config: Config, shape: tuple[int, ...], spread: float) -> tuple[Recipe, TrainState]:
    """Return the recipe of a random model, and its state with an axis of one run."""
    recipe, generator = build_recipe(config, shape), np.random.default_rng(1)
    state = jax.device_get(init_state(recipe, jax.random.key(0), shape))
    moved = jax.tree.map(
        lambda leaf: leaf + np.float32(spread) * generator.standard_normal(leaf.shape, np.float32),
        state.params["params"]["decoder"],
    )
    params = {"params": {**state.params["params"], "decoder": moved}}
    return recipe, jax.tree.map(lambda leaf: jnp.asarray(leaf[None]), state._replace(params=params))


class FakeModel(VAE):
    """A model that consists only of its log-densities."""

    function: Callable = None

    def __call__(self, key: jax.Array, x: jax.Array) -> LogDensities:
        return self.function(self.variables.get("params", {}), key, x)


def fake_model(function: Callable) -> FakeModel:
    """Return a model whose log-densities are `function(params, key, x)`; its variables are `{"params": params}`."""
    return FakeModel(None, None, None, function)


def assert_within(estimates: np.ndarray, exact: np.ndarray, errors: float = 5.0) -> None:
    """Assert that the mean of independent estimates [k, ...] is within some standard errors of the exact value."""
    estimates = np.asarray(estimates, np.float64)
    mean = estimates.mean(axis=0)
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    off = np.abs(mean - exact) / (standard_error + 1e-12)
    assert np.max(off) < errors, f"{np.max(off):.2f} standard errors off"


def jvae(*arguments: object, code: int = 0) -> Result:
    """Run a command through click's runner, and return its result."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: object, code: int) -> str:
    """Run a command that is refused, and return its one line on stderr."""
    result = jvae(*arguments, code=code)
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("jvae: error: ")
    assert result.stdout == ""
    return line


def unpacked(value):
    """Return the explorer page's JSON with its arrays unpacked."""
    if isinstance(value, dict) and value.keys() == {"dtype", "shape", "data"}:
        content = zlib.decompress(base64.b64decode(value["data"]))
        return np.frombuffer(content, np.dtype(value["dtype"]).newbyteorder("<")).reshape(value["shape"])
    if isinstance(value, dict):
        return {name: unpacked(part) for name, part in value.items()}
    return [unpacked(part) for part in value] if isinstance(value, list) else value
