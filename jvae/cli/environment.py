"""JAX's environment variables: honoured with the same results, or refused in one line before JAX does any work."""

import os
import subprocess
import sys
from typing import Any

from jvae.errors import JvaeError, first_line

REFUSED: dict[str, tuple[Any, ...]] = {
    "jax_enable_x64": (True,),
    "jax_numpy_dtype_promotion": ("strict",),
    "jax_numpy_rank_promotion": ("raise",),
    "jax_transfer_guard": ("disallow", "disallow_explicit"),
    "jax_debug_key_reuse": (True,),
    "jax_legacy_prng_key": ("error",),
    "jax_no_execution": (True,),
    "jax_no_tracing": (True,),
}
"""JAX settings that jvae, or a library it uses, does not support: it computes in float32 and moves arrays."""
PARSE_XLA_FLAGS = "from jaxlib import _jax; _jax.CompileOptions()"


def import_jax() -> None:
    """Import JAX, unless its environment variables keep it from starting or are unsupported.

    Raises:
        JvaeError: a variable is refused; the message names it and its value.
    """
    if sys.flags.optimize > 1:
        raise JvaeError(f"PYTHONOPTIMIZE is {sys.flags.optimize}: JAX's libraries need their docstrings; at most 1")
    check_xla_flags()
    try:
        import jax
    except ValueError as error:
        raise JvaeError(f"JAX cannot start: {first_line(error)}; it is a variable JAX_...") from error
    for name, values in REFUSED.items():
        value = getattr(jax.config, name, None)
        if value in values:
            raise JvaeError(f"{name.upper()} is {value}: jvae does not support it; leave it unset")


def check_xla_flags() -> None:
    """Refuse XLA_FLAGS that would abort the process, after trying them in another process.

    Raises:
        JvaeError: XLA refuses them; the message is XLA's.
    """
    flags = os.environ.get("XLA_FLAGS")
    if not flags or "jaxlib" in sys.modules:
        return
    done = subprocess.run([sys.executable, "-c", PARSE_XLA_FLAGS], stdin=subprocess.DEVNULL, capture_output=True)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0 and "Traceback" not in said:  # XLA has aborted the process, not an import
        first = next(iter(said.splitlines()), "")
        raise JvaeError(f"XLA_FLAGS is {flags!r}: {first.partition('] ')[2] or first}")
