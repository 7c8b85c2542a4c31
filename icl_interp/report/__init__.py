"""Results in, one self-contained page out; this room knows nothing of what the numbers mean."""

from icl_interp.report.model import Fact, FigureGrid, FigureView, HasJSON, Page, Section, Tone, Verdict
from icl_interp.report.page import PlotlyJS, render, write_report
from icl_interp.report.tables import Cell, TableView

__all__ = [
    "Cell", "Fact", "FigureGrid", "FigureView", "HasJSON", "Page", "PlotlyJS", "Section", "TableView", "Tone",
    "Verdict", "render", "write_report",
]  # fmt: skip
