"""Markdown to one self-contained HTML page: embedded pictures, formulas as MathML, no requests."""

import base64
import re
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FIGURE_DPI, SCREEN_DPI = 150, 110
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def to_html(markdown: str, title: str, folder: Path) -> str:
    """Return the whole page.

    Args:
        markdown: CommonMark with tables, $formulas$ and details elements.
        title: the page's title.
        folder: the folder that the pictures' names are relative to.
    """
    body = parser(folder).render(markdown)
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def check_markdown() -> None:
    """Raise a JvaeError unless the packages that turn Markdown into a page are installed."""
    from jvae.errors import JvaeError

    missing = [name for name in ("markdown_it", "mdit_py_plugins", "latex2mathml") if find_spec(name) is None]
    if missing:
        raise JvaeError(f"a page needs {', '.join(missing)}: pip install 'jvae[report]'")


def parser(folder: Path) -> Any:
    """Return the Markdown parser with its renderer."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.anchors import anchors_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    md = MarkdownIt("commonmark", {"html": True}).enable("table")
    md.use(anchors_plugin, max_level=3)
    md.use(dollarmath_plugin, renderer=formula, double_inline=True)

    def image(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        return picture(folder / tokens[index].attrs["src"], tokens[index].content)

    md.add_render_rule("image", image)
    md.add_render_rule("table_open", lambda self, *_: '<div class="wide" tabindex="0"><table>\n')
    md.add_render_rule("table_close", lambda self, *_: "</table></div>\n")
    return md


def formula(text: str, options: dict[str, Any]) -> str:
    """Return a formula in LaTeX as MathML."""
    from latex2mathml.converter import convert

    return convert(text, display="block" if options["display_mode"] else "inline")


def picture(path: Path, caption: str) -> str:
    """Return a PNG as an embedded image, at its size in inches, with its caption."""
    data, caption = path.read_bytes(), escape(caption)
    width = round(
        int.from_bytes(data[16:20], "big") * SCREEN_DPI / FIGURE_DPI
    )  # PNG's header has the width in pixels there
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" width="{width}" alt="{caption}"><span class="caption">{caption}</span>'


def pictures_in(markdown: str) -> list[str]:
    """Return the names of the pictures that a text shows."""
    return re.findall(r"^!\[.*?\]\((.*?)\)$", markdown, flags=re.MULTILINE | re.DOTALL)


def without_pictures(markdown: str) -> str:
    """Return Markdown without its pictures, for a terminal."""
    return re.sub(r"\n*^!\[.*?\]\(.*?\)$", "", markdown, flags=re.MULTILINE | re.DOTALL)
