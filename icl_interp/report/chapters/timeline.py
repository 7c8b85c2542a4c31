"""The last chapter: how the model came to be what it is, from the checkpoints of its run, or of several runs."""

from collections.abc import Mapping

from icl_interp.measure.development_plots import needs
from icl_interp.measure.development_result import Development, Panel
from icl_interp.report.chapters.timeline_inside import inside_part
from icl_interp.report.chapters.timeline_sentences import SENTENCES, lead_text
from icl_interp.report.chapters.timeline_tables import llc_table, runs_table
from icl_interp.report.model import FigureView, Section

__all__ = ["timeline_chapter"]

_TITLES: Mapping[Panel, str] = {
    "loss": "Loss over training",
    "distance": "Distance from the reference predictors over training",
    "icl": "How much examples help over training",
    "signature": "The spectral signature over training",
    "trajectory": "Joint trajectory of the predictions",
    "complexity": "Loss against complexity",
    "diversity": "Distance from dMMSE against distance from ridge",
}


def timeline_chapter(found: Development) -> Section:
    """Write the chapter.

    Args:
        found: One run or several.

    Returns:
        Curves over steps, trajectories, and the runs side by side; the inside of the network folded.
    """
    figures = tuple(_view(found, panel) for panel in _TITLES if needs(found, panel) is None)
    tables = [runs_table(found)]
    if any(run.llc for run in found.runs):
        tables.append(llc_table(found))
    return Section(
        id="timeline",
        title="How it developed",
        lead=lead_text(found),
        figures=figures,
        tables=tuple(tables),
        parts=(inside_part(found),),
    )


def _view(found: Development, panel: Panel) -> FigureView:
    title = _TITLES[panel]
    sentence = SENTENCES[panel](found)
    tall = panel in {"trajectory", "complexity", "diversity"}
    return FigureView(
        id=f"timeline-{panel}",
        title=title,
        figure=found.plot(panel),
        sentence=sentence,
        aria_label=f"{'Paths in a plane' if tall else 'Line chart over training steps'}: {title.lower()}. {sentence}",
        height=520 if tall else 400,
    )
