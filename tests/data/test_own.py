"""A user's own images: the same rows are the same data from any source; anything else is refused in one line."""

import contextlib
import gzip
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_sets import prepare
from PIL import Image

from jvae.cli.main import main
from jvae.data.dataset import draw_test_set
from jvae.data.datasets import load_dataset
from jvae.data.folder import decode_picture, find_pictures
from jvae.data.idx import encode_idx, find_set
from jvae.data.known import FILES
from jvae.errors import DataError

NAMES = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Set up an empty cache, and a folder to work in."""
    monkeypatch.setenv("JVAE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")


@pytest.fixture
def four(tiny):
    """Return the tiny set's four arrays, as files hold them, sorted by class like a folder of pictures."""
    orders = [np.argsort(labels, kind="stable") for labels in (tiny.train_labels, tiny.test_labels)]
    images = [part[order][..., 0] for part, order in zip((tiny.train_images, tiny.test_images), orders, strict=True)]
    labels = [part[order] for part, order in zip((tiny.train_labels, tiny.test_labels), orders, strict=True)]
    return images[0], labels[0], images[1], labels[1]


def write_folder(images, labels, folder):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        os.makedirs(f"{folder}/{label}", exist_ok=True)
        Image.fromarray(image).save(f"{folder}/{label}/{i:04}.png")


def labelled(features):
    """Return the features of a prepared set of 8x8 images with labels."""
    return {"image": features.Tensor(shape=(8, 8, 1), dtype=np.uint8), "label": features.ClassLabel(num_classes=10)}


def write_idx(arrays, folder, names=FILES, pack=bytes):
    for name, array in zip(names, arrays, strict=True):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(pack(encode_idx(array)))


def test_the_same_rows_are_the_same_data(four):
    """From an npz, its floats, a folder of PNGs, and IDX files in every layout; one fingerprint."""
    lines = []
    np.savez("a.npz", **dict(zip(NAMES, four, strict=True)))
    np.savez_compressed("c.npz", **dict(zip(NAMES, four, strict=True)))
    np.savez("f.npz", x_train=four[0] / np.float32(255), x_test=four[2] / 255, y_train=four[1], y_test=four[3])
    write_folder(*four[:2], "pictures/train")
    write_folder(*four[2:], "pictures/test")
    write_idx(four, "flat")
    write_idx(four, "torchvision/Digits/raw", [f"{name}.gz" for name in FILES], gzip.compress)
    kaggle = [name.replace("-idx", ".idx") for name in FILES]
    write_idx(four, "kaggle", kaggle)
    write_idx(four, "kaggle", [f"{name}/{name}" for name in FILES])
    write_idx(four, "emnist", [f"emnist-digits-{name.replace('t10k', 'test')}" for name in FILES])
    turned = (four[0].swapaxes(1, 2), four[1], four[2].swapaxes(1, 2), four[3])
    write_idx(turned, "turned")
    kinds = ["npz:a.npz", "npz:c.npz", "npz:f.npz", "folder:pictures", "folder:pictures", "idx:flat", "idx:torchvision"]
    loaded = [load_dataset(name, log=lines.append) for name in [*kinds, "idx:kaggle", "idx:emnist"]]
    loaded.append(load_dataset("idx:turned", transpose=True))
    assert {data.fingerprint for data in loaded} == {loaded[0].fingerprint}
    for data in loaded:
        np.testing.assert_array_equal(data.train_images[..., 0], four[0])
        np.testing.assert_array_equal(data.test_labels, four[3])
    assert next(line for line in lines if "pictures" in line).startswith("folder:pictures: decoded from")
    assert "read from" in lines[1]  # the second time
    assert load_dataset("idx:turned").fingerprint != loaded[0].fingerprint


