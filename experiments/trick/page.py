"""The page of the trick, put together: `trick.html` and the files it names, with the explorer's colours and type."""

from importlib.resources import files

from jvae.view.one_page import one_page

NAME = "trick.html"
SHARED = "base.css"
"""What the page calls the style that it shares with the latent explorer: all that stands before its layout."""


def trick_page() -> str:
    """Return the page, HTML; it depends on nothing that is measured."""
    return one_page(NAME, read)


def read(name: str) -> str:
    """Return the text of one of the page's files."""
    if name == SHARED:
        style = (files("jvae.view") / "page" / "explorer.css").read_text(encoding="utf-8")
        return style.partition("\nmain {")[0] + "\n"
    return (files("experiments.trick") / name).read_text(encoding="utf-8")
