"""The page of the trick: `trick.html` joined with the files it names, in the explorer's colours and type."""

from importlib.resources import files

from jvae.view.one_page import one_page

NAME = "trick.html"
SHARED = "base.css"
"""The style that it shares with the latent explorer."""


def trick_page() -> str:
    """Return the page, HTML; it depends on nothing that is measured."""
    return one_page(NAME, read)


def read(name: str) -> str:
    """Return the text of one of the page's files."""
    folder = files("jvae.view") / "page" if name == SHARED else files("experiments.trick")
    return (folder / name).read_text(encoding="utf-8")
