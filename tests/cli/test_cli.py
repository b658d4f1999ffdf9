"""Every command through click's runner, and as real processes where the process itself matters."""

import json
import os
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result
from helpers import rest_slow
from PIL import Image

from jvae.cli.main import main
from jvae.runs.checkpoint import load
from jvae.runs.config import config_fields

QUICK = ["--dataset", "digits", "--latent-dim", "2", "--epochs", "2", "--batch-size", "128", "--hidden", "16,16"]


def jvae(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: str, code: int) -> str:
    """Run a command that is refused, and return its one line on stderr."""
    result = jvae(*arguments, code=code)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("jvae: error: ")
    assert result.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.pt"
    result = jvae("train", *QUICK, "--model", path, "--json", path.with_name("result.json"), "--device", "cpu")
    assert "epoch 2/2" in result.stderr
    assert "elbo" in result.stdout
    return path


def test_train_writes_the_model_and_its_result(model):
    result = json.loads(model.with_name("result.json").read_text())
    assert result["num_images"] == 256
    assert result["unit"].startswith("nats per image, log-probability")
    assert len(result["history"]) == 2
    parts = result["reconstruction"]["value"] - result["kl"]["value"]
    assert result["elbo"]["value"] == pytest.approx(parts, rel=1e-5)
    assert -64 < result["elbo"]["value"] < 0
    assert result["config"]["latent_dim"] == 2


def test_evaluate_repeats_trainings_result(model, tmp_path):
    result = jvae("evaluate", "--model", model, "--json", tmp_path / "e.json")
    trained = json.loads(model.with_name("result.json").read_text())
    assert json.loads((tmp_path / "e.json").read_text())["elbo"] == trained["elbo"]
    assert "256 images" in result.stdout


def test_one_draw_has_no_monte_carlo_error(model):
    result = jvae("evaluate", "--model", model, "--num-samples", "1", "--json", "-")  # it has stdout to itself
    assert json.loads(result.stdout)["elbo"]["monte_carlo_error"] is None
    assert "256 images" in result.stderr
    assert "Monte Carlo" not in result.stderr


WITH_ANY_MODEL = ["posterior", "reconstructions", "manifold", "prior", "interpolation", "traversals", "history"]


