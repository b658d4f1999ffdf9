"""What `throughput` times: whole processes, and the exercise in one file."""

import json
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from readme import ROOT

from experiments.__main__ import experiments
from experiments.parts.throughput import defaults, one_file
from experiments.peers import commands
from jvae.data import datasets
from jvae.data.dataset import make_dataset
from jvae.errors import JvaeError
from jvae.runs.config import Config


def test_whole_processes_of_two_versions_and_pytorch_are_run_in_turn(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    ran = []

    def run_training(command, epochs):
        ran.append(command)
        n = float(len(ran))
        return commands.Training(10 * n, 100 + n, [n + 1, n + 3, n + 4, n + 7, n + 9])

    monkeypatch.setattr(commands, "run_training", run_training)
    data = make_dataset(*(np.zeros((n, 28, 28), np.uint8) for n in (20, 10)))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)  # MNIST need not be there
    earlier = tmp_path / "jvae-0.1.0"
    earlier.mkdir()
    (earlier / "pyproject.toml").write_text('[project.scripts]\njvae = "jvae.cli:main"\n', encoding="utf-8")
    words = [
        "throughput",
        "--whole",
        "--rounds",
        "3",
        "--network",
        "cnn",
        "--beside",
        str(earlier),
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(experiments, [*words, "--output", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "report" / "throughput" / "results.json").read_text(encoding="utf-8"))
    assert kept["settings"]["beside"] == "jvae-0.1.0"  # no machine's path
    names = ["jvae, cold", "jvae, compiled before", "jvae-0.1.0/, cold", "jvae-0.1.0/, compiled before"]
    names.append("the exercise in PyTorch")
    assert kept["values"] == {  # the first round fills the caches
        "seconds": {name: [60.0 + 10 * i, 110.0 + 10 * i] for i, name in enumerate(names)},
        "epoch": {name: [2.0, 2.0] for name in names},
        "start": {name: [5.0 + i, 10.0 + i] for i, name in enumerate(names)},
        "memory": {name: [106.0 + i, 111.0 + i] for i, name in enumerate(names)},
        "network": "cnn",
        "epochs": 5,
    }
    assert all(command[-2:] == ["--epochs", "5"] or "--overwrite" in command for command in ran)
    assert all(command[command.index("--network") + 1] == "cnn" for command in ran)
    assert str(earlier) in ran[2][2]
    assert "from jvae.cli import main" in ran[2][2]
    assert "--no-compile-cache" in ran[2]
    assert "--no-compile-cache" not in ran[3]
    assert "jvae-0.1.0/, compiled before" in done.output


def test_a_training_is_timed_by_the_lines_it_says():
    says = """
import time
for line in ["epoch 1/2  compiling", "epoch 1/2  bound -99.0", "epoch 2/2  step 3/9", "epoch 2: loss of the last 9.0"]:
    time.sleep(0.1)
    print(line, flush=True)
"""
    found = commands.run_training([sys.executable, "-c", says], 2)
    assert 0.1 < found.epoch < found.seconds
    assert found.epoch_ends == sorted(found.epoch_ends)
    assert found.start == pytest.approx(found.epoch_ends[0] - found.epoch)
    assert 1 < found.memory < 1000
    with pytest.raises(JvaeError, match=r"exit code 3, 0 of 2 epochs: no such file$"):
        commands.run_training([sys.executable, "-c", "print('no such file'); raise SystemExit(3)"], 2)
    with pytest.raises(JvaeError, match="exit code 0, 0 of 2 epochs: it said nothing"):
        commands.run_training([sys.executable, "-c", ""], 2)
    killed = "import os; print('its parent is killed', flush=True); os.kill(os.getppid(), 9)"
    with pytest.raises(JvaeError, match="exit code -9, 0 of 2 epochs: its parent is killed"):
        commands.run_training([sys.executable, "-c", killed], 2)


def test_the_command_of_a_checkout_is_that_checkouts(tmp_path):
    (tmp_path / "jvae.py").write_text("def main():\n    print('the earlier one')\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project.scripts]\njvae = "jvae:main"\n', encoding="utf-8")
    command = [sys.executable, *commands.entry(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "the earlier one\n"
    assert "jvae.__main__" in commands.entry(ROOT)[1]
    with pytest.raises(JvaeError, match="is no checkout of jvae"):
        commands.entry(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--beside .", "--beside needs --whole"),
        ("--whole --who tuned", "--whole times the exercise's command: leave out --images and --who"),
        ("--whole", "--whole times the exercise's command: --dataset is digits: must be mnist"),
        ("--data-dir .", "--data-dir is .: digits does not look there; leave it out"),
        ("--minutes 3", "--minutes needs --run-counts or --device gpu"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(words, line):
    pytest.importorskip("torch")
    done = CliRunner().invoke(experiments, ["throughput", "--dataset", "digits", "--device", "cpu", *words.split()])
    assert done.exit_code == 2
    assert line in done.output


@pytest.mark.parametrize(
    ("shape", "words", "code", "line"),
    [
        ((28, 28, 1), "throughput --images 100", 2, "--batch-size is 128: must be at most the images of an epoch, 100"),
        ((28, 28, 1), "throughput --images 9 --run-counts 1", 2, "must be at most the images of an epoch, 9"),
        ((8, 8, 1), "throughput --network cnn", 1, "8x8x1: PyTorch's convolutional network is for images of 28x28"),
        ((8, 8, 1), "throughput --run-counts 1", 1, "8x8x1: PyTorch's convolutional network is for images of 28x28"),
        ((8, 8, 3), "throughput --who tuned", 1, "data of 8x8x3: PyTorch's program is for images of one channel"),
        ((8, 8, 3), "throughput --network mlp --run-counts 1", 1, "mine has data of 8x8x3"),
        ((8, 8, 3), "mirror", 1, "data of 8x8x3: PyTorch's program is for images of one channel"),
        ((8, 8, 1), "networks --batch-size 200", 1, "must be less than the number of training images, 200, for steps"),
        ((8, 8, 1), "priors --batch-size 200", 1, "must be less than the number of training images, 200, for steps"),
    ],
)
def test_what_cannot_be_timed_is_one_line_before_anything_is_trained(shape, words, code, line, monkeypatch):
    pytest.importorskip("torch")
    from jvae.runs import api

    data = make_dataset(*(np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8) for n in (200, 20)))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    monkeypatch.setattr(api, "train_config_epochs", lambda *_, **__: pytest.fail("it trains"))
    done = CliRunner().invoke(experiments, [*words.split(), "--device", "cpu", "--no-compile-cache"])
    assert done.exit_code == code
    assert line in done.stderr.splitlines()[-1]


def test_the_one_file_is_timed_where_it_can_train():
    assert "one-file" in defaults("mlp", (28, 28, 1), quick=False)
    assert "one-file" not in [*defaults("cnn", (28, 28, 1), quick=False), *defaults("mlp", (8, 8, 1), quick=False)]
    assert "compiled" not in defaults("mlp", (28, 28, 1), quick=True)


def test_a_tuned_peer_leaves_the_exercises_loop_as_pytorch_starts(monkeypatch):
    torch = pytest.importorskip("torch")
    from experiments.peers import pytorch

    seen = []

    def elbo(model, x):
        seen.append((torch.distributions.Distribution._validate_args, torch.get_float32_matmul_precision()))
        return original(model, x)

    original = pytorch.VAE.elbo
    monkeypatch.setattr(pytorch.VAE, "elbo", elbo)
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        epochs = [pytorch.start_epochs(who, "mlp", 2, 4, np.zeros((4, 8, 8), np.uint8)) for who in ("tuned", "no-pil")]
        for epoch in (*epochs, *epochs):
            epoch()
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [(False, "highest"), (True, "medium")] * 2


@pytest.mark.slow
def test_an_epoch_of_the_one_file_takes_a_step_for_every_batch(monkeypatch):
    from experiments import vae_bernoulli as alone

    traced = []
    make = alone.make_train_step

    def counted(*parts):
        step = make(*parts)
        return lambda params, opt_state, key, images: (
            traced.append(images.shape) or step(params, opt_state, key, images)
        )

    monkeypatch.setattr(alone, "make_train_step", counted)
    epoch = one_file(Config(latent_dim=2, batch_size=40), np.zeros((100, 28, 28, 1), np.uint8))
    epoch()
    epoch()  # the state of the first goes on
    assert traced == [(40, 28, 28, 1), (20, 28, 28, 1)]  # a loop of two, and the rest; compiled once
    with pytest.raises(click.UsageError, match="one-file needs images of 28x28"):
        one_file(Config(), np.zeros((100, 8, 8, 1), np.uint8))
