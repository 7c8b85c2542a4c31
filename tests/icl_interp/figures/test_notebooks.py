"""Figures and bars in a notebook, with and without the packages that plotly asks for there."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import plotly.io as pio
import pytest

import icl_interp as icl
from icl_interp import figures, notebooks
from icl_interp.figures.figure import Figure
from icl_interp.measure.verdicts import Excess
from icl_interp.notebooks import notebook_bar
from icl_interp.training.configs import load_config

PLOTLY = "application/vnd.plotly.v1+json"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a notebook is given to display, in the order of time."""
    found: list[dict[str, Any]] = []
    notebook: Any = ModuleType("IPython")
    notebook.__spec__ = importlib.machinery.ModuleSpec("IPython", None)
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())

    def display(bundle: dict[str, Any], *, raw: bool, display_id: bool = False) -> Any:
        assert raw
        found.append(bundle)
        return SimpleNamespace(update=display) if display_id else None

    notebook.display = SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    monkeypatch.setattr(notebooks, "_SECONDS", 0.0)
    return found


@pytest.fixture
def without_nbformat(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "nbformat" else real(name, *more)
    )


@pytest.mark.parametrize("way", ["show", "_ipython_display_"])
def test_a_figure_comes_as_data_and_as_html(shown: list[dict[str, Any]], way: str) -> None:
    # JupyterLab and VS Code draw the data. Pages that nbconvert makes need the HTML.
    getattr(Figure(), way)()
    (bundle,) = shown
    assert set(bundle) == {PLOTLY, "text/html"}
    assert "cdn.plot.ly" in bundle["text/html"]


@pytest.mark.usefixtures("without_nbformat")
def test_a_figure_needs_no_nbformat(shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pio.renderers, "default", "notebook_connected")
    Figure()._ipython_display_()
    assert len(shown) == 1


@pytest.mark.parametrize("chosen", ["browser", "svg"])
def test_another_way_to_show_figures_is_respected(
    shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    asked = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setattr(pio, "show", lambda figure, *_: asked.append(type(figure).__name__))
    monkeypatch.setattr(pio.renderers, "default", chosen)
    Figure().show()
    assert (asked, shown) == (["Figure"], [])


def test_every_figure_is_of_this_kind() -> None:
    (root,) = figures.__path__
    makers = [path.name for path in Path(root).glob("*.py") if "go.Figure(" in path.read_text(encoding="utf-8")]
    assert makers == []


def test_a_training_shows_a_bar_that_goes(shown: list[dict[str, Any]]) -> None:
    config = load_config("sparse", ["steps=4", "batch_size=2", "model.d_model=8", "model.n_layers=1", "warmup=0"])
    result = icl.train(config)
    texts = [bundle["text/plain"] for bundle in shown]
    assert texts[0] == "training: 0 %"
    assert texts[-2].startswith("training: 100 %, about 0 s left (loss ")
    assert shown[-1] == {"text/plain": "", "text/html": ""}
    assert '<progress style="width:12em" max="1" value="0.500">' in shown[2]["text/html"]
    assert result.to_frame()["loss"].tolist() == [record.loss for record in result.history]
    assert result.to_dict()["history"][0]["step"] == 1
    assert list(result._repr_mimebundle_()) == ["text/plain", PLOTLY, "text/html"]
    assert list(result.plot().data[0].y) == result.to_frame()["loss"].tolist()


def test_a_bar_goes_when_the_work_fails_and_is_nowhere_else(shown: list[dict[str, Any]]) -> None:
    def fail() -> None:
        with notebook_bar("studying <it>", 2) as bar:
            assert bar is not None
            bar(1, "a & b")
            raise ValueError("work")

    with pytest.raises(ValueError, match="work"):
        fail()
    assert shown[-1]["text/html"] == ""
    assert "studying &lt;it&gt;: 50 %, about 0 s left (a &amp; b)" in shown[1]["text/html"]
    del sys.modules["IPython"]
    with notebook_bar("studying", 2) as bar:
        assert bar is None


def test_a_study_is_shown_as_its_claims(small_study: Any) -> None:
    bundle = small_study._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    table = small_study.to_frame()
    assert table["claim"].tolist() == list(small_study.verdicts)
    assert all(f"<td>{claim}</td>" in bundle["text/html"] for claim in table["claim"])
    drawn = small_study.plot().data[0]
    judged = {name: found for name, found in small_study.verdicts.items() if isinstance(found, Excess)}
    assert [judged[name].excess for name in drawn.y] == pytest.approx(list(drawn.x))
    assert set(small_study.to_dict()) == {"config", "task", "claims", "results", "absent"}
