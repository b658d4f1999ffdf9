"""Parts that the commands share: data that have moved, and what is told beside results."""

import click
import pytest
from helpers import random_model

from jvae.cli.console import moved, open_data_of, write_figure
from jvae.cli.paths import TAKES_STDOUT
from jvae.data.dataset import draw_test_set
from jvae.errors import DataError
from jvae.runs.config import Config


def test_data_that_moved_are_read_as_before_where_their_new_place_allows_it():
    own = Config(dataset="npy:old.npy", test_share=0.1)
    assert moved(own, {"dataset": "npy:new.npy"}) == Config(dataset="npy:new.npy", test_share=0.1)
    assert moved(own, {"dataset": "idx:folder"}) == Config(dataset="idx:folder")
    assert moved(Config(), {"dataset": "npy:new.npy", "test_share": 0.2}).test_share == 0.2
    with pytest.raises(ValueError, match=r"test_share is 0\.1"):
        moved(Config(), {"test_share": 0.1})
    pictures = Config(dataset="folder:old", test_share=0.1, resize="8x8")
    assert moved(pictures, {"dataset": "npy:new.npy"}) == Config(dataset="npy:new.npy", test_share=0.1)
    assert moved(pictures, {"resize": "9x9"}) == Config(dataset="folder:old", test_share=0.1, resize="9x9")
    for transposed in ({"transpose": True}, {"dataset": "npy:new.npy", "transpose": True}):
        with pytest.raises(ValueError, match="transpose is True"):
            moved(pictures, transposed)


def test_a_picture_is_not_reported_among_results_on_stdout(tmp_path, capsys):
    with click.Context(click.Command("benchmark")) as context:
        context.meta[TAKES_STDOUT] = True
        write_figure(b"picture", tmp_path / "roofline.png")
    assert capsys.readouterr() == ("", f"wrote {tmp_path / 'roofline.png'}\n")


def test_a_model_from_python_finds_its_drawn_test_set_again(digits):
    drawn = draw_test_set(digits)
    model = random_model(Config(dataset="digits", latent_dim=2, hidden=(4,)), drawn)._replace(config=None)
    assert open_data_of(model, {"binarise": "stochastic"}, None).fingerprint == drawn.fingerprint
    with pytest.raises(DataError, match="not the data set that the model was trained on"):
        open_data_of(model, {}, None)
