"""`--recipe FILE.py` in every command, and its refusals: one line each."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers import random_model

from jvae.cli.main import main
from jvae.data.dataset import make_dataset
from jvae.errors import JvaeError
from jvae.runs import api
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config
from jvae.runs.recipe_file import errors_of, load_recipe_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Explicitly requested dtype")  # TFP's
FILE = """
import distrax
import jax.numpy as jnp
import optax
from flax import linen as nn
from tensorflow_probability.substrates import jax as tfp

from jvae import MLP, VAE, Recipe, elbo, rescale


class LaplacePrior(nn.Module):
    latent_dim: int

    def __call__(self, encoder):
        zeros = jnp.zeros(self.latent_dim)
        return distrax.Independent(distrax.Laplace(zeros, zeros + 1), 1)


class GeluEncoder(nn.Module):
    latent_dim: int

    @nn.compact
    def __call__(self, x):
        h = nn.gelu(nn.Dense(32)(x.reshape(len(x), -1)))
        loc, free = nn.Dense(self.latent_dim)(h), nn.Dense(self.latent_dim)(h)
        return distrax.Independent(distrax.Normal(loc, nn.softplus(free) + 1e-6), 1)


class StudentTDecoder(nn.Module):
    shape: tuple

    @nn.compact
    def __call__(self, z):
        loc = MLP((32,), self.shape)(z)
        return tfp.distributions.Independent(tfp.distributions.StudentT(5.0, loc, 0.1), len(self.shape))


def recipe(config, data_shape, steps_per_epoch):
    model = VAE(LaplacePrior(config.latent_dim), StudentTDecoder(data_shape), GeluEncoder(config.latent_dim))
    return Recipe(model, rescale, elbo, optax.adam(config.learning_rate), unit="nats per image, Student-t density")
""".lstrip()
TRAIN = ["--dataset", "digits", "--latent-dim", "2", "--batch-size", "128", "--runs", "3", "--validation", "held-out"]


def jvae(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: object, code: int) -> str:
    """Run a command that is refused, and return the last line on stderr, which says why."""
    *told, line = jvae(*arguments, code=code).stderr.strip().splitlines()
    assert line.startswith("jvae: error: ")
    assert told in ([], ["training on cpu (cpu): 3 runs in one program, one after another", "epoch 1/10  compiling"])
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make a folder with the recipe file and a model of two epochs."""
    folder = tmp_path_factory.mktemp("recipe")
    assert len(FILE.splitlines()) <= 40
    (folder / "my_vae.py").write_text(FILE)
    jvae("train", *TRAIN, "--epochs", 2, "--recipe", folder / "my_vae.py", "--model", folder / "m.npz")
    return folder


@pytest.fixture
def own(folder) -> list[object]:
    """Return the options that name the recipe and the model."""
    return ["--recipe", folder / "my_vae.py", "--model", folder / "m.npz"]


@pytest.mark.slow
def test_a_resumed_training_comes_to_the_same_bits(folder, tmp_path):
    recipe = ["--recipe", folder / "my_vae.py", "--model", tmp_path / "r.npz"]
    jvae("train", *TRAIN, "--epochs", 1, *recipe)
    jvae("train", "--resume", "--epochs", 2, *recipe)
    make = load_recipe_file(folder / "my_vae.py").make
    whole, resumed = (load(path, make) for path in (folder / "m.npz", tmp_path / "r.npz"))
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)
    assert whole.recipe_file.text == FILE


@pytest.mark.slow
def test_it_is_evaluated_and_its_record_told(own, folder, tmp_path):
    result = jvae("evaluate", *own, "--iwae", 20, "--json", tmp_path / "e.json")
    assert "nats per image, Student-t density" in result.stdout
    assert "iwae-20" in result.stdout
    told = json.loads((tmp_path / "e.json").read_text())["recipe_file"]
    assert told == {"name": "my_vae.py", "sha256": load_recipe_file(folder / "my_vae.py").file.sha256}


