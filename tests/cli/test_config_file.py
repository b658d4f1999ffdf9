"""Options in a file, `--config FILE.toml`, and files given in place of an option."""

import json
from pathlib import Path

import pytest
from helpers import jvae, random_model, refused

from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config

RECIPE = """
import jvae


def recipe(config, data_shape, steps_per_epoch):
    return jvae.build_recipe(jvae.Config(dataset="digits", latent_dim=2), data_shape, steps_per_epoch)
"""


@pytest.fixture(scope="module")
def model(digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "one.npz"
    save(path, random_model(Config(dataset="digits", latent_dim=2, epochs=1, batch_size=256, hidden=(16, 16)), digits))
    return path


COMMANDS = [["evaluate"], ["train"], ["sample"], ["plot", "posterior"], ["plot", "history"], ["explore"], ["encode"]]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_model_file_by_itself_is_explained(command, model):
    assert f"use --model {model}" in refused(*command, model, code=2)
    assert "use --config f.toml" in refused(*command, "f.toml", code=2)
    assert "use --recipe my.py" in refused(*command, "my.py", code=2)
    assert "--model" in jvae(*command, "m.npz", "--help").stdout


@pytest.mark.slow
def test_a_config_file_comes_after_command_line_and_environment(tmp_path, monkeypatch):
    path = tmp_path / "c.toml"
    path.write_text(
        'dataset = "digits"\nlatent-dim = 3\nhidden_dim = 8\nbatch-size = 256\nepochs = 3\nseed = 5\n'
        f'learning-rate = 1e-2\ncompile-cache = false\nresume = false\nmodel = "{tmp_path / "m.npz"}"\n'
    )
    monkeypatch.setenv("JVAE_TRAIN_SEED", "6")
    monkeypatch.setenv("JVAE_TRAIN_EPOCHS", "2")
    jvae("train", "--config", path, "--epochs", 1)
    config = load(tmp_path / "m.npz").config
    assert (config.epochs, config.seed) == (1, 6)
    assert (config.latent_dim, config.hidden, config.batch_size, config.learning_rate) == (3, (8, 8), 256, 0.01)
    line = refused("train", "--config", path, "--epochs", 1, "--learning-rate", 0.1, "--resume", code=2)
    assert "--learning-rate is 0.1" in line


@pytest.mark.slow
def test_what_a_file_gives_is_given(model, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("latent_dim = 5")
    line = refused("sample", "--model", model, "--config", path, code=2)
    assert f"{path}: --latent-dim is 5" in line
    line = refused("train", "--resume", "--model", model, "--config", path, code=2)
    assert f"{path}: --latent-dim is 5" in line
    (tmp_path / "own.py").write_text(RECIPE)
    own = ["--recipe", tmp_path / "own.py", "--dataset", "digits", "--model", tmp_path / "m.npz"]
    assert f"{path}: --latent-dim is 5" in refused("train", *own, "--config", path, code=2)
    path.write_text("resume = true\noverwrite = true\n")
    assert "--resume and --overwrite" in refused("train", "--config", path, code=2)


@pytest.mark.slow
def test_a_list_gives_an_option_several_times(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('grid = ["seed=0,1", "latent-dim=2"]\n')
    few = ["--dataset", "digits", "--epochs", 1, "--batch-size", 256, "--hidden-dim", 8, "--output", tmp_path / "s"]
    jvae("sweep", "--config", path, *few)
    cells = json.loads((tmp_path / "s" / "results.json").read_text())["cells"]
    assert len(cells) == 2


WRONG = [
    ("latent-dm = 2", 2, "'latent-dm'"),
    ("model-path = 'm'", 2, "'model-path'"),
    ("config = 'c.toml'", 2, "'config'"),
    ("help = true", 2, "'help'"),
    ("[train]\nepochs = 1", 2, "'train'"),
    ("batch-size = 1\nbatch_size = 2", 2, "'batch_size'"),
    ("latent_dimm = 2", 2, "'latent_dimm' is not an option of this command. Did you mean --latent-dim?"),
    ("epochs = 0", 2, "--epochs is 0: must be"),
    ("epochs = 1.5", 2, "'--epochs': '1.5'"),
    ("epochs = true", 2, "'--epochs': True"),
    ("epochs = 'two'", 2, "'--epochs': 'two'"),
    ("epochs = [1]", 2, "'--epochs': [1]"),
    ("epochs = {a = 1}", 2, "'--epochs'"),
    ("epochs = 1979-05-27", 2, "'--epochs'"),
    ("prior = 'cauchy'", 2, "'--prior': 'cauchy'"),
    ("prior = 'a\\nb'", 2, "'--prior'"),
    ('model = "a\\u0000b"', 2, "'--model'"),
    ("dequantise = 'yes'", 2, "'--dequantise': 'yes'"),
    ("no_dequantise = true", 2, "'no_dequantise' is for the command line: use dequantise = false"),
    ("resume = 1", 2, "'--resume': 1"),
    (f"epochs = 0x{'f' * 5000}", 1, "digits"),
    (f"epochs = {'9' * 5000}", 1, "is not TOML"),
    (f"epochs = {'[' * 5000}", 1, "is not TOML"),
    ("epochs = ", 1, "is not TOML"),
    ("\xff", 1, "is not TOML"),
]


@pytest.mark.parametrize(("text", "code", "said"), WRONG, ids=[text[:20] for text, _, _ in WRONG])
def test_what_is_wrong_in_a_config_file_is_a_line_that_names_it(tmp_path, monkeypatch, text, code, said):
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_bytes(text.encode("latin-1"))
    line = refused("train", "--config", "c.toml", code=code)
    assert "c.toml: " in line
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize("command", ["train", "benchmark", "sweep"])
@pytest.mark.parametrize("way", ["option", "file", "variable"])
def test_a_value_that_means_nothing_is_refused_though_it_is_the_default(tmp_path, monkeypatch, command, way):
    (tmp_path / "c.toml").write_text("num-components = 50\n")
    words = {"option": ["--num-components", 50], "file": ["--config", tmp_path / "c.toml"], "variable": []}[way]
    if way == "variable":
        monkeypatch.setenv(f"JVAE_{command.upper()}_NUM_COMPONENTS", "50")
    grid = ["--grid", "prior=gaussian,flow"] if command == "sweep" else []
    assert "--num-components is 50: applies " in refused(command, *words, *grid, code=2)