@pytest.mark.parametrize("picture", rest_slow(WITH_ANY_MODEL))
@pytest.mark.parametrize("suffix", rest_slow([".png", ".pdf", ".svg"]))
def test_plots_are_written(model, tmp_path, picture, suffix):
    path = tmp_path / f"picture{suffix}"
    jvae("plot", picture, "--model", model, "--output", path)
    assert path.stat().st_size > 2000
    if suffix == ".png":
        with Image.open(path) as image:
            assert min(image.size) > 300
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.slow
def test_samples_depend_on_the_seed_and_mean_differs(model, tmp_path):
    for name, extra in {"a": [], "b": [], "c": ["--seed", "1"], "d": ["--mean"]}.items():
        jvae("sample", "--model", model, "--samples", tmp_path / f"{name}.png", "--num-images", "5", *extra)
    a, b, c, d = ((tmp_path / f"{name}.png").read_bytes() for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


@pytest.mark.slow
def test_compare_draws_samples_beside_means(model, tmp_path):
    jvae("sample", "--model", model, "--samples", tmp_path / "s.png", "--num-images", "4", "--compare")
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 1.5 * image.height
    line = refused("sample", "--model", model, "--mean", "--compare", code=2)
    assert "--mean and --compare" in line


def test_pictures_that_the_model_lacks_are_refused(model):
    assert "pseudo-inputs; train with --prior vamp" in refused("plot", "pseudo-inputs", "--model", model, code=1)
    assert "--variance pixel" in refused("plot", "scale", "--model", model, code=1)


@pytest.mark.slow
def test_the_pictures_and_diagnostics_of_richer_models(tmp_path):
    path = tmp_path / "model.npz"
    richer = ["--prior", "vamp", "--num-components", "5", "--decoder", "gaussian", "--variance", "pixel"]
    told = jvae("train", *QUICK, *richer, "--pseudo-inputs", "data", "--model", path).stdout
    assert "log-density of dequantised pixels in [0, 1]" in told
    assert "bits per pixel" in told
    for picture in ("pseudo-inputs", "scale", "prior"):
        jvae("plot", picture, "--model", path, "--output", tmp_path / f"{picture}.png")
        assert (tmp_path / f"{picture}.png").stat().st_size > 2000
    told = jvae("evaluate", "--model", path, "--json", tmp_path / "e.json").stdout
    assert "of 5" in told
    diagnostics = json.loads((tmp_path / "e.json").read_text())["diagnostics"]
    (level,) = diagnostics["levels"]
    assert 1 <= level["effective_components"] <= 5
    assert 0 <= level["active_units"] <= level["num_units"] == 2


def test_the_exercises_habit_of_repeating_flags(model, tmp_path):
    output = tmp_path / "s.png"
    jvae("sample", "--model", model, "--samples", output, "--latent-dim", "2", "--batch-size", "128", "--device", "cpu")
    line = refused("sample", "--model", model, "--samples", output, "--latent-dim", "3", code=2)
    assert "--latent-dim is 3" in line
    assert "--latent-dim 2" in line


def test_training_follows_its_environment_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("JVAE_TRAIN_EPOCHS", "0")
    assert "--epochs is 0" in refused("train", *QUICK[:4], code=2)


@pytest.mark.slow
def test_the_layers_follow_their_options(monkeypatch, tmp_path):
    """Given by option, by environment variable or by 0.1.0's option; if given twice in one place, they must agree."""
    path, train = tmp_path / "m.npz", ["train", *QUICK[:4], "--epochs", "1", "--batch-size", "128"]
    jvae(*train, "--hidden", "12,12", "--hidden-dim", "12", "--activation", "tanh", "--model", path)
    assert (load(path).config.hidden, load(path).config.activation) == ((12, 12), "tanh")
    jvae("evaluate", "--model", path, "--hidden-dim", "12")
    line = refused("evaluate", "--model", path, "--hidden", "12x10", code=2)
    assert f"--hidden is 12,10, but {path} was trained with --hidden 12,12" in line
    assert "--hidden is 8,8, but" in refused(*train, "--hidden-dim", "8", "--model", path, "--resume", code=2)
    monkeypatch.setenv("JVAE_TRAIN_HIDDEN", "6")
    assert "--hidden is 6, but" in refused(*train, "--model", path, "--resume", code=2)
    jvae(*train, "--hidden-dim", "12", "--model", path, "--resume")  # the command line comes before a variable
    monkeypatch.delenv("JVAE_TRAIN_HIDDEN")
    monkeypatch.setenv("JVAE_TRAIN_HIDDEN_DIM", "7")
    assert "--hidden is 7,7, but" in refused(*train, "--model", path, "--resume", code=2)


@pytest.mark.slow
def test_the_channels_are_as_many_as_the_images_can_be_halved(tmp_path):
    train = [
        "train",
        *QUICK[:4],
        "--epochs",
        "1",
        "--batch-size",
        "128",
        "--network",
        "cnn",
        "--model",
        tmp_path / "m.npz",
    ]
    line = refused(*train, "--channels", "2,2,2,2", code=2)
    assert line.endswith("--channels is 2,2,2,2: images of 8x8 can be halved 3 times at most")
    assert os.listdir(tmp_path) == []
    jvae(*train, "--channels", "2,3,4", "--activation", "gelu")
    assert load(tmp_path / "m.npz").config.channels == (2, 3, 4)


def test_datasets_and_info(monkeypatch, tmp_path):
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path))
    listed = jvae("datasets").stdout
    for name in ("mnist", "fashion_mnist", "kmnist", "digits", "tfds:NAME"):
        assert name in listed
    assert "1,541 + 256 images" in jvae("datasets", "fetch", "digits").stdout
    assert "must be one of" in refused("datasets", "fetch", "cifar", code=2)
    told = jvae("info").stdout
    assert "jax " in told
    assert "device    cpu" in told


