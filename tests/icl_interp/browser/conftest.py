"""A real browser: the chromium on PATH, started once."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra [browser]")
    if (found := shutil.which("chromium")) is None:
        pytest.skip("needs a chromium on PATH")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=found, args=sandbox)
        yield started
        started.close()