@pytest.mark.slow
def test_it_is_drawn_from_another_folder(own, tmp_path, monkeypatch):
    """In a new process, which has not imported the recipe before."""
    monkeypatch.chdir(tmp_path)
    for command in (["sample"], *(["plot", name] for name in ("posterior", "prior", "reconstructions", "history"))):
        jvae(*command, *own)
    command = [sys.executable, "-m", "jvae", "plot", "manifold", *map(str, own)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    names = ("history", "manifold", "posterior", "prior", "reconstructions", "samples")
    assert sorted(os.listdir()) == [f"{name}.png" for name in names]


@pytest.mark.slow
def test_the_explorer_refuses_what_it_cannot_decode(own):
    assert "the page cannot decode with StudentTDecoder" in refused("explore", *own, code=1)


@pytest.mark.slow
def test_a_sweep_over_seeds_and_batch_size(folder, tmp_path):
    sweep = ["sweep", *TRAIN[:4], "--epochs", 1, "--grid", "batch-size=64,128", "--grid", "seed=0,1"]
    given = [*sweep, "--output", tmp_path / "sweep", "--recipe"]
    result = jvae(*given, folder / "my_vae.py")
    assert result.stdout.count("nats per image, Student-t density") == 1
    cells = json.loads((tmp_path / "sweep" / "results.json").read_text())["cells"]
    assert len(cells) == 4
    assert len({cell["elbo"]["mean"] for cell in cells}) == 4
    assert "epoch" not in jvae(*given, folder / "my_vae.py").stderr  # nothing is trained again
    (tmp_path / "other.py").write_text(FILE + "\n")
    assert "another recipe file, or none" in refused(*given, tmp_path / "other.py", code=1)
    for result in (tmp_path / "sweep").glob("batch*.json"):
        result.unlink()
    assert "is not of this sweep" in refused(*given, tmp_path / "other.py", code=1)
    assert "--prior is gaussian: my_vae.py does not read config.prior" in refused(
        *sweep, "--grid", "prior=gaussian,mog", "--recipe", folder / "my_vae.py", "--output", tmp_path / "n", code=2
    )


@pytest.mark.slow
def test_the_benchmark_measures_it(folder):
    sizes = ["--batch-sizes", 64, "--runs", 1, "--repeats", 3, "--dataset", "digits", "--recipe", folder / "my_vae.py"]
    assert "peak:" in jvae("benchmark", *sizes, "--latent-dim", 2).stdout
    assert "--precision" in refused("benchmark", *sizes, "--precision", "bfloat16", code=2)


@pytest.mark.slow
def test_from_python_the_same_function_trains_other_arrays(folder):
    """Arrays of shape [n, 6, 6, 1] and [n, 36]; the file's model is loaded with a recipe or with the function."""
    make = load_recipe_file(folder / "my_vae.py").make
    pixels = np.random.default_rng(0).integers(0, 256, (90, 36), np.uint8)
    for shape in ((6, 6, 1), (36,)):
        data = make_dataset(pixels[:60].reshape(-1, *shape), pixels[60:].reshape(-1, *shape))
        recipe = make(api.Config(latent_dim=2), shape, 2)
        model = api.train(recipe, data, epochs=2, batch_size=np.int64(30), seeds=np.arange(3), validation="test")
        assert len(api.evaluate(model, data, iwae=5)) == 3
        save(folder / "python.npz", model)
        again = load(str(folder / "python.npz"), recipe)
        resumed = api.train(recipe, data, epochs=3, batch_size=30, seeds=(0, 1, 2), validation="test", resume=again)
        assert len(resumed.history) == 3
    assert load(folder / "m.npz", make).num_runs == 3
    line = refused("evaluate", "--model", folder / "python.npz", code=2)
    assert "was trained with a custom recipe: that recipe must be given again, with --recipe FILE.py" in line
    if find_spec("torch"):
        line = refused("export-pytorch", folder / "python.pt", "--model", folder / "python.npz", code=1)
        assert line.endswith("was trained with a recipe: only models of options alone are exported")
    python = ["--model", folder / "python.npz", "--recipe", folder / "my_vae.py"]
    jvae("plot", "history", *python, "--latent-dim", 2, "--output", folder / "h.png")
    assert "was trained from Python" in refused("train", "--resume", *python, "--latent-dim", 2, code=1)


@pytest.mark.slow
def test_a_model_file_runs_nothing(own, folder, digits, tmp_path):
    """It needs its recipe file, and gets a warning if that has another text; a file without a recipe takes none."""
    assert "nats per image, Student-t density" in jvae("info", own[-1]).stdout
    assert "was trained with the recipe file my_vae.py" in refused("evaluate", *own[2:], code=2)
    assert "with --recipe FILE.py" in refused("train", "--resume", "--epochs", 3, *own[2:], code=2)
    other = tmp_path / "other.py"
    other.write_text(FILE + "\n# another text\n")
    told = jvae("plot", "history", "--recipe", other, *own[2:], "--output", tmp_path / "h.png").stderr
    assert told.startswith("warning: other.py is not the text that")
    line = refused("train", "--resume", "--epochs", 3, "--recipe", other, *own[2:], code=2)
    assert "other.py is not the text that" in line
    other.write_text(FILE.replace("32", "16"))
    line = jvae("evaluate", "--recipe", other, *own[2:], code=1).stderr
    assert "does not fit its recipe" in line
    plain = tmp_path / "plain.npz"
    save(plain, random_model(Config(dataset="digits", latent_dim=2, hidden=(8, 8), epochs=1), digits))
    assert "it takes no recipe" in refused("evaluate", *own[:2], "--model", plain, code=2)


@pytest.mark.slow
def test_options_that_the_file_does_not_read_are_refused(folder, tmp_path, monkeypatch):
    train = ["train", "--dataset", "digits", "--recipe", folder / "my_vae.py", "--model", tmp_path / "m.npz"]
    assert "--prior is mog: my_vae.py does not read config.prior" in refused(*train, "--prior", "mog", code=2)
    monkeypatch.setenv("JVAE_TRAIN_HIDDEN_DIM", "64")
    assert "--hidden is 64,64: my_vae.py does not read config.hidden" in refused(*train, code=2)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_data_are_read_as_their_options_say(folder, tmp_path):
    np.save(tmp_path / "own.npy", np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
    own = ["--dataset", f"npy:{tmp_path / 'own.npy'}", "--test-share", 0.2, "--recipe", folder / "my_vae.py"]
    jvae("train", *own, "--epochs", 1, "--latent-dim", 2, "--batch-size", 10, "--model", tmp_path / "m.npz")


def test_a_cell_whose_recipe_fails_fails_alone(tmp_path):
    path, folder = tmp_path / "picky.py", tmp_path / "sweep"
    path.write_text(
        "from jvae.runs.config import build_recipe\n"
        "def recipe(config, data_shape, steps_per_epoch):\n"
        "    if config.prior == 'mog': raise RuntimeError('no')\n"
        "    return build_recipe(config, data_shape, steps_per_epoch)\n"
    )
    words = ["--dataset", "digits", "--hidden", "4", "--latent-dim", 2, "--epochs", 1, "--batch-size", 500]
    done = jvae("sweep", "--grid", "prior=mog,gaussian", *words, "--recipe", path, "--output", folder, code=1)
    assert "prior=mog: failed: " in done.stderr
    assert "picky.py, line 3: RuntimeError: no" in done.stderr
    assert (folder / "prior=gaussian.npz").exists()
    refused("sweep", "--grid", "prior=mog", *words, "--recipe", path, "--output", tmp_path / "none", code=1)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), MemoryError("all"), FloatingPointError("nan")])
