"""The recipes of published tables: their models, initial values and schedules."""

from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import literature
from experiments.literature import iwae
from jvae.runs import api
from jvae.runs.config import Config
from jvae.runs.recipe_file import fields_read, load_recipe_file
from jvae.training import init_state

FOLDER = Path(literature.__file__).parent
SHAPE = (8, 8, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "read"),
    [
        ("iwae", {"bound": "elbo"}, {"bound", "num_samples"}),
        ("iwae", {"bound": "iwae", "num_samples": 5}, {"bound", "num_samples"}),
        ("vampprior", {"prior": "gaussian"}, {"prior"}),
        ("vampprior", {"prior": "vamp"}, {"prior"}),
    ],
)
def test_a_recipe_trains_and_reads_its_options(name, options, read, tiny):
    own, config = load_recipe_file(FOLDER / f"{name}.py"), Config(dataset="digits", batch_size=50, epochs=1, **options)
    assert fields_read(own, config, SHAPE, 2) >= read
    *_, model = api.train_config_epochs(config, tiny, own=own)
    assert np.isfinite(model.history[-1]["bound"])
    assert model.recipe.transform(jax.random.key(0), tiny.train_images[:3]).shape == (3, *SHAPE)


def test_iwaes_step_size_falls_in_eight_stages():
    rate = iwae.step_size(3000)
    assert sum(iwae.EPOCHS) == 3280
    stages = {0: 0, 2999: 0, 3000: 1, 3000 * 4 - 1: 1, 3000 * 4: 2, 3000 * 1092: 6, 3000 * 1093: 7, 3000 * 3280 - 1: 7}
    np.testing.assert_allclose([rate(step) for step in stages], [1e-3 * 10 ** (-i / 7) for i in stages.values()])


def test_iwaes_outputs_start_at_the_mean():
    own = load_recipe_file(FOLDER / "iwae.py")
    recipe = own.make(Config(), SHAPE, 3000)
    state = init_state(recipe, jax.random.key(0), SHAPE)
    x = np.full((10, *SHAPE), 0.25, np.float32)
    started = recipe.start(state.params, jax.random.key(1), x)
    bias = started["params"]["decoder"]["net"]["output"]["bias"]
    np.testing.assert_allclose(jax.nn.sigmoid(bias), 0.25, rtol=1e-5)
    assert not np.any(state.params["params"]["decoder"]["net"]["output"]["bias"])
