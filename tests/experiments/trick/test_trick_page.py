"""The trick's page, read without a browser, and the command that writes it."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from experiments.__main__ import experiments
from experiments.trick.page import NAME, SHARED, read, trick_page


def write(*arguments):
    return CliRunner().invoke(experiments, ["reparametrisation", "--page", *map(str, arguments)])


def test_the_page_is_self_contained_and_makes_no_requests():
    page = trick_page()
    assert "default-src 'none'" in page
    assert page.count("<style>") == 2
    assert not re.findall(r"<(?:script|link|img)[^>]*\b(?:src|href)=\"(?!data:)[^\"]*", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "function estimates(" in page
    assert len(page.encode()) < 100_000


def test_the_shared_style_has_no_layout():
    assert "body {" in read(SHARED)
    assert not re.search(r"^(main|#[\w-]+|figure)\b", read(SHARED), re.MULTILINE)


def test_every_colour_of_the_page_is_defined_in_both_schemes():
    """Including those shared with the explorer."""
    style = read(SHARED) + read("trick.css")
    used = set(re.findall(r"var\(--([\w-]+)\)", style)) - {"own"}
    assert {"paper", "ink", "pathwise", "score"} <= used
    for name in used:
        assert len(re.findall(rf"--{name}:", style)) == 2, name


def test_the_command_writes_it_without_jax(tmp_path):
    """To a folder that it creates, and to the current one."""
    code = (
        "import atexit, sys, runpy; sys.argv = ['experiments', 'reparametrisation', '--page']\n"
        "atexit.register(lambda: print([m for m in ('jax', 'flax', 'matplotlib') if m in sys.modules]))\n"
        "runpy.run_module('experiments', run_name='__main__', alter_sys=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / NAME).read_text(encoding="utf-8") == trick_page()
    folder = tmp_path / "new" / "report"
    result = write("--output", folder)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"wrote {folder / NAME}: ")
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "words", [["--latent-dim", "3"], ["--quick"], ["--dataset", "digits"], ["--repeats", "5"], ["--no-compile-cache"]]
)
def test_an_option_that_says_what_to_measure_is_refused(tmp_path, words):
    result = write("--output", tmp_path, *words)
    assert result.exit_code == 2
    assert " cannot be used with --page" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / NAME).mkdir()
    result = write("--output", tmp_path)
    assert result.exit_code == 1
    assert str(tmp_path / NAME) in result.output
