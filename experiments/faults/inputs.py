"""Sound inputs of every type that a command reads, and those commands: the material for mutations."""

import gzip
import io
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.faults.model_files import small_model
from experiments.faults.mutations import Mutate, mutated_arrays, mutated_tensors

OUTPUTS = "outputs"


class Input(NamedTuple):
    """A sound input, and the command that reads it."""

    name: str
    files: list[Path]
    """One of them is mutated at a time."""
    command: list[str]
    checked: bool = True
    """True if the type has checksums: a command that succeeds must then print what it prints for the sound input."""
    members: Mutate | None = None
    """A function that changes a member of a container and recomputes its checksums."""


def sound_inputs(folder: Path) -> Iterator[Input]:
    """Write a sound input of every type."""
    from PIL import Image

    from jvae.data.idx import encode_idx
    from jvae.data.known import FILES

    numbers = np.random.default_rng(0)
    images = [numbers.integers(0, 4, (n, 6, 5), np.uint8) * np.uint8(80) for n in (8, 4)]
    arrays = [part for each in images for part in (each, np.arange(len(each), dtype=np.uint8))]

    def check(source: str, *more: str) -> list[str]:
        return ["datasets", "check", source, *more]

    for name, ending, pack in (("IDX", "", bytes), ("gzipped IDX", ".gz", gzip.compress)):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        paths = [place / f"{file}{ending}" for file in FILES]
        for path, array in zip(paths, arrays, strict=True):
            path.write_bytes(pack(encode_idx(array)))
        yield Input(name, paths, check(f"idx:{place}"), checked=bool(ending))

    kinds = {"x_train": arrays[0], "y_train": arrays[1], "x_test": arrays[2], "y_test": arrays[3]}
    for name, save in (("npz", np.savez), ("compressed npz", np.savez_compressed)):
        path = folder / f"{name.replace(' ', '-')}.npz"
        save(path, **kinds)  # type: ignore[arg-type]
        yield Input(name, [path], check(f"npz:{path}"), members=mutated_arrays(folder, digest=False))
    path = folder / "rows.npy"
    np.save(path, images[0])
    yield Input("npy", [path], check(f"npy:{path}", "--test-share", "0.25"), checked=False)

    for ending in ("png", "jpg", "bmp", "gif"):
        place = folder / ending
        place.mkdir()
        paths = [place / f"{i}.{ending}" for i in range(3)]
        for path, image in zip(paths, images[0], strict=False):
            Image.fromarray(image).save(path)
        yield Input(ending, paths, check(f"folder:{place}", "--test-share", "0.3"), checked=ending == "png")

    path = folder / "options.toml"
    path.write_text('test-share = 0.3\nresize = "4x4"\n# transposed it is not\ntranspose = false\n')
    yield Input("toml", [path], check(f"folder:{folder / 'png'}", "--config", str(path)), checked=False)

    model = small_model(folder)
    yield Input("model file", [model], ["info", str(model)], members=mutated_arrays(folder, digest=True))
    target = folder / OUTPUTS / "model.pt"
    to_pytorch = ["export-pytorch", str(target), "--model", str(model)]
    yield from state_dicts(folder, model, to_pytorch)
    yield from prepared_sets(folder, images)


def state_dicts(folder: Path, model: Path, to_pytorch: list[str]) -> Iterator[Input]:
    """Write a state dict if PyTorch is installed; yield the model file again, for an export reads all its arrays."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return
    yield Input("model file's arrays", [model], to_pytorch, members=mutated_arrays(folder, digest=True))
    run(to_pytorch)
    path, target = folder / "state.pt", folder / OUTPUTS / "m.npz"
    shutil.move(to_pytorch[1], path)
    command = ["import-pytorch", str(path), "--dataset", "digits", "--model", str(target)]
    yield Input("state dict", [path], command, members=mutated_tensors(folder))


def prepared_sets(folder: Path, images: list[np.ndarray]) -> Iterator[Input]:
    """Prepare a data set with tensorflow-datasets, in both of its formats, and decode it into the cache."""
    import contextlib
    import struct

    import google_crc32c

    def framed(record: bytes) -> bytes:
        def masked(data: bytes) -> bytes:
            crc = google_crc32c.value(data)
            return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

        length = struct.pack("<Q", len(record))
        return length + masked(length) + record + masked(record)

    place = folder / "tfds" / "made" / "1.0.0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds

        kinds = tfds.features.FeaturesDict({"image": tfds.features.Tensor(shape=(6, 5, 1), dtype=np.uint8)})

        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
            name = "made"
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(builder=self, features=kinds, disable_shuffling=True)

            def _split_generators(self, _: Any) -> Any:
                examples = zip(("train", "test"), images, strict=True)
                return {name: enumerate({"image": image[..., None]} for image in part) for name, part in examples}

            def _generate_examples(self) -> None:
                pass

        sink = io.StringIO()
        with contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
            Builder(data_dir=str(folder / "tfds")).download_and_prepare(file_format="array_record")
        from array_record.python.array_record_data_source import ArrayRecordDataSource

    command = ["datasets", "check", "tfds:made"]
    yield Input("array_record", sorted(place.glob("*.array_record*")), command)
    for path in list(place.glob("*.array_record*")):
        records = ArrayRecordDataSource([str(path)])
        content = b"".join(map(framed, records.__getitems__(range(len(records)))))
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(content)
        path.unlink()
    about = place / "dataset_info.json"
    about.write_text(about.read_text().replace("array_record", "tfrecord"))
    yield Input("TFRecord", sorted(place.glob("*.tfrecord*")), command)
    yield Input("tfds' description", sorted(place.glob("*.json")), command, checked=False)
    run(command)
    entry = folder / "cache" / "datasets" / "tfds" / "made-1.0.0"  # a mutated description may have named others
    yield Input("decoded cache", sorted(entry.iterdir()), command)


def run(command: list[str]) -> Any:
    """Run a command line of jvae in this process, and return click's result."""
    from click.testing import CliRunner

    from jvae.cli.main import main

    return CliRunner().invoke(main, command)
