import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# nearly all the time goes into compiling hundreds of small programs; the fixture `optimised` compiles them as users do
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # tests that compile the same program, in any process, share it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jvae-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

from jaxtyping import install_import_hook

# every annotated shape and type of the package is checked while the tests run, but for Config, which checks itself
ROOT = Path(__file__).parent.parent
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "jvae").rglob("*.py"))]
install_import_hook(
    [name for name in MODULES if not name.endswith(("__init__", "__main__", ".runs.config"))],
    "typechecking.typechecked",
)

import jax
import numpy as np
import pytest

from jvae.data.datasets import Dataset, load_dataset
from jvae.runs.checkpoint import ModelFile, current_versions
from jvae.runs.config import Config, build_model, build_optimizer
from jvae.training import init_state


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    """Compile a module's programs with all of XLA's optimisations."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def tiny(digits: Dataset) -> Dataset:
    """A hundred digits to train on and thirty to test on."""
    return digits._replace(
        train_images=digits.train_images[:100],
        train_labels=digits.train_labels[:100],
        test_images=digits.test_images[:30],
        test_labels=digits.test_labels[:30],
    )


@pytest.fixture
def small() -> Config:
    """A configuration that trains in a moment."""
    return Config(dataset="digits", latent_dim=3, epochs=2, batch_size=32, hidden_dim=16)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


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
