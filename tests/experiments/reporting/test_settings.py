"""The settings that all parts share: as typed, as trained on, and as a command line again."""

import click
import numpy as np
from click.testing import CliRunner

from experiments.reporting.lab import Lab
from experiments.reporting.settings import Settings, shared_options


@click.command()
@shared_options
def command(settings: Settings, output: object) -> None:
    click.echo(settings.command_line())
    data = Lab(settings, None, lambda line: None).data
    click.echo(f"{len(data.train_images)} {len(data.test_images)} {settings.config(latent_dim=3).test_share}")


def test_every_source_with_its_options(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 8, 8), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None])
    arguments = ["--dataset", f"npy:{tmp_path / 'x.npy'}", "--test-share", "0.25", "--epochs", "2"]
    result = CliRunner().invoke(command, arguments)
    typed, found = result.output.splitlines()
    assert typed.split() == [*arguments[:2], "--test-share", "0.25", "--epochs", "2"]
    assert found == "15 5 0.25"
    refused = CliRunner().invoke(command, ["--dataset", "digits", "--transpose"])
    assert refused.exit_code == 2
    assert "--transpose is True: applies only with idx:DIR" in refused.output


def test_models_of_long_sources_have_names_that_fit(tmp_path):
    paths = [Lab(Settings(f"npz:/{'long/' * 60}{end}.npz"), tmp_path).path for end in "ab"]
    one, other = (
        path(Settings(f"npz:/{'long/' * 60}{end}.npz").config()) for path, end in zip(paths, "ab", strict=True)
    )
    assert one != other
    assert max(len(one.name), len(other.name)) <= 132
    assert one.parent == tmp_path / "models" / "cpu"
