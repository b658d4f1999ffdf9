"""Assembly of a page's files into one self-contained HTML file."""

import re
from collections.abc import Callable


def one_page(name: str, read: Callable[[str], str]) -> str:
    """Return a page with its style sheets and scripts inserted at their references.

    Args:
        name: the name of the page's HTML file.
        read: a function from a file's name to its text.
    """
    page = re.sub(r'<link rel="stylesheet" href="([\w.]+)">', lambda m: f"<style>\n{read(m[1])}</style>", read(name))
    return re.sub(r'<script src="([\w.]+)"></script>', lambda m: f"<script>\n{read(m[1])}</script>", page)
