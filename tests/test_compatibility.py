"""`import distrax` works with a jax that has dropped the one name that tensorflow-probability takes from it."""

import subprocess
import sys

import pytest
from helpers import rest_slow

DROP = """
import jax.core
found = jax.core.__getattr__
def without(name):
    if name == "pytype_aval_mappings":
        raise AttributeError(name)
    return found(name)
jax.core.__getattr__ = without
vars(jax.core).pop("pytype_aval_mappings", None)
assert not hasattr(jax.core, "pytype_aval_mappings")
"""
KEEP = "import warnings; warnings.simplefilter('error')\n"
USE = """
import sys
assert not {"tensorflow_probability", "distrax"} & set(sys.modules)
import distrax
import jax
p = distrax.Independent(distrax.Normal(jax.numpy.zeros(3), 1.0), 1)
assert p.sample(seed=jax.random.key(0)).shape == (3,)
assert float(p.kl_divergence(p)) == 0.0
from tensorflow_probability.substrates import jax as tfp
assert float(tfp.distributions.Normal(0.0, 1.0).kl_divergence(tfp.distributions.Normal(0.0, 1.0))) == 0.0
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "jvae"]
"""


@pytest.mark.parametrize("jax", rest_slow([DROP, KEEP]), ids=["dropped", "deprecated"])
def test_distrax_is_imported_by_a_user_after_jvae(jax):
    """With a jax that has dropped the name, and with one that warns of it: no warning is shown."""
    done = subprocess.run([sys.executable, "-c", jax + "import jvae\n" + USE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
