"""Markdown becomes one self-contained page."""

import re

import pytest

from experiments.everything import PARTS
from experiments.reporting import page
from experiments.reporting.findings import Findings
from experiments.reporting.page import to_html
from experiments.reporting.report import derivation, report_text
from jvae.errors import JvaeError


def test_formulas_pictures_and_tables_stand_in_the_page(tmp_path):
    from PIL import Image

    Image.new("RGB", (300, 100)).save(tmp_path / "p.png")
    text = "# T\n\n$a^2$ and\n\n$$\\log p(x) \\ge b$$\n\n| a | b |\n|---|---:|\n| 1 | 2 |\n\n![c & d](p.png)\n"
    html = to_html(text, "a < b", tmp_path)
    assert html.count("<math") == 2
    assert 'display="block"' in html
    assert '<div class="wide" tabindex="0"><table>' in html
    assert 'width="220" alt="c &amp; d"' in html
    assert "<title>a &lt; b</title>" in html
    assert "default-src 'none'" in html


@pytest.mark.parametrize("part", [part for part in PARTS if part.derivation], ids=lambda part: part.name)
def test_derivations_are_rendered_to_the_last_formula(part, tmp_path):
    html = to_html(derivation(part.derivation), part.title, tmp_path)
    assert "$" not in re.sub(r"<code.*?</code>|<annotation.*?</annotation>", "", html, flags=re.DOTALL)


def test_every_link_of_the_report_leads_somewhere(tmp_path):
    text = report_text({part: Findings({}, {}, 0.0, {}, skipped="not now") for part in PARTS}, "command")
    html = to_html(text, "T", tmp_path)
    links = re.findall(r'href="#([^"]+)"', html)
    assert len(links) == 1 + len(PARTS)  # and the glossary
    assert all(f'id="{link}"' in html for link in links)


def test_a_page_without_its_libraries_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == "latex2mathml" else object())
    with pytest.raises(JvaeError, match=r"needs latex2mathml: pip install 'jvae\[report\]'"):
        page.check_markdown()
