"""`jvae train --snapshots` and `jvae plot training`."""

import pytest
from helpers import jvae
from PIL import Image

from jvae.runs.checkpoint import load, save

OPTIONS = ("--dataset", "digits", "--latent-dim", 2, "--epochs", 1, "--batch-size", 512, "--hidden", 8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots") / "m.npz"
    jvae("train", *OPTIONS, "--runs", 2, "--snapshots", 3, "--model", path)
    return path


@pytest.fixture
def without(path, tmp_path):
    save(tmp_path / "without.npz", load(path)._replace(snapshots=None))
    return tmp_path / "without.npz"


@pytest.mark.slow
def test_a_training_is_drawn_as_gif_and_as_strip(path, tmp_path):
    assert [shot.step for shot in load(path).snapshots.taken] == [0, 2, 4]
    gif, strip = tmp_path / "t.gif", tmp_path / "t.png"
    jvae("plot", "training", "--model", path, "--output", gif)
    jvae("plot", "training", "--model", path, "--output", strip, "--run", 1)
    with Image.open(gif) as image:
        assert image.n_frames == 3
    with Image.open(strip) as image:
        assert image.width > image.height
    before = gif.read_bytes()
    jvae("plot", "training", "--model", path, "--output", gif)
    assert gif.read_bytes() == before


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused_in_one_line(path, without, tmp_path):
    out = tmp_path / "t.gif"
    refused = [
        (("training", "--model", without, "--output", out), 1, "--snapshots"),
        (("training", "--model", path, "--output", out, "--run", 2), 2, "--run is 2"),
        (("training", "--model", path, "--output", out, "--level", 2), 2, "--level is 2"),
        (("training", "--model", path, "--output", out.with_suffix(".mp4")), 2, ".mp4"),
        (("posterior", "--model", path, "--output", out), 2, ".gif"),
    ]
    for arguments, code, named in refused:
        said = jvae("plot", *arguments, code=code).stderr.splitlines()[-1]
        assert named in said
        assert said.startswith("jvae: error: ")
    assert not out.exists()


@pytest.mark.slow
def test_a_training_goes_on_with_the_snapshots_it_has_or_is_refused(path, without):
    before = path.read_bytes(), without.read_bytes()
    for model, asked in ((path, 4), (without, 3)):
        said = jvae("train", "--resume", "--epochs", 2, "--snapshots", asked, "--model", model, code=2).stderr
        assert f"--snapshots is {asked}, but {model} was trained with" in said
        assert len(said.splitlines()) == 1
    for number in (0, 1, 1001, "x"):
        assert "--snapshots" in jvae("train", *OPTIONS, "--snapshots", number, code=2).stderr
    assert before == (path.read_bytes(), without.read_bytes())


@pytest.mark.slow
def test_info_tells_of_snapshots(path, without):
    rows = jvae("info", path, without).stdout.splitlines()
    (row,) = [row.split() for row in rows if row.split()[:2] == ["*", "snapshots"]]
    assert row == ["*", "snapshots", "3,", "from", "step", "0", "to", "epoch", "1"]
