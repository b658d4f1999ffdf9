"""A page written by hand in several files -> one HTML file that needs nothing else."""

import re
from collections.abc import Callable


def one_page(name: str, read: Callable[[str], str]) -> str:
    """Return a page with its style sheets and scripts inside it, each in the place that names it.

    Args:
        name: of the page's own file.
        read: returns the text of a file of that name.
    """
    page = re.sub(r'<link rel="stylesheet" href="([\w.]+)">', lambda m: f"<style>\n{read(m[1])}</style>", read(name))
    return re.sub(r'<script src="([\w.]+)"></script>', lambda m: f"<script>\n{read(m[1])}</script>", page)
