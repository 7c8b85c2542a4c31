"""Reports are written whole or not at all, and stay small."""

import os

import numpy as np
import plotly.graph_objects as go
import pytest

from icl_interp.figures.theme import base_layout, plotlyjs_source, role_style
from icl_interp.report import FigureView, Page, Section, write_report


def view(name: str, *, n_points: int, n_traces: int) -> FigureView:
    figure = go.Figure(layout=base_layout(x="examples", y="error"))
    for i in range(n_traces):
        line = role_style("model").line()
        figure.add_scatter(x=np.arange(n_points), y=np.random.default_rng(i).random(n_points), line=line)
    return FigureView(name, "Title", figure, "Finding.", "Chart.")


def test_plotlyjs_beside_the_page(tmp_path):
    write_report(Page("T"), tmp_path / "report.html", plotlyjs="directory")
    assert (tmp_path / "plotly.min.js").read_text(encoding="utf-8") == plotlyjs_source()
    assert 'src="plotly.min.js"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "report.html").stat().st_size < 100_000


def test_forty_figures_fit_the_budget(tmp_path):
    lines = [view(f"line-{i}", n_points=41, n_traces=6) for i in range(39)]
    cloud = view("cloud", n_points=2000, n_traces=1)
    path = write_report(Page("T", sections=(Section("s", "S", figures=(*lines, cloud)),)), tmp_path / "report.html")
    assert path.stat().st_size < 10e6
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_page_too_large_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"at most 25 MB, got 3\d\.\d MB; draw fewer points"):
        write_report(Page("T", subtitle="x" * 26_000_000), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_report(Page("old"), tmp_path / "report.html")
    before = path.read_text()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(Page("T"), path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_replaces_and_returns_the_path(tmp_path):
    path = write_report(Page("old"), tmp_path / "report.html")
    assert write_report(Page("New title"), str(path)) == path
    assert "New title" in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["report.html", "plotly.min.js"])
@pytest.mark.parametrize("content", [b"", b"<html>mine</html>"], ids=["empty", "foreign"])
def test_a_foreign_file_is_never_written_over(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"written over nothing but .*{name}, which holds something else; choose"):
        write_report(Page("T"), tmp_path / "report.html", plotlyjs="directory")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_plotlyjs_stays_beside_a_second_page(tmp_path):
    for title in ("one", "two"):
        write_report(Page(title), tmp_path / "report.html", plotlyjs="directory")
    assert "two" in (tmp_path / "report.html").read_text(encoding="utf-8")
