"""What users export: latents and draws as arrays and tables, and what a model file says."""

import csv
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import jvae, refused

from experiments.faults.model_files import content_of
from jvae.runs import api
from jvae.runs.archive import pack
from jvae.runs.checkpoint import load
from jvae.runs.recipe_file import load_recipe_file

STORED = Path(__file__).parents[1] / "stored" / "model_0_1_0.npz"
QUICK = ["--dataset", "digits", "--latent-dim", "2", "--epochs", "1", "--batch-size", "256", "--hidden-dim", "16"]
RECIPE = """
import jvae
import optax


def recipe(config, data_shape, steps_per_epoch):
    model = jvae.VAE(
        jvae.MoGPrior(3, 4),
        jvae.BernoulliDecoder(jvae.MLP((8,), data_shape)),
        jvae.GaussianEncoder(jvae.MLP((8,), (6,))),
    )
    return jvae.Recipe(model, jvae.binarise, jvae.elbo, optax.adam(config.learning_rate))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make `one.npz`, one run of one level; `two.npz`, two of two; and `own.npz`, from the recipe file `own.py`."""
    folder = tmp_path_factory.mktemp("take")
    (folder / "own.py").write_text(RECIPE)
    jvae("train", *QUICK, "--model", folder / "one.npz")
    jvae("train", *QUICK, "--runs", 2, "--levels", 2, "--upper-dim", 1, "--model", folder / "two.npz")
    few = ["--dataset", "digits", "--epochs", 1, "--batch-size", 256]
    jvae("train", *few, "--recipe", folder / "own.py", "--model", folder / "own.npz")
    return folder


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.slow
def test_the_latents_of_the_test_set_are_those_of_encode(folder, digits, tmp_path):
    jvae("encode", "--model", folder / "one.npz", "--output", tmp_path / "z.npz", "--seed", 3)
    found = arrays_of(tmp_path / "z.npz")
    expected = api.encode(load(folder / "one.npz"), digits.test_images, jax.random.key(3))
    for name in ("loc", "scale", "z"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))
        assert found[name].dtype == np.float32
        assert found[name].shape == (256, 2)
    np.testing.assert_array_equal(found["label"], digits.test_labels)
    np.testing.assert_array_equal(found["index"], np.arange(256))
    assert set(found["split"]) == {"test"}
    assert (found["run"].tolist(), found["level"].tolist()) == ([0], [1])


@pytest.mark.slow
def test_both_splits_all_runs_and_levels(folder, digits, tmp_path):
    every = ["--split", "both", "--run", "all", "--level", "all"]
    jvae("encode", "--model", folder / "two.npz", "--output", tmp_path / "z.npz", *every)
    found, model, key = arrays_of(tmp_path / "z.npz"), load(folder / "two.npz"), jax.random.key(0)
    train, test = len(digits.train_images), len(digits.test_images)
    assert found["z_level_1"].shape == (2, train + test, 2)
    assert found["z_level_2"].shape == (2, train + test, 1)
    np.testing.assert_array_equal(found["split"], ["train"] * train + ["test"] * test)
    np.testing.assert_array_equal(found["index"], [*range(train), *range(test)])
    np.testing.assert_array_equal(found["label"], np.concatenate([digits.train_labels, digits.test_labels]))
    for level in (1, 2):
        of_test = api.encode(model, digits.test_images, key, 1, level - 1)
        of_train = api.encode(model, digits.train_images, jax.random.fold_in(key, 1), 1, level - 1)
        for name in ("loc", "scale", "z"):
            expected = np.concatenate([getattr(of_train, name), getattr(of_test, name)])
            np.testing.assert_array_equal(found[f"{name}_level_{level}"][1], expected)


