"""Whose compilation cache is used, and where."""

import os
import stat
import subprocess
import sys

import pytest

SCRIPT = "from jvae.cli.compile_cache import use_compile_cache; print(use_compile_cache())"
JVAE = [sys.executable, "-c", "from jvae.cli.main import main; main()"]


def folder_used(root, **variables) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"JVAE_CACHE_DIR": str(root), **variables}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    ).stdout.splitlines()[0]


@pytest.mark.slow
def test_it_is_this_users_alone(tmp_path):
    used = folder_used(tmp_path)
    assert used.startswith(str(tmp_path / "compiled" / "jaxlib-"))
    assert stat.S_IMODE(os.stat(used).st_mode) == 0o700
    os.chmod(used, 0o770)
    assert folder_used(tmp_path) == "None"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"JAX_COMPILATION_CACHE_DIR": "/elsewhere"}, {"JAX_ENABLE_COMPILATION_CACHE": "false"}]
)
def test_what_the_user_has_settled_stands(variables, tmp_path):
    assert folder_used(tmp_path, **variables) == "None"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert folder_used(tmp_path / "file") == "None"


@pytest.mark.slow
def test_programs_are_kept_unless_told_otherwise(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"JVAE_CACHE_DIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    command = [*JVAE, "train", "--dataset", "digits", "--epochs", "1", "--batch-size", "512", "--hidden", "8"]
    command += ["--overwrite", "--model", str(tmp_path / "m.npz")]
    for flag, kept in (("--no-compile-cache", False), ("--compile-cache", True)):
        subprocess.run([*command, flag], env=environment, check=True, capture_output=True)
        assert any((tmp_path / "compiled").glob("*/*")) == kept
