"""The manual in a browser, opened from disk: its search works, formulas are drawn, and nothing is requested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.browser


def build(pages, folder):
    """As `make docs` does: every warning is an error."""
    for name in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(name, reason="needs the extra [docs]")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-E", "-W", "--keep-going", "-q", pages, folder]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    opened.requested, opened.said = [], []
    opened.on("request", lambda request: opened.requested.append(request.url))
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    yield opened
    opened.close()


def from_elsewhere(page, site):
    return [url for url in page.requested if not url.startswith((site.as_uri(), "data:"))]


def test_no_page_requests_anything_or_complains(page, site):
    pages = sorted(site.glob("*.html")) + sorted((site / "measures").glob("*.html"))
    assert len(pages) > 25
    for file in pages:
        page.goto(file.as_uri(), wait_until="load")
        assert "icl-interp" in page.title()
    assert len(page.requested) > len(pages)
    assert from_elsewhere(page, site) == []
    assert page.said == []


def test_search_from_disk_finds_a_word(page, site):
    page.goto((site / "index.html").as_uri())
    page.locator("input[name=q]").first.fill("LEACE")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=LEACE*")
    page.get_by_role("link", name=re.compile("Interventions and erasure")).last.wait_for()
    assert "found" in page.locator(".search-summary").inner_text()
    assert from_elsewhere(page, site) == []
    assert page.said == []


def test_search_finds_a_public_name(page, site):
    page.goto(f"{(site / 'search.html').as_uri()}?q=spectral_signature")
    page.locator("ul.search a[href='api.html#icl_interp.spectral_signature']").first.wait_for()


def test_formulas_are_drawn_by_the_browser(page, site):
    page.goto((site / "measures" / "signature.html").as_uri())
    block = page.locator("math[display=block]").first
    size = block.bounding_box()
    assert size["width"] > 60
    assert size["height"] > 20
    assert page.locator("math mfrac").count() >= 1
    assert page.locator("article >> text=/\\\\frac|\\\\top/").count() == 0


def test_a_narrow_window_needs_no_sideways_scrolling(page, site):
    page.set_viewport_size({"width": 400, "height": 800})
    for name in ("index.html", "commands.html", "measures/signature.html", "measures.html"):
        page.goto((site / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name


def test_a_formula_that_cannot_be_drawn_and_a_link_to_nowhere_are_errors(tmp_path):
    (tmp_path / "conf.py").write_text(
        (ROOT / "docs" / "conf.py").read_text().replace("__file__", repr(str(ROOT / "docs" / "conf.py")))
    )
    (tmp_path / "index.md").write_text("# A page\n\n$\\nosuchcommand{x}$ and [nowhere](nowhere.md)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "this formula has no MathML" in done.stderr
    assert "nowhere.md" in done.stderr
