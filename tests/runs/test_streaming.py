"""Images that stay on the disk train what images in memory train, bit by bit."""

import sys

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from jvae.cli.main import main
from jvae.errors import JvaeError
from jvae.runs import api, streaming
from jvae.runs.config import Config
from jvae.runs.fields import text_of
from jvae.runs.mesh import MeshShape, choose_mesh

QUICK = {"dataset": "digits", "latent_dim": 2, "epochs": 2, "batch_size": 32, "hidden": (8, 8)}


@pytest.fixture
def on_disk(tiny, tmp_path):
    """Return the same data set, with training images mapped from a file."""
    np.save(tmp_path / "images.npy", tiny.train_images)
    return tiny._replace(train_images=np.load(tmp_path / "images.npy", mmap_mode="r"))


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("more", [{}, {"runs": 2, "validation": "held-out", "held_out": 0.3, "keep": "best"}], ids=str)
def test_streamed_equals_resident(more, tiny, on_disk):
    """In chunks of 1 step, of 3 with a shorter last one, and in one chunk."""
    config = Config(**QUICK, **more)
    *_, resident = api.train_config_epochs(config, tiny, how=api.Conditions(stream=False))
    for steps in (3, 1, 100):
        how = api.Conditions(stream=True, streamed_bytes=steps * config.runs * 32 * 64)
        *_, streamed = api.train_config_epochs(config, on_disk, how=how)
        jax.tree.map(np.testing.assert_array_equal, streamed.state.runs, resident.state.runs)
        jax.tree.map(np.testing.assert_array_equal, streamed.params, resident.params)
        for mine, theirs in zip(streamed.history, resident.history, strict=True):
            assert mine["bound"] == pytest.approx(theirs["bound"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_a_mesh_is_fed_too(tiny, on_disk):
    config = Config(**QUICK)
    *_, resident = api.train_config_epochs(config, tiny)
    mesh = choose_mesh(MeshShape(1, 1), 1, 32, jax.devices())
    *_, streamed = api.train_config_epochs(config, on_disk, how=api.Conditions(mesh, stream=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), streamed.params, resident.params)


@pytest.mark.slow
def test_what_does_not_fit_is_streamed_unasked(tiny, monkeypatch):
    read = []
    original = streaming.read_ahead
    monkeypatch.setattr(streaming, "read_ahead", lambda *arguments: (read.append(1), original(*arguments))[1])
    config = Config(**{**QUICK, "epochs": 1})
    list(api.train_config_epochs(config, tiny))
    assert not read
    with monkeypatch.context() as small:
        small.setattr("jvae.runs.training.fits_in_memory", lambda num_bytes: False)
        list(api.train_config_epochs(config, tiny))
    assert read
    read.clear()
    list(api.train_config_epochs(config, tiny, how=api.Conditions(stream=False)))
    assert not read


@pytest.mark.slow
def test_without_grain_one_line_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(JvaeError, match=r"pip install 'jvae\[stream\]'"):
        list(api.train_config_epochs(Config(**QUICK), tiny, how=api.Conditions(stream=True)))


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_named_across_chunks(tiny):
    config = Config(**{**QUICK, "learning_rate": 1e30})
    with pytest.raises(JvaeError) as streamed:
        list(api.train_config_epochs(config, tiny, how=api.Conditions(stream=True, streamed_bytes=32 * 64)))
    with pytest.raises(JvaeError) as resident:
        list(api.train_config_epochs(config, tiny))
    assert str(streamed.value) == str(resident.value)


@pytest.mark.slow
def test_the_command_streams(tmp_path):
    flags = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", text_of(value))]
    said = [
        CliRunner().invoke(main, ["train", *flags, *how, "--model", str(tmp_path / "m.npz")])
        for how in (["--stream"], ["--no-stream", "--overwrite"])
    ]
    assert [result.exit_code for result in said] == [0, 0]
    assert said[0].stdout == said[1].stdout
