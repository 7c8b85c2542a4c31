"""Figures in a notebook, with and without the package that plotly asks for there."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from icl_interp import figures
from icl_interp.figures.figure import Figure


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook is given to display."""
    found: list[str] = []
    notebook: Any = ModuleType("IPython")
    notebook.__spec__ = importlib.machinery.ModuleSpec("IPython", None)
    notebook.get_ipython = object
    notebook.display = ModuleType("IPython.display")
    notebook.display.HTML, notebook.display.display = str, found.append
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "nbformat" else real(name, *more)
    )
    return found


@pytest.mark.parametrize("way", ["show", "_ipython_display_"])
def test_a_figure_needs_no_nbformat(shown: list[str], way: str) -> None:
    getattr(Figure(), way)()
    (html,) = shown
    assert "cdn.plot.ly" in html


def test_plotly_does_it_where_nbformat_is(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setattr("plotly.io.show", lambda figure: shown.append(type(figure).__name__))
    Figure()._ipython_display_()
    assert shown == ["Figure"]


def test_every_figure_is_of_this_kind() -> None:
    (root,) = figures.__path__
    makers = [path.name for path in Path(root).glob("*.py") if "go.Figure(" in path.read_text(encoding="utf-8")]
    assert makers == []
