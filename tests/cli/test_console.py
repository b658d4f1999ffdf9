"""Parts that the commands share: data that have moved, and what is told beside results."""

import click
import pytest

from jvae.cli.console import moved, write_figure
from jvae.cli.paths import TAKES_STDOUT
from jvae.runs.config import Config


def test_data_that_moved_are_read_as_before_where_their_new_place_allows_it():
    own = Config(dataset="npy:old.npy", test_share=0.1)
    assert moved(own, {"dataset": "npy:new.npy"}) == Config(dataset="npy:new.npy", test_share=0.1)
    assert moved(own, {"dataset": "idx:folder"}) == Config(dataset="idx:folder")
    assert moved(Config(), {"dataset": "npy:new.npy", "test_share": 0.2}).test_share == 0.2
    with pytest.raises(ValueError, match=r"test_share is 0\.1"):
        moved(Config(), {"test_share": 0.1})


def test_a_picture_is_not_reported_among_results_on_stdout(tmp_path, capsys):
    with click.Context(click.Command("benchmark")) as context:
        context.meta[TAKES_STDOUT] = True
        write_figure(b"picture", tmp_path / "roofline.png")
    assert capsys.readouterr() == ("", f"wrote {tmp_path / 'roofline.png'}\n")
