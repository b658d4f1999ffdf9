"""Fixtures for pages in headless Chromium; each conftest.py that needs them imports them."""

import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def chromium():
    """Start a browser: the system's, or else the one that Playwright has installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
    )
    with playwright.sync_playwright() as driver:
        path = next(filter(None, map(shutil.which, NAMES)), driver.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip("there is no Chromium here")
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path):
    """Return a function that opens a page offline; at the end, assert that it made no requests and logged nothing."""
    contexts, asked, complaints = [], [], []

    def open_page(content: str, **options):
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(content, encoding="utf-8")
        context = chromium.new_context(offline=True, **{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [
        (tmp_path / f"page-{i}.html").as_uri() for i in range(len(contexts))
    ]


def frame(page) -> None:
    """Wait until the next frame is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
