"""Devices: which backend a run uses."""

import jax

from jvae.errors import DeviceError


def select_device(name: str) -> jax.Device:
    """Make a backend - auto, cpu, gpu or tpu - the one that computations run on, and return its first device.

    To be called before anything is computed: `cpu` keeps jax from starting any other backend.

    Raises:
        DeviceError: jax finds no such device.
    """
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        device = jax.devices(None if name == "auto" else name)[0]
    except RuntimeError as error:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
        raise DeviceError(f"device {name} is not there: jax finds only {there} (see `jvae info`)") from error
    jax.config.update("jax_default_device", device)
    return device
