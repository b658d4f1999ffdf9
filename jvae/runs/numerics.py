"""Numerics: the JAX settings that results depend on, kept in a model file and compared on resuming."""

import os

import jax

DECIDING = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
)
"""Settings that change the draws or the arithmetic of a training."""
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
"""Settings that change only the rounding of a training, as another machine does; so do the `XLA_FLAGS`."""

Settings = dict[str, str]


def current_settings() -> Settings:
    """Return this process's settings that results depend on, as far as this version of JAX has them."""
    known = jax.config.values
    values = {name: getattr(jax.config, name, known[name]) for name in (*DECIDING, *ROUNDING) if name in known}
    return {
        **{name: str(value) for name, value in values.items()},
        "XLA_FLAGS": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
    }


def other_training(settings: Settings) -> str:
    """Return in words the settings of a training that differ here and change its draws or arithmetic; "" for none.

    Settings that only one of the two has are not compared.
    """
    return difference({name: value for name, value in settings.items() if name in DECIDING})


def other_rounding(settings: Settings) -> str:
    """Return in words the settings of a training that differ here and change its rounding; "" for none."""
    return difference({name: value for name, value in settings.items() if name not in DECIDING})


def difference(settings: Settings) -> str:
    """Return in words the settings whose values differ here."""
    here = current_settings()
    names = [name for name in settings if settings[name] != here.get(name, settings[name])]
    return ", ".join(f"{name.upper()} was {settings[name] or 'empty'} and is {here[name] or 'empty'}" for name in names)
