"""Devices: the backend of a run, the mesh that spreads runs and batches over its devices, and many hosts.

A mesh has two axes. Runs are split over `runs`: each has its own parameters and needs no communication. The images of
every batch are split over `data`, where the parameters are replicated and the gradients averaged.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, UInt8

from jvae.errors import DeviceError, first_line

RUNS, DATA = "runs", "data"
NO_BACKEND = (RuntimeError, AssertionError, ValueError)
"""What JAX raises if a backend does not start; AssertionError for CUDA without its plugin."""


class Hosts(NamedTuple):
    """The processes that train one model together; None stands for the value of the cluster's environment."""

    coordinator: str | None = None
    """The address HOST:PORT of process 0."""
    num_processes: int | None = None
    """The number of processes."""
    process_id: int | None = None
    """The number of this one, from 0."""


class MeshShape(NamedTuple):
    """The number of devices along each axis of a mesh."""

    runs: int
    """The devices that the runs are split over."""
    data: int
    """The devices that every batch is split over."""

    def __str__(self) -> str:
        return f"runs={self.runs},data={self.data}"


def select_device(name: str, hosts: Hosts | None = None) -> jax.Device:
    """Select the backend for all computations (auto, cpu, gpu or tpu), and return its first local device.

    Call it before any computation: `cpu` keeps JAX from starting another backend, and hosts must connect before a
    backend starts.

    Raises:
        DeviceError: JAX finds no such device, or the hosts do not connect.
    """
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if hosts is not None:
        join_hosts(hosts)
    try:
        device = jax.local_devices(backend=None if name == "auto" else name)[0]
    except NO_BACKEND as error:
        raise DeviceError(describe_missing(name, error)) from error
    jax.config.update("jax_default_device", device)
    return device


def describe_missing(name: str, error: Exception) -> str:
    """Return in one line why a device is not available: JAX finds only others, or does not start."""
    try:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        return f"device {name} is not available: jax finds only {there} (see `jvae info`)"
    except NO_BACKEND:
        why = f": {first_line(error)}" if str(error) else ""
        return f"JAX_PLATFORMS is {jax.config.values['jax_platforms'] or 'not set'}: jax finds no such device{why}"


def join_hosts(hosts: Hosts) -> None:
    """Connect to the other processes, so that each sees the devices of all.

    Raises:
        DeviceError: the cluster is not recognised, or the other processes do not connect.
    """
    try:
        jax.distributed.initialize(*hosts)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceError(f"the processes do not connect: {reason} (outside SLURM name all of --coordinator, "
                          "--num-processes and --process-id)") from error  # fmt: skip


def is_first_process() -> bool:
    """Return True if this is the process that writes files and messages."""
    return jax.process_index() == 0


def agree(value: int) -> int:
    """Return the largest value of any process; all processes must call it."""
    return int(np.max(process_allgather(np.asarray(value))))


def choose_mesh(asked: MeshShape | None, num_runs: int, batch_size: int, devices: Sequence[jax.Device]) -> Mesh | None:
    """Return the requested mesh over the first devices; by default one that splits the runs, or None if it cannot.

    Batches, whose gradients need communication, are split by default only if several hosts must take part.

    Raises:
        ValueError: there are too few devices, or the runs or the batches cannot be split evenly.
    """
    if asked is None:
        runs = math.gcd(num_runs, len(devices))
        asked = MeshShape(runs, 1 if jax.process_count() == 1 else len(devices) // runs)
        if asked == (1, 1):
            return None
    if math.prod(asked) > len(devices):
        raise ValueError(f"mesh is {asked}: takes {math.prod(asked)} devices, but jax finds {len(devices)}")
    if jax.process_count() > 1 and math.prod(asked) != len(devices):
        raise ValueError(f"mesh is {asked}: several hosts must use all of their {len(devices)} devices")
    grid = np.array(devices[: math.prod(asked)]).reshape(asked)
    mesh = Mesh(grid, (RUNS, DATA), axis_types=(AxisType.Auto,) * 2)
    check_mesh(mesh, num_runs, batch_size)
    return mesh


def check_mesh(mesh: Mesh | None, num_runs: int, batch_size: int) -> None:
    """Raise a ValueError unless runs and batches can be split evenly over a mesh with these two axes."""
    if mesh is None:
        return
    if mesh.axis_names != (RUNS, DATA) or set(mesh.axis_types) != {AxisType.Auto}:
        made = "made by jvae.runs.mesh.choose_mesh" if mesh.axis_names == (RUNS, DATA) else f"{RUNS}, {DATA}"
        raise ValueError(f"mesh has the axes {', '.join(map(str, mesh.axis_names))}: must be {made}")
    asked = MeshShape(*mesh.devices.shape)
    for what, count, axis, parts in ("runs", num_runs, RUNS, asked.runs), ("batch size", batch_size, DATA, asked.data):
        if count % parts:
            raise ValueError(f"mesh is {asked}: {what}, {count}, must be a multiple of {axis}={parts}")


def place(tree: PyTree, mesh: Mesh | None, *axes: str | None) -> PyTree[Array]:
    """Put a tree's arrays on the devices of a mesh, with leading axes split over its `axes` and the rest replicated.

    Every process must hold the whole tree.
    """
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, tree)
    sharding = NamedSharding(mesh, PartitionSpec(*axes))

    def put(leaf: Array | np.ndarray) -> Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree)


def place_data(data: UInt8[np.ndarray, "n ..."], mesh: Mesh | None) -> UInt8[Array, "n ..."]:
    """Put data on the devices, whole on each; a CPU reads them where they lie if that is a multiple of 64 bytes.

    They must not change as long as they are used, and not be donated.
    """
    return jax.device_put(data) if mesh is None else place(data, mesh)


def fetch(tree: PyTree) -> PyTree:
    """Return a tree's arrays as this process can read them whole: gathered if they lie on several hosts."""

    def get(leaf: Array) -> Array | np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        return np.asarray(process_allgather(leaf, tiled=True))

    return jax.tree.map(get, tree)


def split_over_data(tree: PyTree[Array]) -> PyTree[Array]:
    """Split the leading axes over `data`, inside a program over a mesh."""
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(DATA))
