"""The commands of the READMEs: `python tests/readme.py` prints the main README's as a script, verbatim."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "jvae/README.md", "experiments/README.md", "tests/README.md")
OF_ENVIRONMENTS = ("python3 -m venv", ". .venv/bin/activate", "pip install", "pytest")
"""How the commands begin that make an environment, and test in it: `.ci/run` has its own."""


def text_of(name: str) -> str:
    """Return the text of a README."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return a Markdown text's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the commands of a text's `sh` blocks, one by one; what `&&` joins are several."""
    joined = "\n".join(blocks(text, "sh")).replace("&&\n", "&& ")
    return [command.strip() for line in joined.splitlines() for command in line.split("&&") if command.strip()]


def tour(text: str) -> str:
    """Return a script of a text's commands in their order, before which its files are written.

    A Python block whose first line is a comment with a file's name is that file. Commands of environments are left out.
    """
    named = [(block.splitlines()[0].removeprefix("# "), block) for block in blocks(text, "python")]
    files = [f"cat > {shlex.quote(name)} <<'PY'\n{block}PY" for name, block in named if name.endswith(".py")]
    return "\n".join([*files, *(line for line in commands(text) if not line.startswith(OF_ENVIRONMENTS))])


if __name__ == "__main__":
    print(tour(text_of("README.md")))