def test_one_array_is_split_the_same_for_everybody(four):
    np.save("x.npy", four[0])
    np.savez("one.npz", anything=four[0])
    data, again = (load_dataset(name, test_share=0.2) for name in ("npy:x.npy", "npz:one.npz"))
    assert data.fingerprint == again.fingerprint
    assert (len(data.train_images), len(data.test_images)) == (80, 20)
    rows = np.concatenate([data.train_images, data.test_images])[..., 0]
    assert sorted(map(bytes, rows)) == sorted(map(bytes, four[0]))
    assert not data.train_labels.any()
    with pytest.raises(DataError, match=r"has no test set: give a share of the images, such as --test-share 0.1"):
        load_dataset("npy:x.npy")
    np.savez("two.npz", **dict(zip(NAMES, four, strict=True)))
    with pytest.raises(DataError, match="has a test set of its own"):
        load_dataset("npz:two.npz", test_share=0.2)


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32, np.float64, np.float16])
def test_pixels_of_0_and_1_are_black_and_white(four, kind):
    binary, lines = (four[0] >= 128, four[2] >= 128), []
    np.savez("b.npz", x_train=binary[0].astype(kind), x_test=binary[1].astype(kind))
    np.savez("w.npz", x_train=255 * binary[0].astype(np.uint8), x_test=255 * binary[1].astype(np.uint8))
    data = load_dataset("npz:b.npz", log=lines.append)
    assert data.fingerprint == load_dataset("npz:w.npz").fingerprint
    assert set(np.unique(data.train_images)) == {0, 255}
    if kind in (np.uint8, bool):
        assert lines == ["npz:b.npz: pixels are 0 and 1: loaded as 0 and 255"]


def test_folders_of_colour_of_one_class_and_without_a_split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (30, 16, 24, 3), np.uint8)
    write_folder(images, np.arange(30) % 3, "rgb")
    data = load_dataset("folder:rgb", test_share=0.3)
    assert data.train_images.shape == (21, 16, 24, 3)
    assert set(data.train_labels) == {0, 1, 2}
    os.makedirs("plain")
    for i, image in enumerate(images):
        Image.fromarray(image).save(f"plain/{i}.bmp")
    open("plain/notes.txt", "w").close()
    plain = load_dataset("folder:plain", test_share=0.5, resize="8x12")
    assert plain.test_images.shape == (15, 8, 12, 3)
    assert not plain.test_labels.any()
    Image.fromarray(images[0, :, :, 0]).save("plain/grey.png")
    Image.fromarray(images[0]).convert("P").save("plain/palette.png")
    assert load_dataset("folder:plain", test_share=0.5).train_images.shape[1:] == (16, 24, 3)
    Image.fromarray(images[0, :8]).save("plain/small.png")
    with pytest.raises(DataError, match=r"small.png: is 8x24, and 0.bmp is 16x24: give one size, --resize HxW"):
        load_dataset("folder:plain", test_share=0.5)


