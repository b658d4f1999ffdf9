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
from jvae.errors import JvaeError
from jvae.runs.config import Config


def test_whole_processes_of_two_versions_and_pytorch_are_run_in_turn(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    ran = []

    def run_process(command):
        ran.append(command)
        return float(len(ran)), 100.0 + len(ran)

    monkeypatch.setattr(commands, "run_process", run_process)
    earlier = tmp_path / "jvae-0.1.0"
    earlier.mkdir()
    (earlier / "pyproject.toml").write_text('[project.scripts]\njvae = "jvae.cli:main"\n', encoding="utf-8")
    words = [
        "throughput",
        "--whole",
        "--rounds",
        "3",
        "--beside",
        str(earlier),
        "--dataset",
        "digits",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(experiments, [*words, "--output", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "report" / "throughput" / "results.json").read_text(encoding="utf-8"))
    assert kept["settings"]["beside"] == "jvae-0.1.0"  # no machine's path
    names = [
        *("jvae, cold", "jvae, compiled before", "jvae-0.1.0/, cold", "jvae-0.1.0/, compiled before"),
        *("the exercise in PyTorch", "jvae to its first step, cold", "jvae to its first step, compiled before"),
    ]
    assert kept["values"]["seconds"] == {name: [8.0 + i, 15.0 + i] for i, name in enumerate(names)}  # one round fills
    assert kept["values"]["memory"] == {name: [108.0 + i, 115.0 + i] for i, name in enumerate(names[:5])}
    assert str(earlier) in ran[2][2]
    assert "from jvae.cli import main" in ran[2][2]
    assert "--no-compile-cache" in ran[2]
    assert "--no-compile-cache" not in ran[3]
    assert "jvae-0.1.0/, compiled before" in done.output


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
        ("--whole --who tuned", "--whole times the exercise's command: leave out --images, --network and --who"),
    ],
)
def test_what_goes_with_whole_is_said(words, line):
    pytest.importorskip("torch")
    done = CliRunner().invoke(experiments, ["throughput", "--dataset", "digits", "--device", "cpu", *words.split()])
    assert done.exit_code == 2
    assert line in done.output


def test_the_one_file_is_timed_where_it_can_train():
    assert "one-file" in defaults("mlp", (28, 28, 1), quick=False)
    assert "one-file" not in [*defaults("cnn", (28, 28, 1), quick=False), *defaults("mlp", (8, 8, 1), quick=False)]
    assert "compiled" not in defaults("mlp", (28, 28, 1), quick=True)


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