BAD = [
    (["train", "--latent-dim", "0"], "--latent-dim is 0: must be at least 1"),
    (["train", "--latent-dim", "two"], "'two' is not a valid integer"),
    (["train", "--learning-rate", "nan"], "--learning-rate is nan: must be a finite number"),
    (["train", "--learning-rate", "inf"], "--learning-rate is inf: must be a finite number"),
    (["train", "--num-components", "50"], "--num-components is 50: applies only with"),
    (["train", "--learning-rate", "-1"], "--learning-rate is -1.0"),
    (["train", "--prior", "cauchy"], "'cauchy'"),
    (["train", "--num-components", "3"], "--num-components is 3: applies only with"),
    (["train", "--variance", "pixel"], "--variance is pixel: applies only with"),
    (["train", "--prior", "vamp", "--coupling", "spline"], "--coupling is spline"),
    (["train", "--no-dequantise"], "--dequantise is False: applies only with"),
    (["train", "--decoder", "gaussian", "--variance", "pixel", "--output-scale", "1"], "--output-scale is 1.0"),
    (["train", "--dataset", "cifar"], "--dataset is 'cifar': must be one of"),
    (["train", "--no-such-option"], "--no-such-option"),
    (["train", "--num-samples", "0"], "--num-samples"),
    (["train", "--device", "abacus"], "'abacus'"),
    (["train", "--data-dir", "/no/such/place"], "/no/such/place"),
    (["train", "--model", "/no/such/place/model.npz"], "directory /no/such/place does not exist"),
    (["train", "--seed", "-1"], "--seed is -1"),
    (["train", "--hidden", "16,two"], "--hidden is '16,two': must be whole numbers, such as 512,512"),
    (["train", "--hidden", "16,0"], "--hidden is 0: must be at least 1"),
    (["train", "--hidden", ""], "--hidden is '': must be whole numbers"),
    (["train", "--mesh", "runs=2,runs=4"], "runs=2,runs=4: must be runs=R,data=D"),
    (["train", "--hidden-dim", "0"], "--hidden is 0: must be at least 1"),
    (["train", "--hidden", "16,16,16", "--hidden-dim", "16"], "--hidden-dim is 16, but --hidden is 16,16,16"),
    (["train", "--network", "cnn", "--hidden", "8,8"], "--hidden is 8,8: applies only with --network mlp"),
    (["train", "--channels", "8"], "--channels is 8: applies only with --network cnn"),
    (["train", "--activation", "sine"], "'sine'"),
    (["sample", "--model", "/no/such/model.npz"], "/no/such/model.npz"),
    (["plot", "nothing"], "nothing"),
    (["nothing"], "nothing"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_command_line_gets_one_line_and_exit_code_2(arguments, said):
    assert said in refused(*arguments, code=2)


def test_wrong_files_get_one_line(model, tmp_path):
    picture = tmp_path / "picture.doc"
    assert ".png, .pdf, .svg" in refused("plot", "history", "--model", model, "--output", picture, code=2)
    (tmp_path / "broken.npz").write_bytes(model.read_bytes()[:-9])
    assert "sha256" in refused("evaluate", "--model", tmp_path / "broken.npz", code=1)
    (tmp_path / "text").write_text("hello")
    assert "is not a jvae model file" in refused("sample", "--model", tmp_path / "text", code=1)


def test_a_missing_device_gets_one_line():
    assert "jax finds only cpu" in refused("train", "--dataset", "digits", "--device", "tpu", code=1)


def test_a_batch_larger_than_the_data_gets_one_line(tmp_path):
    line = refused("train", *QUICK[:2], "--batch-size", "2000", "--model", tmp_path / "m.npz", code=2)
    assert "--batch-size is 2000: must be at most the number of training images, 1541" in line
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_diverged_run_keeps_the_last_good_file(tmp_path, model):
    path = tmp_path / "model.npz"
    path.write_bytes(model.read_bytes())
    result = jvae("train", *QUICK, "--learning-rate", "1e30", "--model", path, "--overwrite", code=1)
    assert "not finite at epoch 1, step" in result.stderr
    assert path.read_bytes() == model.read_bytes()


def test_every_option_of_train_is_a_field_of_config_or_of_the_environment():
    options = {parameter.name for parameter in main.commands["train"].params}
    world = {
        "data_dir",
        "device",
        "recipe_path",
        "model_path",
        "json_path",
        "log_path",
        "resume",
        "overwrite",
        "stream",
        "config",
        "hidden_dim",
        "snapshots",
    }
    world |= {"compile_cache", "mesh", "distributed", "coordinator", "num_processes", "process_id"}
    assert options == {field.name for field in config_fields()} | world


def run_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "import sys; from jvae.cli.main import main; main(prog_name='jvae')", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)


OVERLAP = ["evaluate", "--model", __file__, "--json", __file__]
HEAVY = ("jax", "matplotlib", "sklearn", "tensorflow_datasets", "numpy", "flax")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--latent-dim", "0"], OVERLAP])
def test_help_and_refusals_import_nothing_heavy(arguments):
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]))\n"
        "from jvae.cli.main import main\n"
        f"main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_help_comes_at_once():
    """Measured in CPU seconds, since other processes may be running: 0.12 on an idle machine."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "Train, compare" in run_process("--help").stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.slow
def test_a_real_process_trains_and_a_terminal_is_not_needed(tmp_path):
    done = run_process("train", *QUICK, "--model", str(tmp_path / "model.npz"))
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stderr
    assert "Traceback" not in done.stderr
    assert run_process("evaluate", "--model", str(tmp_path / "model.npz")).returncode == 0
