"""JAX's and matplotlib's environment: honoured with the same results, or refused in one line."""

import os
import stat
import sys
from pathlib import Path

import jax
import matplotlib
import pytest
from helpers import jvae, random_model, refused
from matplotlib.figure import Figure

from jvae.cli.compile_cache import use_compile_cache
from jvae.cli.drawing import drawing
from jvae.cli.environment import REFUSED, check_xla_flags
from jvae.data.cache import cache_root
from jvae.errors import DataError, DeviceError, JvaeError
from jvae.files import write_json
from jvae.runs.checkpoint import load, save
from jvae.runs.config import Config
from jvae.runs.mesh import select_device
from jvae.runs.numerics import DECIDING, ROUNDING, current_settings

STORED = Path(__file__).parent.parent / "stored" / "model_0_1_0.npz"


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits) -> Path:
    path = tmp_path_factory.mktemp("environment") / "model.npz"
    found = random_model(Config(dataset="digits", latent_dim=2, hidden=(4,), epochs=2), digits)
    record = {"epoch": 1, "bound": -1.0, "reconstruction": -1.0, "kl": 0.0, "seconds": 1.0}
    counters = found.state._replace(epoch=found.state.epoch + 1, done=found.state.done + 1)
    save(path, found._replace(history=[record], settings=current_settings(), state=counters))
    return path


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize\nbackend"), ValueError("x")])
def test_a_backend_that_does_not_start_is_one_line(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(jax, "local_devices", fail)
    with pytest.raises(DeviceError) as caught:
        select_device("auto")
    assert "JAX_PLATFORMS is cpu" in str(caught.value)
    assert "\n" not in str(caught.value)
    for words in (["info"], ["train"], ["evaluate", "--model", STORED]):
        assert "JAX_PLATFORMS is cpu" in refused(*words, code=1)


def test_settings_that_cannot_be_honoured_are_refused():
    with jax.numpy_rank_promotion("raise"):
        assert "JAX_NUMPY_RANK_PROMOTION is raise" in refused("info", code=1)
    with jax.enable_x64(True):
        assert "JAX_ENABLE_X64 is True" in refused("evaluate", "--model", STORED, code=1)
    gone = {"jax_memory_fitting_effort", "jax_exec_time_optimization_effort"}  # jax 0.12 has dropped it
    assert {*REFUSED, *DECIDING, *ROUNDING} - jax.config.values.keys() <= gone


@pytest.mark.parametrize("flags", ["--xla_no_such_flag=1", "no/such/file"])
def test_flags_that_xla_would_abort_for_are_one_line(monkeypatch, flags):
    monkeypatch.delitem(sys.modules, "jaxlib")
    monkeypatch.setenv("XLA_FLAGS", flags)
    with pytest.raises(JvaeError, match=f"XLA_FLAGS is '{flags}': .*{flags.strip('-=1')}"):
        check_xla_flags()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    check_xla_flags()


@pytest.mark.slow
def test_a_training_goes_on_with_the_settings_that_decide_it(model):
    assert load(model).settings == current_settings()
    assert load(model).state is not None
    with jax.threefry_partitionable(False):
        assert load(model).state is None
        assert "JAX_THREEFRY_PARTITIONABLE was True and is False" in refused(
            "train", "--resume", "--model", model, code=1
        )
        assert load(model, params_only=True).params is not None


@pytest.mark.slow
def test_another_rounding_is_warned_of(model, monkeypatch):
    monkeypatch.setattr("jvae.cli.train.is_finished", lambda model: True)
    assert "warning" not in jvae("train", "--resume", "--model", model).stderr
    before = os.environ.get("XLA_FLAGS") or "empty"
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    told = jvae("train", "--resume", "--model", model).stderr
    assert "warning: " in told
    assert f"XLA_FLAGS was {before} and is --xla_cpu_enable_fast_math=true" in told


@pytest.mark.slow
def test_a_file_without_settings_goes_on(model, tmp_path):
    save(tmp_path / "m.npz", load(model)._replace(settings={}))
    assert load(tmp_path / "m.npz").state is not None


UNUSUAL = {"text.usetex": True, "figure.dpi": 30, "savefig.dpi": 31, "font.family": "Nope", "axes.facecolor": "red"}


@pytest.mark.slow
def test_pictures_are_the_same_whatever_the_matplotlibrc(tmp_path):
    jvae("plot", "history", "--model", STORED, "--output", tmp_path / "usual.png")
    with matplotlib.rc_context(UNUSUAL):
        jvae("plot", "history", "--model", STORED, "--output", tmp_path / "unusual.png")
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "usual.png").read_bytes() == (tmp_path / "unusual.png").read_bytes()


DRAWN = [["plot", "history"], ["sample"], ["explore"], ["datasets", "check", "digits", "--sheet"]]


@pytest.mark.slow
@pytest.mark.parametrize("words", DRAWN, ids=" ".join)
def test_every_picture_is_drawn_so(words, tmp_path, monkeypatch, model):
    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: seen.append(matplotlib.rcParams["text.usetex"]))
    monkeypatch.setattr(
        "jvae.view.explorer.explorer_page", lambda *_: seen.append(matplotlib.rcParams["text.usetex"]) or ""
    )
    output = {"explore": "o.html"}.get(words[0], "o.png")
    option = {"sample": "--samples", "datasets": ""}.get(words[0], "--output")
    more = [] if words[0] == "datasets" else ["--model", model]
    with matplotlib.rc_context(UNUSUAL):
        jvae(*words, *[option] * bool(option), tmp_path / output, *more)
    assert seen == [False]


def test_a_matplotlib_that_does_not_start_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(JvaeError, match="matplotlib cannot be imported"), drawing():
        pass


def test_without_a_home_there_is_no_cache(monkeypatch):
    for name in ("JVAE_CACHE_DIR", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(DataError, match="JVAE_CACHE_DIR"):
        cache_root()
    assert use_compile_cache() is None
    assert "JVAE_CACHE_DIR" in jvae("info").stdout
    assert "JVAE_CACHE_DIR" in refused("train", "--dataset", "mnist", code=1)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_gives(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "new.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o666 & ~mask
