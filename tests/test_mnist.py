"""Tests on the real MNIST."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from readme import ROOT

from experiments import vae_bernoulli as alone
from jvae.data.datasets import load_dataset
from jvae.runs import api
from jvae.runs.config import Config

pytestmark = [pytest.mark.mnist, pytest.mark.usefixtures("optimised")]


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.mark.slow
def test_two_epochs_of_the_exercise_reach_the_expected_elbo(mnist):
    """PyTorch's loop is near -107 after two epochs; an ELBO far above that would be a wrong density."""
    *_, model = api.train_config_epochs(Config(latent_dim=10, epochs=2, batch_size=128), mnist)
    result = api.evaluate(model, mnist)[0]
    assert -112 < result.elbo.value < -103
    assert result.num_images == 10_000
    assert result.elbo.monte_carlo_error < 0.05
    assert result.elbo.value == pytest.approx(result.reconstruction.value - result.kl.value, rel=1e-5)


@pytest.mark.slow
def test_the_exercise_in_one_file_reaches_the_elbo_of_the_mirror(tmp_path, mnist):
    flags = ["--latent-dim", "10", "--epochs", "5", "--batch-size", "128", "--model", str(tmp_path / "model.npz")]
    done = CliRunner().invoke(alone.main, ["train", *flags])
    assert done.exit_code == 0, done.output
    kept = json.loads((ROOT / "experiments" / "report" / "mirror" / "results.json").read_text(encoding="utf-8"))
    both = kept["values"]["priors"]["gaussian"]
    elbos = np.array(both["jvae"] + both["pytorch"])
    found = float(re.search(r"test-set elbo (-[\d.]+)", done.stdout)[1])
    assert abs(found - elbos.mean()) < 3 * elbos.std(ddof=1)


def test_binarised_mnist_is_the_exercises(mnist):
    """`0.5 < pixel / 255` in float32, as torchvision scales, is `pixel >= 128`."""
    images = mnist.test_images
    np.testing.assert_array_equal(np.float32(0.5) < images.astype(np.float32) / np.float32(255), images >= 128)
