"""Markdown -> one self-contained HTML page: pictures inside, formulas as MathML, no request to anywhere."""

import base64
import re
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5b6475; --paper: #ffffff; --panel: #f4f6f9; --line: #d5dae2;
  --link: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --soft: #a3acba; --paper: #14171c; --panel: #1e232b;
  --line: #39414d; --link: #8ab8f5; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: clamp(1.6rem, 5vw, 2.2rem); line-height: 1.2; }
h2 { margin-top: 3.5rem; padding-top: .8rem; border-top: 2px solid var(--line); line-height: 1.25; }
h3, h4, h5 { margin-top: 2rem; line-height: 1.3; }
h2, h3, h4, h5 { scroll-margin-top: .5rem; }
a { color: var(--link); }
p, li { max-width: 46rem; }
p:has(img) { max-width: none; margin: 1.5rem 0; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background: var(--panel);
  padding: .1em .3em; border-radius: 4px; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: 8px; overflow-x: auto; }
pre code { padding: 0; background: none; }
.wide { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 8px; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
[style*="right"] { white-space: nowrap; }
td:first-child { min-width: 9rem; }
td + td:not([style*="right"]) { min-width: 9rem; }
th { background: var(--panel); }
tr:last-child td { border-bottom: 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; padding: 6px; border-radius: 8px;
  border: 1px solid var(--line); }
.caption { display: block; color: var(--soft); font-size: .92rem; margin-top: .4rem; max-width: 46rem; }
blockquote { margin: 1rem 0; padding: .1rem 1rem; border-left: 4px solid var(--link); background: var(--panel); }
details { margin: 1.5rem 0; padding: .6rem 1rem; border: 1px solid var(--line); border-radius: 8px; }
summary { cursor: pointer; font-weight: 600; }
.math.block { overflow-x: auto; overflow-y: hidden; padding: .3rem 0; }
math { font-size: 1.08em; }
@media (max-width: 40rem) { main { padding: .5rem 1rem 3rem; } table { font-size: .86rem; }
  th, td { padding: .4rem .5rem; } td:first-child { min-width: 5.5rem; }
  td + td:not([style*="right"]) { min-width: 11rem; } }
@media print { details { border: 0; } .wide { overflow: visible; } }
"""

FIGURE_DPI, SCREEN_DPI = 150, 110
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def to_html(markdown: str, title: str, folder: Path) -> str:
    """The whole page.

    Args:
        markdown: CommonMark with tables, $formulas$ and details elements.
        title: of the page.
        folder: which the pictures' names are relative to.
    """
    body = parser(folder).render(markdown)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def parser(folder: Path) -> Any:
    """The Markdown parser with its renderer."""
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
    """A formula in LaTeX as MathML."""
    from latex2mathml.converter import convert

    return convert(text, display="block" if options["display_mode"] else "inline")


def picture(path: Path, caption: str) -> str:
    """A PNG with its bytes in the page, as wide as its inches ask for, and its caption."""
    data, caption = path.read_bytes(), escape(caption)
    width = round(int.from_bytes(data[16:20], "big") * SCREEN_DPI / FIGURE_DPI)  # PNG's header has the pixels there
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" width="{width}" alt="{caption}"><span class="caption">{caption}</span>'


def pictures_in(markdown: str) -> list[str]:
    """The names of the pictures that a text shows."""
    return re.findall(r"^!\[.*?\]\((.*?)\)$", markdown, flags=re.MULTILINE | re.DOTALL)


def without_pictures(markdown: str) -> str:
    """Markdown for a terminal."""
    return re.sub(r"\n*^!\[.*?\]\(.*?\)$", "", markdown, flags=re.MULTILINE | re.DOTALL)
