"""Numerics: JAX's settings that decide what a training comes to, kept in its file and compared when it goes on."""

import os

import jax

DECIDING = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
)
"""With another value it is another training: other draws, or another arithmetic."""
ROUNDING = (
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_level",
    "jax_memory_fitting_effort",
    "jax_softmax_custom_jvp",
    "jax_use_direct_linearize",
    "jax_allow_f16_reductions",
)
"""With another value it is the same training but for rounding, as on another machine; so it is with `XLA_FLAGS`."""

Settings = dict[str, str]


def current_settings() -> Settings:
    """Return the settings of this process that decide what a training comes to, as far as this JAX has them."""
    known = jax.config.values
    values = {name: getattr(jax.config, name, known[name]) for name in (*DECIDING, *ROUNDING) if name in known}
    return {
        **{name: str(value) for name, value in values.items()},
        "XLA_FLAGS": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
    }


def other_training(settings: Settings) -> str:
    """Return which settings of a training make it another than it would be in this process; "" where none does.

    What one of the two does not know is not compared.
    """
    return difference({name: value for name, value in settings.items() if name in DECIDING})


def other_rounding(settings: Settings) -> str:
    """Return which settings of a training let it be rounded otherwise than in this process; "" where none does."""
    return difference({name: value for name, value in settings.items() if name not in DECIDING})


def difference(settings: Settings) -> str:
    """Return in words the settings whose value here is another."""
    here = current_settings()
    names = [name for name in settings if settings[name] != here.get(name, settings[name])]
    return ", ".join(f"{name.upper()} was {settings[name] or 'empty'} and is {here[name] or 'empty'}" for name in names)
