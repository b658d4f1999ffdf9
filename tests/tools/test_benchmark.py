"""A benchmark counts what the network computes, and its command reports it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from jvae.cli.main import main
from jvae.runs.config import Config
from jvae.runs.memory import tree_bytes
from jvae.tools import benchmark
from jvae.tools.benchmark import Shape, training_of
from jvae.tools.profile import part_of


@pytest.mark.slow
def test_the_products_of_the_exercise_are_counted(tiny):
    """The forward pass, and every layer's gradients of weights and inputs, except the first layer's inputs."""
    config = Config(dataset="digits", latent_dim=3, hidden=(16, 16), batch_size=32)
    counted = benchmark.step_products(training_of(config, tiny.train_images))
    layers = [(64, 16), (16, 16), (16, 6), (3, 16), (16, 16), (16, 64)]
    macs = sum(3 * 32 * a * b for a, b in layers) - 32 * 64 * 16
    assert sum(count * shape.flops for shape, count in counted.items()) == 2 * macs
    assert sum(counted.values()) == 3 * 6 - 1
    assert {shape.dtype for shape in counted} == {"float32"}
    again = benchmark.step_products(
        training_of(Config(**{**config.to_dict(), "precision": "bfloat16"}), tiny.train_images)
    )
    assert {shape.dtype for shape in again} == {"bfloat16"}
    assert sum(count * shape.flops for shape, count in again.items()) == 2 * macs
    draws = benchmark.step_products(training_of(Config(**{**config.to_dict(), "num_samples": 2}), tiny.train_images))
    decoder = sum(3 * 32 * a * b for a, b in layers[3:])
    assert sum(count * shape.flops for shape, count in draws.items()) == 2 * (macs + decoder)


@pytest.mark.parametrize(("padding", "dilation"), [("VALID", 1), (((1, 1), (1, 2)), 1), (((1, 2), (2, 1)), 2)])
def test_a_convolution_counts_its_multiplications(padding, dilation):
    """The sum over a convolution of ones is their number."""
    x, kernel = jnp.ones((5, 8, 9, 4)), jnp.ones((4, 3, 4, 6))

    def convolution(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 2), padding, dimension_numbers=names, lhs_dilation=(dilation,) * 2
        )

    (shape,) = benchmark.products_in(jax.make_jaxpr(convolution)(x, kernel).jaxpr, 1)
    assert shape.flops == pytest.approx(2 * float(convolution(x, kernel).sum()), rel=0.5 / shape.k + 1e-6)


@pytest.mark.slow
def test_a_measurement_adds_up(tiny):
    config = Config(dataset="digits", latent_dim=3, hidden=(16, 16), batch_size=32, runs=2)
    measured = benchmark.measure(training_of(config, tiny.train_images), 3)
    assert measured.images_per_second == pytest.approx(64 / measured.step.median)
    assert measured.step.low <= measured.step.median <= measured.step.high
    assert measured.product_flops == 2 * sum(
        count * shape.flops for shape, count in benchmark.step_products(training_of(config, tiny.train_images)).items()
    )
    assert measured.xla_flops > measured.product_flops
    assert measured.compile_seconds > 0


def test_the_memory_of_a_step_holds_the_state_once(tiny):
    """A training updates it in place: its results are in the memory of its arguments."""
    training = training_of(Config(dataset="digits", latent_dim=3, hidden=(512,), batch_size=2), tiny.train_images)
    _, (state, _, batch) = benchmark.one_step(training)
    _, needed = benchmark.analysis_of(training)
    assert tree_bytes((state, batch)) < needed < 2 * tree_bytes(state)


def test_a_timed_product_is_the_whole_product():
    a, b = np.random.default_rng(0).standard_normal((2, 8, 8), np.float32)
    np.testing.assert_allclose(benchmark.product(a, b, "float32"), a @ b, rtol=1e-5, atol=1e-5)
    assert benchmark.time_product(Shape(8, 8, 8, "float32"), 3).median > 0


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("jit(f)/while/body/closed_call/optimizer/mul", "optimizer"),
        ("jit(f)/while/body/data/gather", "data"),
        ("jit(f)/while/body/transpose(jvp(VAE))/decoder/net/linear_2/dot_general", "decoder/net/linear_2, backward"),
        ("jit(f)/while/body/jvp(VAE)/VAE.infer/encoder/net/linear_0/add", "encoder/net/linear_0, forward"),
        ("jit(f)/while/body/jvp(VAE)/decoder/net/jit(relu)/max", "decoder/net, forward"),
        ("jit(f)/while/body/jvp(VAE)/VAE.infer/jit(_normal)/jit(_uniform)/while", "densities and noise, forward"),
        ("jit(f)/jit(_shuffle)/sort", "all else"),
    ],
)
def test_an_operation_belongs_to_the_module_that_it_came_from(source, part):
    assert part_of(source) == part


@pytest.mark.slow
def test_the_command_prints_writes_and_draws(tmp_path):
    quick = ["--dataset", "digits", "--hidden", "8,8", "--latent-dim", "2", "--repeats", "3"]
    grid = ["--batch-sizes", "32,64", "--runs", "1", "--precision", "float32,bfloat16", "--profile"]
    files = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    done = CliRunner().invoke(main, ["benchmark", *quick, *grid, *files])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "b.json").read_text())
    assert [row["config"]["batch_size"] for row in written["measurements"]] == [32, 64, 32, 64]
    assert written["machine"]["platform"] == "cpu"
    assert done.stdout.count("bfloat16") == 3
    assert {"optimizer", "data", "encoder/net/linear_0, forward"} <= set(written["profile"])
    assert "optimizer" in done.stdout
    assert (tmp_path / "b.png").stat().st_size > 10_000


@pytest.mark.slow
def test_sizes_that_the_data_lack_are_left_out_unless_they_are_asked_for(monkeypatch, tmp_path):
    measured = []

    def stopped(training, repeats):
        measured.append(training.batch_size)
        if len(measured) == 2:
            raise ValueError("enough")
        return None

    monkeypatch.setattr(benchmark, "measure", stopped)
    words = ["benchmark", "--dataset", "digits", "--device", "cpu", "--runs", "1"]
    CliRunner().invoke(main, words)
    assert measured == [128, 1024]  # of 128, 1024 and 8192, with 1,541 images
    measured.clear()
    (tmp_path / "own.py").write_text("from jvae import build_recipe as recipe")
    assert "enough" in CliRunner().invoke(main, [*words, "--recipe", str(tmp_path / "own.py")]).stderr
    assert measured == [128, 1024]
    measured.clear()
    done = CliRunner().invoke(main, [*words, "--batch-sizes", "128,9999"])
    assert done.exit_code == 2
    assert measured == []  # nothing is timed for nothing


@pytest.mark.parametrize(
    "words", [["--batch-sizes", "1,x"], ["--precision", "float64"], ["--batch-sizes", "9999", "--dataset", "digits"]]
)
def test_a_wrong_command_line_is_one_line(words):
    done = CliRunner().invoke(main, ["benchmark", *words])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("jvae: error: ")
