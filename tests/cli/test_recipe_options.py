"""The options that a recipe file reads: which they are, and that they need no others."""

import pytest
from click.testing import CliRunner, Result

from jvae.cli.main import main
from jvae.runs.checkpoint import load
from jvae.runs.config import Config
from jvae.runs.recipe_file import fields_read, load_recipe_file


def jvae(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def test_a_file_that_reads_all_fields_at_once_reads_each(tmp_path):
    (tmp_path / "all.py").write_text(
        "\ufeffimport jvae\n"  # some editors begin a file so
        "def recipe(config, data_shape, steps_per_epoch):\n"
        "    config = jvae.Config(**{**vars(config), 'prior': 'mog'})\n"
        "    return jvae.build_recipe(config, data_shape, steps_per_epoch)\n"
    )
    own = load_recipe_file(tmp_path / "all.py")
    assert fields_read(own, Config(), (8, 8, 1), 1) == set(Config().to_dict())


def test_a_changed_copy_of_the_options_reads_nothing_by_itself(tmp_path):
    (tmp_path / "changed.py").write_text(
        "from dataclasses import replace\n"
        "import jvae\n"
        "def recipe(config, data_shape, steps_per_epoch):\n"
        "    return jvae.build_recipe(replace(config, hidden=(8,)), data_shape, steps_per_epoch)\n"
    )
    read = fields_read(load_recipe_file(tmp_path / "changed.py"), Config(), (8, 8, 1), 1)
    assert {"hidden", "latent_dim", "learning_rate"} <= read
    assert not {"epochs", "channels", "num_components"} & read


@pytest.mark.slow
def test_a_files_options_need_no_other_option(tmp_path):
    """A field that jvae's own models have with some priors only is the file's to use."""
    path, folder = tmp_path / "mixture.py", tmp_path / "sweep"
    path.write_text(
        "import jvae\n"
        "def recipe(config, data_shape, steps_per_epoch):\n"
        "    known = jvae.build_recipe(config, data_shape, steps_per_epoch)\n"
        "    prior = jvae.MoGPrior(config.latent_dim, config.num_components)\n"
        "    return known._replace(model=known.model.clone(prior=prior))\n"
    )
    words = ["--dataset", "digits", "--hidden", "4", "--latent-dim", 2, "--epochs", 1, "--recipe", path]
    jvae("sweep", "--grid", "num-components=3,4", *words, "--output", folder)
    model = folder / "num-components=3.npz"
    assert load(model, load_recipe_file(path).make).recipe.model.prior.num_components == 3
    jvae("train", "--resume", "--epochs", 2, "--recipe", path, "--model", model)
    refused = jvae("evaluate", "--model", model, "--recipe", path, "--num-components", 4, code=2)
    assert f"--num-components is 4, but {model} was trained with --num-components 3" in refused.stderr
    benchmark = ["benchmark", *words, "--num-components", 3, "--batch-sizes", 8, "--runs", 1, "--repeats", 3]
    assert jvae(*benchmark).exit_code == 0


@pytest.mark.slow
def test_a_field_that_one_cells_recipe_reads_is_taken(tmp_path):
    path = tmp_path / "mixture.py"
    path.write_text(
        "from jvae.runs.config import build_recipe\n"
        "def recipe(config, data_shape, steps_per_epoch):\n"
        "    return build_recipe(config, data_shape, steps_per_epoch)\n"
    )
    words = ["--dataset", "digits", "--hidden", "4", "--latent-dim", 2, "--epochs", 1, "--recipe", path]
    folder = tmp_path / "sweep"
    jvae("sweep", "--grid", "prior=gaussian,mog", "--num-components", 3, *words, "--output", folder)
    model = folder / "prior=mog.npz"
    jvae("train", "--resume", "--epochs", 2, "--recipe", path, "--model", model)  # a constant schedule has no end
    assert len(load(model, load_recipe_file(path).make).history) == 2
