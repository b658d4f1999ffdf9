"""The compilation cache: a compiled program starts at once the next time, on this machine and for this user.

Its content is executed, so it must belong to this user alone: a folder with mode 0700, named after the version of
jaxlib and the processor, whose instructions the programs use.
"""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from jvae.data.cache import cache_root
from jvae.errors import DataError

LEAST_SECONDS = 0.1  # a program that compiles faster is not worth a file


def use_compile_cache() -> Path | None:
    """Make JAX keep compiled programs, unless the user has configured JAX's cache; return the folder, if any.

    Call it before any compilation. A folder that cannot be created, or that others can write to, is not used.
    """
    enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or not enabled:
        return None
    try:
        folder = cache_root() / "compiled" / f"jaxlib-{version('jaxlib')}-{processor()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
            return None
    except (OSError, DataError):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def processor() -> str:
    """Return a short name for this machine's processor and its instructions."""
    about = f"{platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += "".join(
            next((line for line in lines if line.startswith(name)), "") for name in ("model name", "flags")
        )
    except OSError:  # not Linux
        pass
    return hashlib.sha256(about.encode()).hexdigest()[:12]
