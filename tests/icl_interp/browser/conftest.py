"""A real browser: the chromium on PATH, started once; every page must be silent and ask nobody for anything."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import large_page, small_page

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.study.result import Study
from icl_interp.provenance import provenance
from icl_interp.report import write_report
from icl_interp.report.assemble import build_page

collect_ignore = ["conftest.py"]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
Opens = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs the extra [browser]: `make test-browser` installs it"
    )
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser on PATH: one of {', '.join(_NAMES)}")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # chromium refuses to sandbox what root starts
    with playwright.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=found, args=sandbox)
        yield started
        started.close()


@pytest.fixture(scope="session")
def tab(browser: Any) -> Any:
    """One tab for all tests of reports: a new one costs more than most of them."""
    page = browser.new_page()
    page.set_default_timeout(120_000)  # a machine may be busy; nothing waits that long on one that is not
    return page


@pytest.fixture
def opens(tab: Any) -> Iterator[Opens]:
    """Open a file, with a part of its address behind it; what it says or asks for fails the test in the end."""
    heard: list[str] = []
    files: set[str] = set()
    listeners = {
        "console": lambda message: heard.append(f"console: {message.text}"),
        "pageerror": lambda error: heard.append(f"error: {error}"),
        "request": lambda request: request.url in files or heard.append(request.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)

    def opened(path: Path, tail: str = "", *, color_scheme: str = "light") -> Any:
        tab.goto("about:blank")  # else another tail would not load it again
        files.add(path.as_uri())
        tab.set_viewport_size({"width": 1400, "height": 900})
        tab.emulate_media(color_scheme=color_scheme)
        tab.goto(f"{path.as_uri()}{tail}")
        return tab

    files.add("about:blank")
    yield opened
    tab.evaluate("try { localStorage.clear(); } catch { /* about:blank has none */ }")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert heard == []


@pytest.fixture(scope="session")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(small_page(), tmp_path_factory.mktemp("small") / "small.html")


@pytest.fixture(scope="session")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(large_page(), tmp_path_factory.mktemp("large") / "large.html")


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory, small_study: Study, small_checkpoint: Checkpoint) -> Path:
    page = build_page(small_study, small_checkpoint, provenance())
    return write_report(page, tmp_path_factory.mktemp("study") / "study.html")
