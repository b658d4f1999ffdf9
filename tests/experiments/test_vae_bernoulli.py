"""The exercise in one file: it stands alone, computes what jvae computes, and its commands work."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from experiments import vae_bernoulli as alone
from jvae.bounds import draw, elbo
from jvae.runs.config import Config, build_model
from jvae.transforms import binarise

FILE = Path(alone.__file__)
ALLOWED = {"jax", "flax", "optax", "distrax", "click", "numpy", "matplotlib"}


def test_it_is_short_and_uses_nothing_of_jvae():
    import sys

    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= ALLOWED
    assert len(FILE.read_text().splitlines()) <= 220


def test_its_elbo_is_jvaes_at_the_same_parameters_and_key(key):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    ours = build_model(Config(latent_dim=3), (28, 28, 1))
    params = ours.init(key, key, jnp.zeros((1, 28, 28, 1)))
    x, draw_key = binarise(key, images), jax.random.key(1)
    d = draw(lambda k, x: ours.apply(params, k, x), draw_key, x)
    (each,) = jax.random.split(draw_key, 1)  # the key of the only draw
    np.testing.assert_allclose(alone.elbo(alone.make_vae(3), params, each, images), elbo(d), rtol=1e-5)


def test_every_image_is_seen_once_an_epoch_in_steps_of_one_pure_function(key):
    images = jnp.arange(10)

    def step(params, opt_state, key, batch):
        return params + jnp.sum(batch), opt_state + 1, jnp.float32(len(batch))

    (total, steps), bound = alone.make_epoch(step, 4)((jnp.array(0), jnp.array(0)), key, images)
    assert (int(total), int(steps), float(bound)) == (45, 3, 4.0)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Write a hundred made-up images where jvae keeps its data."""
    folder = tmp_path / "datasets" / "mnist"
    folder.mkdir(parents=True)
    for split, count in (("train", 100), ("t10k", 30)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(bytes(16) + pixels.tobytes())
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path))
    return folder


def test_what_is_missing_is_named_in_one_line(tmp_path, mnist):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "train-images-idx3-ubyte").write_bytes(b"junk")
    (damaged / "train-images-idx3-ubyte.gz").touch()
    for flags, said in (
        (["--data-dir", str(tmp_path)], "jvae datasets fetch mnist"),
        (["--data-dir", str(damaged)], "holds no train images"),
        (["--device", "x"], "--device is x"),
    ):
        done = CliRunner().invoke(alone.main, ["train", "--model", str(tmp_path / "m.npz"), *flags])
        assert done.exit_code == 1
        assert said in done.stderr
        assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", "arrays"])
def test_a_file_of_another_kind_is_neither_replaced_nor_read(tmp_path, mnist, content):
    other = tmp_path / "m.npz"
    if content == "arrays":
        np.savez(other, weights=np.zeros(3))
    else:
        other.write_bytes(content)
    before = other.read_bytes()
    refusal = "is no model that this program wrote; name another with --model"
    for command in (["train", "--epochs", "1"], ["sample", "--samples", str(tmp_path / "x.png")]):
        done = CliRunner().invoke(alone.main, [*command, "--model", str(other)])
        assert (done.exit_code, done.stderr) == (1, f"Error: {other}: {refusal}\n")
    assert other.read_bytes() == before
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_the_commands_train_and_sample(tmp_path, mnist):
    model, picture = tmp_path / "m.npz", tmp_path / "x.png"
    flags = ["--latent-dim", "2", "--epochs", "2", "--batch-size", "40", "--model", str(model)]
    done = CliRunner().invoke(alone.main, ["train", *flags])
    assert done.exit_code == 0, done.output
    assert "epoch 2/2  elbo -" in done.stdout
    assert "test-set elbo -" in done.stdout
    assert CliRunner().invoke(alone.main, ["sample", "--model", str(model), "--samples", str(picture)]).exit_code == 0
    assert picture.stat().st_size > 5000
    nowhere = CliRunner().invoke(
        alone.main, ["sample", "--model", str(model), "--samples", str(tmp_path / "no" / "x.png")]
    )
    assert nowhere.exit_code == 1
    assert len(nowhere.stderr.splitlines()) == 1
    for more, code in ((["--latent-dim", "2", "--device", "cpu"], 0), (["--latent-dim", "3"], 1)):
        drawn = CliRunner().invoke(
            alone.main, ["sample", "--model", str(model), "--samples", str(tmp_path / "y.png"), *more]
        )
        assert drawn.exit_code == code, drawn.output
    assert (tmp_path / "y.png").read_bytes() == picture.read_bytes()
    large = CliRunner().invoke(alone.main, ["train", *flags, "--batch-size", "1000"])  # more than there are images
    assert large.exit_code == 0
    assert "nan" not in large.stdout
    over = CliRunner().invoke(alone.main, ["sample", "--model", str(model), "--samples", str(model)])
    assert (over.exit_code, "must end in .png" in over.stderr) == (1, True)
    alone.read_params(str(model))  # is still a model
    assert "train --latent-dim 10 --epochs 5" in CliRunner().invoke(alone.main, ["--help"]).stdout
    again = CliRunner().invoke(alone.main, ["train", *flags])  # an earlier model is replaced
    assert (again.exit_code, again.stdout.splitlines()[-1]) == (0, done.stdout.splitlines()[-1])
