"""Devices and hosts: however the work is spread, the training is the same."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from jax.sharding import AxisType, Mesh
from mesh_worker import MESHES

from jvae.cli.main import main
from jvae.errors import DeviceError
from jvae.runs.checkpoint import TrainedModel, load
from jvae.runs.mesh import Hosts, MeshShape, check_mesh, choose_mesh, fetch, join_hosts, place

JVAE = [sys.executable, "-c", "from jvae.cli.main import main; main()"]
QUICK = ["--dataset", "digits", "--device", "cpu", "--latent-dim", "2", "--epochs", "2", "--batch-size", "128"]
QUICK += ["--hidden", "8,8", "--runs", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    worker = [sys.executable, str(Path(__file__).parent / "mesh_worker.py"), str(folder)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(worker, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*MESHES[1:], "runs=2,data=4,stream"], ids=str)
def test_every_mesh_gives_the_same_training(shape, trained):
    """8 runs on 1, 2 and 8 devices, equal up to the rounding of sums that are split over devices."""
    expected, found = np.load(trained / "None.npz"), np.load(trained / f"{shape}.npz")
    assert expected.files == found.files
    for name in expected.files:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-4, err_msg=name)
    kernel = found["params/encoder/net/linear_0/kernel"]
    assert len(np.unique(kernel[:, 0, 0])) == 8


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> TrainedModel:
    """Train in one process."""
    path = tmp_path_factory.mktemp("alone") / "alone.npz"
    flags = ["--validation", "test", "--keep", "best", "--model", str(path)]
    assert CliRunner().invoke(main, ["train", *QUICK, *flags]).exit_code == 0
    return load(path)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "stream"), [("runs=2", "--stream"), ("data=2", "--stream"), ("data=2", "--no-stream")]
)
def test_two_processes_train_what_one_does(mesh, stream, alone, tmp_path):
    """Two real processes over loopback; only the first one writes files and prints."""
    address = f"127.0.0.1:{free_port()}"
    spread = [
        "--mesh",
        mesh,
        stream,
        "--validation",
        "test",
        "--keep",
        "best",
        "--distributed",
        "--coordinator",
        address,
    ]
    children = [
        subprocess.Popen(
            [*JVAE, "train", *QUICK, *spread, "--num-processes", "2", "--process-id", str(i), "--model", f"{i}.npz"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    said = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert "2 devices of 2 hosts" in said[0][1]
    assert "wrote 0.npz" in said[0][0]
    assert "jvae" not in said[1][1]
    assert "wrote" not in said[1][0]
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]
    two = load(tmp_path / "0.npz")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), alone.state, two.state)
    assert [record["kept"] for record in alone.history] == [record["kept"] for record in two.history]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(3, 1), r"mesh is runs=3,data=1: runs, 4, must be a multiple of runs=3"),
        (MeshShape(1, 3), r"mesh is runs=1,data=3: batch size, 10, must be a multiple of data=3"),
        (MeshShape(4, 4), r"mesh is runs=4,data=4: takes 16 devices, but jax finds 8"),
    ],
)
def test_what_does_not_divide_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        choose_mesh(shape, 4, 10, jax.devices() * 8)


def test_a_mesh_of_ones_own_is_checked():
    device, auto = jax.devices()[:1], AxisType.Auto
    for mesh, message in (
        (Mesh(np.array(device), ("data",)), "mesh has the axes data: must be runs, data"),
        (Mesh(np.array(device * 3)[:, None], ("runs", "data"), axis_types=(auto,) * 2), "runs, 4, must be a multiple"),
        (
            Mesh(np.array(device)[:, None], ("runs", "data"), axis_types=(AxisType.Explicit,) * 2),
            "mesh has the axes runs, data: must be made by jvae.runs.mesh.choose_mesh",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            check_mesh(mesh, 4, 10)


def test_the_default_mesh_splits_only_the_runs():
    device = jax.devices()[0]
    assert choose_mesh(None, 4, 8, [device]) is None
    assert choose_mesh(None, 1, 8, [device] * 8) is None
    assert dict(choose_mesh(None, 12, 8, [device] * 8).shape) == {"runs": 4, "data": 1}


def test_what_was_placed_is_fetched_whole(key):
    tree = {"x": np.arange(6.0).reshape(3, 2), "key": jax.random.split(key, 3)}
    mesh = choose_mesh(MeshShape(1, 1), 1, 1, jax.devices())
    placed = fetch(place(tree, mesh, "runs"))
    np.testing.assert_array_equal(placed["x"], tree["x"])
    assert (placed["key"] == tree["key"]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mesh", "rows=2"], "rows=2: must be runs=R,data=D with whole numbers above 0"),
        (["--mesh", "runs=0"], "runs=0: must be runs=R,data=D with whole numbers above 0"),
        (["--process-id", "0"], "apply only with --distributed"),
        (
            ["--distributed", "--coordinator", "localhost", "--num-processes", "1", "--process-id", "0"],
            "--coordinator is localhost: must be HOST:PORT",
        ),
        (["--distributed", "--process-id", "0"], "takes all of --coordinator, --num-processes and --process-id, or"),
        (["--mesh", "runs=3", *QUICK], "--mesh is runs=3,data=1: takes 3 devices, but jax finds 1"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, message):
    result = CliRunner().invoke(main, ["train", *words])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


def test_hosts_that_cannot_meet_are_named(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM", "OMPI"))]:  # images set some of Open MPI's
        monkeypatch.delenv(name)
    with pytest.raises(DeviceError, match="the processes do not connect: "):
        join_hosts(Hosts())