def test_transparent_pixels_are_laid_over_white():
    """Black strokes on nothing would be black as a whole."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:5, 2:5, 3] = 255
    for mode in ("RGBA", "LA", "PA"):
        Image.fromarray(pixels).convert(mode).save("a.tiff" if mode == "PA" else "a.png")
        decoded = decode_picture(Path("a.tiff" if mode == "PA" else "a.png"), None)
        assert decoded.shape[2] == (1 if mode == "LA" else 3)
        assert not decoded[2:5, 2:5].any()
        assert (np.delete(decoded.reshape(64, -1), np.flatnonzero(pixels[..., 3]), axis=0) == 255).all()
    pixels[..., 3], pixels[..., :3] = 255, np.arange(8)[:, None]
    Image.fromarray(pixels).save("opaque.png")
    np.testing.assert_array_equal(decode_picture(Path("opaque.png"), None), pixels[..., :3])


def test_a_class_is_a_folder_and_all_below_it():
    for place in ("cat/1.png", "cat/2020/1.png", "dog/a/b/1.png", "dog/.hidden/1.png", "2.png"):
        path = Path("pets", place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [(str(path.relative_to("pets")), name) for path, name in find_pictures(Path("pets"))]
    assert found == [("2.png", ""), ("cat/1.png", "cat"), ("cat/2020/1.png", "cat"), ("dog/.hidden/1.png", "dog"),
                     ("dog/a/b/1.png", "dog")]  # fmt: skip


def test_a_folder_that_changes_is_decoded_in_the_same_place(four, tmp_path):
    """The decoded cache of a deleted folder is removed."""
    lines, own = [], tmp_path / "cache/datasets/own"
    write_folder(*four[:2], "gone")
    load_dataset("folder:gone", test_share=0.5)
    shutil.rmtree("gone")
    write_folder(*four[:2], "pictures")
    first = load_dataset("folder:pictures", test_share=0.5, log=lines.append)
    again = load_dataset("folder:pictures", test_share=0.5, log=lines.append)
    assert first.fingerprint == again.fingerprint
    assert ["decoded from" in line for line in lines] == [True, False]
    (entry,) = own.iterdir()
    os.remove("pictures/0/0000.png")
    assert load_dataset("folder:pictures", test_share=0.5).fingerprint != first.fingerprint
    assert list(own.iterdir()) == [entry]


@pytest.mark.parametrize(
    "header", ["{'descr': '<f4', 'shape': (", "{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}"]
)
def test_headers_that_are_no_python_are_refused_in_one_line(header):
    """Python's tokeniser fails on the first; the second, Python 2's, makes NumPy warn."""
    text = header.ljust(117).encode() + b"\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(3))
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.write("a.npy", "x_train.npy")
    for source in ("npy:a.npy", "npz:a.npz"):
        with pytest.raises(DataError) as caught:
            load_dataset(source, test_share=0.5)
        assert "\n" not in str(caught.value)


def test_every_flipped_bit_of_a_png_is_seen():
    """Its checksums are checked: zlib alone lets some pass, and pixels change."""
    image = np.random.default_rng(0).integers(0, 4, (8, 8), np.uint8) * 60
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    content = bytearray(file.getvalue())
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        Path("a.png").write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(DataError):
            np.testing.assert_array_equal(decode_picture(Path("a.png"), None)[..., 0], image)


def test_files_of_two_sets_are_not_mixed():
    """All of them have the same names."""
    for name in FILES:
        for folder in ("MNIST", "FashionMNIST"):
            path = Path("two", folder, "raw", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.with_name(f"{name}.gz").touch()
    assert find_set(Path("two/MNIST")) == tuple(Path("two/MNIST/raw", name) for name in FILES)
    for path in Path("two/FashionMNIST/raw").glob("t10k*"):
        path.unlink()
    with pytest.raises(DataError, match=r"two: holds several sets, .*FashionMNIST/raw, .*MNIST/raw: name the folder"):
        find_set(Path("two"))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x_train": np.full((5, 4), 2)}, "x_train is int64: must be uint8"),
        ({"x_train": np.full((5, 4), np.nan)}, "x_train is float64 from nan to nan"),
        ({"x_train": np.linspace(0, 1, 20).reshape(5, 4)}, "which is no multiple of 1/255"),
        ({"x_train": np.full((5, 4), 255.0)}, "x_train is float64 from 255 to 255"),
        ({"x_train": np.full((5, 4), "a")}, "x_train is <U1"),
        ({"x_train": np.array([[None]] * 5)}, "x_train holds objects: no pickle is opened"),
        ({"x_train": np.float32(0.5), "x_test": np.float32(0.5)}, r"x_train is float32\[\]: must be \[n, ...\]"),
        ({"y_train": np.zeros(5, int)}, "holds labels of one set only: must be both of y_train and y_test, or none"),
        ({"x_train": np.zeros((0, 4), np.uint8)}, "must be .n, .... with 1 to 4 axes"),
        ({"x_train": np.zeros((5, 3), np.uint8)}, "must be .m, 3., as train_images"),
        (
            {"y_train": np.zeros((5, 10)), "y_test": np.zeros(2, int)},
            "train_labels are float64.5, 10.: must be whole numbers .5.",
        ),
        (
            {"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)},
            "train_labels are int64.4.: must be whole numbers .5.",
        ),
        ({"z": np.zeros(3)}, "holds z beside x_train"),
    ],
)
def test_arrays_that_are_no_images_are_refused(arrays, said):
    whole = {"x_train": np.zeros((5, 4), np.uint8), "x_test": np.zeros((2, 4), np.uint8)}
    np.savez("a.npz", **{**whole, **arrays})
    with pytest.raises(DataError, match=said) as caught:
        load_dataset("npz:a.npz")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(DataError, match="it is an archive of arrays: read it as npz:FILE"):
        load_dataset("npy:a.npz", test_share=0.2)


def elbo_in(path):
    with open(path) as file:
        return json.load(file)["elbo"]


def jvae(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


@pytest.mark.slow
def test_every_command_finds_the_data_again_or_takes_others_with_the_same_content(four, tmp_path, monkeypatch):
    """The path may change; other contents are refused in one line."""
    np.savez("a.npz", **dict(zip(NAMES, four, strict=True)))
    quick = ["--latent-dim", 2, "--hidden-dim", 8, "--epochs", 1, "--batch-size", 50]
    jvae("train", "--dataset", "npz:a.npz", *quick, "--json", "t.json")
    monkeypatch.chdir(tmp_path)
    model = ["--model", "data/model.npz"]
    jvae("evaluate", *model, "--json", "e.json")
    trained = elbo_in("data/t.json")
    assert elbo_in("e.json") == trained
    jvae("plot", "posterior", *model)
    jvae("explore", *model)
    write_idx(four, "data/idx")
    os.rename("data/a.npz", "moved.npz")
    line = jvae("evaluate", *model, code=1).stderr.strip()
    assert "a.npz: cannot be read" in line
    assert len(line.splitlines()) == 1
    write_folder(*four[:2], "data/pictures/train")
    write_folder(*four[2:], "data/pictures/test")
    rows = ([{"image": x[..., None], "label": int(y)} for x, y in zip(*four[i : i + 2], strict=True)] for i in (0, 2))
    prepare(tmp_path / "tfds", labelled, **dict(zip(("train", "test"), rows, strict=True)))
    prepared = ["tfds:made", "--data-dir", "tfds"]
    for source in (["npz:moved.npz"], ["idx:data/idx"], ["folder:data/pictures"], prepared):
        jvae("evaluate", *model, "--dataset", *source, "--json", "e.json")
        assert elbo_in("e.json") == trained
    assert "not the data set that the model was trained on" in jvae(
        "plot", "prior", *model, "--dataset", "digits", code=1
    ).stderr.replace("digits is ", "")
    jvae("train", "--resume", "--epochs", 2, "--dataset", "npz:moved.npz", *model)
    jvae("evaluate", *model)
    jvae("sweep", "--dataset", "npz:moved.npz", *quick, "--grid", "seed=0,1")
    assert "resize is 8x8: applies only with folder" in jvae(
        "train", "--dataset", "digits", "--resize", "8x8", "--model", "n.npz", code=2
    ).stderr.replace("--resize", "resize")


@pytest.mark.slow
def test_stochastic_binarisation_draws_the_grey_values(tiny, digits, tmp_path):
    """The mean of many draws is the pixel within 5 standard errors; epochs differ; the test set is drawn once."""
    import jax

    from jvae import stochastic_binarise

    images = digits.test_images[:40]
    draws = np.mean([stochastic_binarise(jax.random.key(i), images) for i in range(400)], axis=0, dtype=np.float64)
    p = images / 255
    error = np.sqrt(p * (1 - p) / 400)
    assert np.all(np.abs(draws - p) <= 5 * error + 1e-12)
    drawn, again = draw_test_set(digits), draw_test_set(digits)
    assert drawn.fingerprint == again.fingerprint != digits.fingerprint
    assert set(np.unique(drawn.test_images)) == {0, 255}
    q = digits.test_images / 255
    off = (drawn.test_images / 255 - q).sum() / np.sqrt((q * (1 - q)).sum())
    assert abs(off) < 5
    first, second = (stochastic_binarise(jax.random.key(i), drawn.test_images) for i in (0, 1))
    np.testing.assert_array_equal(first, second)  # what is drawn stays as it is
    quick = ["--dataset", "digits", "--latent-dim", 2, "--hidden-dim", 8, "--epochs", 2, "--binarise", "stochastic"]
    told = jvae("train", *quick, "--model", tmp_path / "m.npz").stdout
    assert "drawn from the grey values" in told
    elbos = [jvae("evaluate", "--model", tmp_path / "m.npz").stdout for _ in range(2)]
    assert elbos[0] == elbos[1]
    assert (
        "applies only with"
        in jvae("train", *quick, "--decoder", "gaussian", "--model", tmp_path / "n.npz", code=2).stderr
    )


def test_the_data_are_never_written_over(four):
    np.savez("a.npz", **dict(zip(NAMES, four, strict=True)))
    os.symlink("a.npz", "link.npz")
    for option in ("--model", "--json"):
        line = jvae("train", "--dataset", "npz:a.npz", option, "link.npz", "--overwrite", code=2).stderr
        assert f"--dataset and {option} must be different files" in line
    load_dataset("npz:a.npz")


def test_a_source_is_checked_and_shown(four):
    np.savez("a.npz", **dict(zip(NAMES, four, strict=True)))
    told = jvae("datasets", "check", "npz:a.npz", "--sheet", "sheet.png").stdout.splitlines()
    assert told[1].split() == f"train 100 of 8x8x1, from 0 to 255, mean {four[0].mean():.1f}, 10 classes".split()
    assert load_dataset("npz:a.npz").fingerprint in told[0]
    with Image.open("sheet.png") as picture:
        assert picture.size[0] > 300
    assert "resize" in jvae("datasets", "check", "npz:a.npz", "--resize", "8x8", code=2).stderr


def test_whole_numbers_that_are_zeros_and_ones_are_black_and_white(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(80).reshape(5, 4, 4) % 2)
    data = load_dataset(f"npy:{path}", test_share=0.4)
    assert set(np.unique(data.train_images)) == {0, 255}