@pytest.mark.slow
def test_the_table_is_the_arrays(folder, tmp_path):
    every = ["--model", folder / "two.npz", "--split", "both", "--run", "1,0", "--level", "all"]
    jvae("encode", *every, "--output", tmp_path / "z.npz")
    jvae("encode", *every, "--output", tmp_path / "z.csv")
    found = arrays_of(tmp_path / "z.npz")
    with (tmp_path / "z.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    n = len(found["label"])
    assert len(rows) == 4 * n
    for i, run in enumerate((1, 0)):
        for level, dim in ((1, 2), (2, 1)):
            own = [row for row in rows if (row["run"], row["level"]) == (str(run), str(level))]
            assert [row["split"] for row in own] == found["split"].tolist()
            assert [int(row["index"]) for row in own] == found["index"].tolist()
            assert [int(row["label"]) for row in own] == found["label"].tolist()
            for name in ("loc", "scale", "z"):
                columns = [f"{name}_{k + 1}" for k in range(dim)]
                values = np.array([[row[column] for column in columns] for row in own], np.float32)
                np.testing.assert_array_equal(values, found[f"{name}_level_{level}"][i])
                assert all(row[f"{name}_2"] == "" for row in own) == (dim == 1)


@pytest.mark.slow
def test_what_the_model_lacks_is_refused(folder, tmp_path):
    one, output = ["--model", folder / "one.npz"], ["--output", tmp_path / "z.npz"]
    assert "--level is 2: must be 1, for the model has 1 level" in refused(
        "encode", *one, *output, "--level", 2, code=2
    )
    assert "--run is 1: must be 0, for the model has 1 run" in refused("encode", *one, *output, "--run", 1, code=2)
    two = ["--model", folder / "two.npz"]
    for command, word in (("encode", "1,2"), ("sample", 2)):
        assert "--run is 2: must be from 0 to 1, for the model has 2 runs" in refused(
            command, *two, "--run", word, code=2
        )
    for wrong in ("first", "1,1", "-1", ""):
        assert "--run" in refused("encode", *one, *output, f"--run={wrong}", code=2)
    assert ".npz, .csv" in refused("encode", *one, "--output", tmp_path / "z.txt", code=2)
    before = (folder / "two.npz").read_bytes()
    for command in (["encode", "--output"], ["sample", "--samples"]):
        assert "model file" in refused(*command, folder / "two.npz", *one, code=2)
    assert (folder / "two.npz").read_bytes() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_users_own_model_is_encoded(folder, tmp_path):
    own = ["--model", folder / "own.npz", "--output", tmp_path / "z.npz"]
    assert "own.py" in refused("encode", *own, code=2)
    jvae("encode", *own, "--recipe", folder / "own.py")
    assert arrays_of(tmp_path / "z.npz")["z"].shape == (256, 3)


@pytest.mark.slow
def test_draws_as_arrays(folder, tmp_path):
    given = ["--model", folder / "two.npz", "--run", 1, "--seed", 4, "--num-images", 7]
    jvae("sample", *given, "--compare", "--samples", tmp_path / "both.npz")
    jvae("sample", *given, "--samples", tmp_path / "x.npy")
    jvae("sample", *given, "--mean", "--samples", tmp_path / "mean.npz")
    model, key = load(folder / "two.npz"), jax.random.key(4)
    both = arrays_of(tmp_path / "both.npz")
    assert both.keys() == {"x", "mean"}
    for name, mean in (("x", False), ("mean", True)):
        np.testing.assert_array_equal(both[name], api.sample(model, key, 7, 1, mean))
        assert both[name].dtype == np.float32
        assert both[name].shape == (7, 8, 8, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy", allow_pickle=False), both["x"])
    assert set(np.unique(both["x"])) == {0, 1}
    (only,) = arrays_of(tmp_path / "mean.npz").items()
    assert only[0] == "mean"
    np.testing.assert_array_equal(only[1], both["mean"])


@pytest.mark.slow
def test_arrays_have_no_limit_of_pictures(folder, tmp_path):
    many = ["--model", folder / "one.npz", "--num-images", 10_001, "--samples"]
    jvae("sample", *many, tmp_path / "x.npy")
    x = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert len(x) == 10_001
    np.testing.assert_array_equal(x[:10_000], api.sample(load(folder / "one.npz"), jax.random.key(0), 10_000))
    assert "--num-images is 10001" in refused("sample", *many, tmp_path / "x.png", code=2)
    assert ".npz" in refused("sample", "--model", folder / "one.npz", "--compare", "--samples", "x.npy", code=2)


def told_of(*paths: Path) -> dict[str, tuple[bool, list[str]]]:
    """Return the rows of `jvae info`: whether each is marked, and its cells."""
    heading, *lines = jvae("info", *paths).stdout.splitlines()
    starts = [heading.index(str(path)) for path in paths]
    cut = lambda line: [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]  # noqa: E731
    return {line[: starts[0]].strip("* "): (line.startswith("*"), cut(line)) for line in lines}


@pytest.mark.slow
def test_info_of_one_file(folder):
    told = {name: cells for name, (_, (cells,)) in told_of(folder / "one.npz").items()}
    model = load(folder / "one.npz")
    assert told["model"] == "gaussian prior, bernoulli output, mlp, M = 2"
    numbers = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    assert told["parameters"].startswith(f"{numbers:,} (decoder ")
    assert told["epochs"] == "1 of 1"
    for name in ("bound", "reconstruction", "kl"):
        assert told[name] == f"{model.history[-1][name]:.3f}"
    assert told["data"] == "digits, 8x8x1"
    assert model.fingerprint.startswith(told["fingerprint"])
    assert told["--latent-dim"] == "2"
    assert "--prior" not in told  # it is the default
    assert told["jax"] == model.versions["jax"]
    assert told["JAX_ENABLE_X64"] == "False"


@pytest.mark.slow
def test_info_of_several_files_marks_what_differs(folder):
    paths = [folder / "one.npz", folder / "two.npz", folder / "own.npz", STORED]
    told = told_of(*paths)
    record = load_recipe_file(folder / "own.py").file
    assert told["recipe file"] == (True, ["", "", f"own.py, sha256 {record.sha256[:12]}", ""])
    assert told["format"] == (True, ["2", "2", "2", "1"])
    assert told["runs"] == (True, ["1, seed 0", "2, seeds 0 to 1", "1, seed 0", "2, seeds 0 to 1"])
    assert told["data"] == (False, ["digits, 8x8x1"] * 4)
    assert told["--levels"] == (True, ["1", "2", "1", "1"])
    own, stored = (load(paths[2], load_recipe_file(folder / "own.py").make), load(STORED))
    for column, model in ((2, own), (3, stored)):
        numbers = sum(leaf.size for leaf in jax.tree.leaves(model.run_params()))
        assert told["parameters"][1][column].startswith(f"{numbers:,} (")
    bounds = stored.history[-1]["bound"]
    assert told["bound"][1][3] == f"{np.mean(bounds):.3f} ± {np.std(bounds, ddof=1):.3f}"
    assert told["JAX_ENABLE_X64"] == (True, ["False"] * 3 + [""])  # version 0.1.0 did not record it
    assert not any(marked for marked, _ in told_of(folder / "one.npz").values())


@pytest.mark.slow
def test_info_of_a_file_imports_no_jax(folder):
    code = f"import sys\nfrom jvae.cli.main import main\ntry: main(['info', {str(folder / 'own.npz')!r}])\n"
    code += "finally: print([m for m in ('jax', 'flax', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_damaged_files_are_a_line_each(folder, tmp_path):
    arrays, about = content_of(folder / "two.npz")
    last = about["history"][-1]
    name = "runs/params/encoder/net/linear_0/bias"
    damaged = {
        "empty": b"",
        "cut": (folder / "two.npz").read_bytes()[:-9],
        "text": b"hello",
        "csv": b"PK\3\4" + b"0" * 100,
        "history": pack(arrays, {**about, "history": [{**last, "bound": "high"}]}),
        "fewer": pack(arrays, {**about, "history": [{**last, "bound": [1.0]}]}),
        "huge": pack(arrays, {**about, "history": [{**last, "kl": 10**400}]}),
        "runs": pack({**arrays, name: arrays[name][:1]}, about),
        "config": pack(arrays, {**about, "config": {**about["config"], "latent_dim": "2"}}),
        "shape": pack(arrays, {**about, "data_shape": [0]}),
    }
    for stem, data in damaged.items():
        (tmp_path / stem).write_bytes(data)
        assert f"{tmp_path / stem}: " in refused("info", tmp_path / stem, code=1)
    result = jvae("info", *(tmp_path / stem for stem in damaged), folder / "one.npz", code=1)
    assert len(result.stderr.splitlines()) == len(damaged)
    assert str(folder / "one.npz") in result.stdout.splitlines()[0]


@pytest.mark.slow
def test_what_a_file_says_cannot_write_to_the_terminal(folder, tmp_path):
    arrays, about = content_of(folder / "one.npz")
    (tmp_path / "m").write_bytes(pack(arrays, {**about, "versions": {"jax": "1\x1b[31m\n2"}}))
    assert told_of(tmp_path / "m")["jax"] == (False, ["'1\\x1b[31m\\n2'"])