def test_what_no_file_decides_is_not_its_fault(error, tmp_path):
    with pytest.raises(type(error)), errors_of(tmp_path / "my_vae.py"):
        raise error
    with pytest.raises(JvaeError, match=r"my_vae.py: ValueError: wrong"), errors_of(tmp_path / "my_vae.py"):
        raise ValueError("wrong")


@pytest.mark.slow
def test_more_epochs_are_refused_where_the_file_counts_them(tmp_path):
    path, model = tmp_path / "schedule.py", tmp_path / "m.npz"
    lines = FILE.replace("config.learning_rate)", "optax.linear_schedule(1e-3, 0.0, config.epochs * steps_per_epoch))")
    path.write_text(lines)
    jvae("train", *TRAIN, "--epochs", 1, "--recipe", path, "--model", model)
    line = refused("train", "--resume", "--epochs", 2, "--recipe", path, "--model", model, code=2)
    assert "--epochs is 2, but schedule.py reads config.epochs, 1" in line


def test_a_file_that_is_not_python_by_its_name_is_not_executed(tmp_path):
    for name in ("notes.txt", "recipe", "recipe.pyc"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        for command in ("train", "evaluate"):
            line = refused(command, "--recipe", tmp_path / name, code=2)
            assert line.endswith(f"{name}: must be a Python file, with a name that ends in .py")
    assert not (tmp_path / "ran").exists()


DEFINE = "def recipe(config, data_shape, steps_per_epoch):\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import jvae\nx = 1 / 0\n", "bad.py, line 2: ZeroDivisionError: division by zero"),
        ("def recipe(:\n", "bad.py, line 1: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "bad.py, line 2: SystemExit: 3"),
        ("x = 1\n", "bad.py: defines no function recipe(config, data_shape, steps_per_epoch)"),
        (DEFINE + "return 3\n", "returned int: must be a jvae.Recipe"),
        (DEFINE + "return config.nothing\n", "bad.py, line 2: AttributeError: 'Config' object has no attribute"),
        ("def recipe(config):\n    return 3\n", "bad.py: defines recipe(config): must be recipe(config, data_shape"),
        ("import beside\n" + DEFINE + "return beside.fail()\n", "beside.py, line 2: ValueError: two"),
        (FILE.replace("x.reshape(len(x), -1)", "x.reshape(3, 5)"), "bad.py, line 23: TypeError: cannot reshape"),
        (FILE.replace("rescale, elbo", "rescale, lambda d: d"), "bad.py: "),
        ("\x00", "bad.py: "),
    ],
)
def test_an_error_in_the_file_is_one_line_with_its_number(text, said, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    (tmp_path / "beside.py").write_text("def fail():\n    raise ValueError('two\\nlines')\n")
    sys.modules.pop("beside", None)
    line = refused("train", *TRAIN, "--recipe", tmp_path / "bad.py", "--model", tmp_path / "m.npz", code=1)
    assert said in line
    assert not (tmp_path / "m.npz").exists()
