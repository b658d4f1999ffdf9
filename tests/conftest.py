import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# scikit-learn's and NumPy's threads wait for each other where two workers share two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# nearly all the time goes into compiling hundreds of small programs; the fixture `optimised` compiles them as users do
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# one LLVM module compiles in a quarter less time than 32; with few optimisations XLA's older fusion emitter, where
# jaxlib still has it, takes half the time of the newer one: with all of them it is the other way round
EMITTERS = "xla_cpu_use_fusion_emitters"
OLDER = version("jaxlib").startswith(("0.9.", "0.10."))
QUICK = "--xla_cpu_parallel_codegen_split_count=1" + (f" --{EMITTERS}=false" if OLDER else "")
# a worker of pytest-xdist inherits it from the process that started it
if os.environ.setdefault("XLA_FLAGS", QUICK) != QUICK:
    OLDER = False
from jaxtyping import install_import_hook

# checked modules and rewritten tests take seconds to compile, in every worker: they are kept for the next run
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# annotated shapes and types of the package are checked while the tests run, except Config's, which checks itself
ROOT = Path(__file__).parent.parent
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "jvae").rglob("*.py"))]
install_import_hook(
    [name for name in MODULES if not name.endswith(("__init__", "__main__", ".runs.config"))],
    "typechecking.typechecked",
)

import jax
import pytest
from jax._src import compiler

from jvae.cli.compile_cache import processor
from jvae.cli.interruption import SIGNALS
from jvae.data.dataset import Dataset
from jvae.data.datasets import load_dataset
from jvae.runs.config import Config

MOST_BYTES = 2**30


def programs_folder() -> Path:
    """Return a folder for compiled programs: kept for the next run, until it is too large or `pytest --cache-clear`."""
    folder = ROOT / ".pytest_cache" / "d" / "programs" / processor()
    if sum(path.stat().st_size for path in folder.glob("*")) > MOST_BYTES:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a checkout that cannot be written to
        folder = Path(tempfile.mkdtemp(prefix="jvae-tests-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # tests share compiled programs, across processes
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs_folder())
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

# what is imported lives as long as the process: the collector need not look at it after every 700 new objects
gc.freeze()
gc.set_threshold(50_000, 20, 20)

for number in SIGNALS:  # a shell's background jobs ignore SIGINT, and nohup ignores SIGHUP
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole files, so that fixtures are made once, and let idle workers steal the rest."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="module", autouse=True)
def no_programs_of_other_files() -> Iterator[None]:
    """Drop a file's compiled programs at its end: thousands of them exceed a process's limit of memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def optimised() -> Iterator[None]:
    """Compile a test's programs with all of XLA's optimisations, to compare bits of different programs."""
    quick = compiler.get_compile_options

    def as_for_users(*sizes, env_options_overrides=None, **more):
        return quick(*sizes, env_options_overrides={EMITTERS: "True", **(env_options_overrides or {})}, **more)

    with pytest.MonkeyPatch.context() as patch:
        if OLDER:
            patch.setattr(compiler, "get_compile_options", as_for_users)
        jax.config.update("jax_disable_most_optimizations", False)
        yield
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate a projected density from few draws, for tests that it is drawn, not how well."""
    monkeypatch.setattr("jvae.latents.KDE_DRAWS", 200)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def tiny(digits: Dataset) -> Dataset:
    """Return a hundred digits to train on and thirty to test on."""
    return digits._replace(
        train_images=digits.train_images[:100],
        train_labels=digits.train_labels[:100],
        test_images=digits.test_images[:30],
        test_labels=digits.test_labels[:30],
    )


@pytest.fixture
def small() -> Config:
    """Return a configuration that trains in a moment."""
    return Config(dataset="digits", latent_dim=3, epochs=2, batch_size=32, hidden=(16, 16))


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
