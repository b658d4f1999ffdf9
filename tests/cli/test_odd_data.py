"""Every command that takes a model, on small, large and odd data sets."""

import json

import numpy as np
import pytest
from helpers import jvae, refused

ODD = {
    "one pixel, two images, one to test, no labels": ((1, 1, 1), 2, 1, None, ["--latent-dim", 1]),
    "1,000 classes of 2x3": ((2, 3, 1), 1000, 1000, 1000, ["--latent-dim", 3, "--levels", 2]),
    "RGB, 47 classes": (
        (5, 4, 3),
        60,
        47,
        47,
        ["--latent-dim", 2, "--prior", "vamp", "--num-components", 3, "--decoder", "gaussian", "--variance", "pixel"],
    ),
    "256x256x3, one class": ((256, 256, 3), 2, 2, 1, ["--latent-dim", 2]),
}
PLOTS = ("posterior", "reconstructions", "manifold", "prior", "interpolation", "traversals", "history")


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_every_command_on(name, tmp_path):
    shape, train, test, classes, options = ODD[name]
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", train), ("test", test)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, *shape), np.uint8)
        if classes is not None:
            arrays[f"y_{split}"] = np.arange(count) % classes
    np.savez(tmp_path / "data.npz", **arrays)
    data, model = ["--dataset", f"npz:{tmp_path / 'data.npz'}"], ["--model", tmp_path / "m.npz"]
    jvae("train", *data, *model, *options, "--hidden", 2, "--epochs", 1, "--batch-size", min(train, 20))
    jvae("evaluate", *model, "--num-samples", 2, "--iwae", 3, "--json", tmp_path / "e.json")
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["num_images"] == test
    assert (found["elbo"]["standard_error"] is None) == (test == 1)
    assert (found["diagnostics"]["levels"][0]["active_units"] is None) == (test == 1)
    jvae("encode", *model, "--split", "both", "--output", tmp_path / "z.npz")
    with np.load(tmp_path / "z.npz") as encoded:
        assert len(encoded["z"]) == train + test
        assert len(np.unique(encoded["label"])) == (classes or 1)
    jvae("sample", *model, "--num-images", 3, "--samples", tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (3, *shape)
    jvae("sample", *model, "--num-images", 1, "--compare", "--samples", tmp_path / "x.png")
    jvae("explore", *model, "--output", tmp_path / "p.html")
    more = ("pseudo-inputs", "scale") if "vamp" in options else ()
    for plot in (*PLOTS, *more):
        jvae("plot", plot, *model, "--output", tmp_path / f"{plot}.png")
        assert (tmp_path / f"{plot}.png").stat().st_size > 1000
    jvae("datasets", "check", data[1])
    if "--levels" not in options:
        assert "--level is 2" in refused("plot", "posterior", *model, "--level", 2, code=2)
    assert "--run is 1" in refused("plot", "history", *model, "--run", 1, code=2)
