"""PyTorch's files: a state dict is found in them, and no code in them is run."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from jvae.errors import ModelFileError
from jvae.runs.checkpoint import load
from jvae.tools.state_dict import load_state_dict, save_state_dict

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


@pytest.fixture
def tensors():
    return OrderedDict({"encoder.a.weight": torch.arange(6.0).reshape(2, 3), "decoder.std": torch.tensor(0.5)})


def assert_is(tensors, weights):
    assert list(weights) == list(tensors)
    for name, array in weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, tensors[name].numpy())


def test_there_and_back(path, tensors):
    save_state_dict(path, {name: tensor.numpy() for name, tensor in tensors.items()})
    assert_is(tensors, load_state_dict(path))
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    assert_is(tensors, load_state_dict(path))


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model"])
def test_a_checkpoint_gives_the_state_dict_in_it(path, tensors, key):
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}
    torch.save({"epoch": 3, key: tensors, "optimizer_state_dict": optimizer}, path)
    said = []
    assert_is(tensors, load_state_dict(path, said.append))
    (line,) = said
    assert all(word in line for word in (key, "epoch", "optimizer_state_dict"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model.", "module.model."])
def test_what_wraps_a_model_is_left_out_of_the_names(path, tensors, prefix):
    torch.save({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, path)
    said = []
    assert_is(tensors, load_state_dict(path, said.append))
    assert all(word in said[0] for word in prefix.split(".") if word)


def test_parts_may_be_wrapped_alone(path, tensors):
    names = ("encoder._orig_mod.a.weight", "decoder.std")
    torch.save(dict(zip(names, tensors.values(), strict=True)), path)
    assert_is(tensors, load_state_dict(path))


class Trap:
    def __reduce__(self):
        return (exec, ("open('trapped', 'w')",))


class Module(torch.nn.Module):
    pass


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Trap(), "pickled exec"),
        ({"x": Trap()}, "pickled exec"),
        (Module(), r"pickled .*Module, which is not opened; torch.save\(model.state_dict\(\)"),
        ([torch.zeros(2)], "a list"),
        (torch.zeros(2), "a Tensor"),
        ({}, "it is empty"),
        ({"x": 3}, "x is a int"),
        ({"encoder.x": torch.zeros(2), "epoch": 3}, "encoder.x is a Tensor, epoch is a int"),
        ({"ema": {"a": torch.zeros(2)}, "model": {"a": torch.zeros(2)}}, "several state dicts, ema, model"),
        ({"x": torch.tensor([float("nan")])}, "x holds numbers that are not finite"),
        ({"x": torch.tensor([1e300], dtype=torch.float64)}, "x holds numbers that are not finite"),
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "x is torch.complex64"),
        ({"x": torch.eye(2).to_sparse()}, "x is torch.float32 of another kind"),
        ({"x": torch.zeros(1).expand(10**12)}, "more numbers than the file holds"),
        ({"a": torch.zeros(1), "module.a": torch.zeros(1)}, "names that are equal without module"),
    ],
)
def test_anything_else_is_one_line_and_nothing_is_run(path, content, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, path)
    with pytest.raises(ModelFileError, match=said) as caught:
        load_state_dict(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trapped").exists()


def zipped(name: str) -> bytes:
    """Return a zip archive with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "{}")
    return buffer.getvalue()


def test_files_that_are_none(path, tensors):
    torch.save(tensors, path)
    content = path.read_bytes()
    at = content.index(tensors["encoder.a.weight"].numpy().tobytes())
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    for wrong, said in (
        (b"", "is empty: a state dict is expected; torch.save"),
        (b"hello", "is not a PyTorch file: a state dict is expected; torch.save"),
        (zipped("model.json"), "is a jvae model file, not a state dict: the other commands read it, with --model"),
        (zipped("x.npy"), "is a zip archive, but not PyTorch's: a state dict is expected; torch.save"),
        (zipped("x/constants.pkl"), "is a TorchScript program: a state dict is expected; torch.save"),
        (pickle.dumps({"x": 1}), "its pickle is not PyTorch's, or not of protocol 2; torch.save"),
        (path.read_bytes()[:-3], "is not a state dict: unexpected EOF, "),
        (content[:-30], "is damaged: its end is missing"),
        (content[: at + 5] + bytes([content[at + 5] ^ 1]) + content[at + 6 :], "is damaged: the checksum of "),
    ):
        path.write_bytes(wrong)
        with pytest.raises(ModelFileError) as caught:
            load_state_dict(path)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    with pytest.raises(
        ModelFileError, match="is a PyTorch file, not a jvae model file: `jvae import-pytorch` may make one"
    ):
        load(path)
    path.unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_state_dict(path)
