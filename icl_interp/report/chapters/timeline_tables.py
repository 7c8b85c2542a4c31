"""The tables of the timeline: runs, learning coefficients, checkpoints."""

import math

from icl_interp.measure.development_result import Development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.tables import Cell, TableView

__all__ = ["checkpoints_table", "llc_table", "runs_table"]


def runs_table(found: Development) -> TableView:
    """Lay the runs out, one a row.

    Args:
        found: The analysis.

    Returns:
        What each run's curves say.
    """
    rows: list[tuple[Cell, ...]] = []
    for run in found.runs:
        own, ridge = (None if d is None else float(d[-1]) for d in found.endpoints(run, unit="per_label"))
        stages = "" if run.stages is None else ", ".join(f"{float(step):.0f}" for step in run.stages.boundaries)
        kinds = "" if run.stages is None else "".join(stage.kind for stage in run.stages.stages)
        rows.append((
            run.name, len(run.records), run.steps[-1], float(run.losses()[-1]), run.t_crit, run.transience, own, ridge,
            stages or "none", kinds,
        ))  # fmt: skip
    return TableView(
        columns=(
            "run", "checkpoints", "last step", "loss", "t_crit", "transience", "to dMMSE", "to ridge",
            "stages meet at", "kinds",
        ),
        rows=tuple(rows),
        caption="Runs",
        notes="t_crit: step of the smallest loss on standard normal weights; transience: that loss at the end minus "
        "its smallest value, squared units of y. Distances in distribution at the last checkpoint, in E[y²]. Kinds: A "
        "where the curve rises, B where it falls.",
        align=("left", "right", "right", "right", "right", "right", "right", "right", "left", "left"),
    )  # fmt: skip


def llc_table(found: Development) -> TableView:
    """Lay the learning coefficients out.

    Args:
        found: The analysis.

    Returns:
        Estimate, error and warnings of each.
    """
    rows = [
        (
            run.name,
            r.step,
            r.loss,
            r.estimate,
            r.standard_error,
            r.top_eigenvalue,
            ", ".join(name.replace("_", " ") for name in r.flags) or "none",
        )
        for run in found.runs
        for r in run.llc
    ]
    settings = "" if found.llc_settings is None else found.llc_settings.describe()
    return TableView(
        columns=("run", "step", "loss", "learning coefficient", "error", "top eigenvalue", "warnings"),
        rows=tuple(rows),
        caption="Local learning coefficients",
        notes=f"{settings}. Of the loss as it is, so values compare with one another and not with log-likelihood ones. "
        "The JSON says what stands behind each warning, and what to do.",
        align=("left", "right", "right", "right", "right", "right", "left"),
    )


def checkpoints_table(found: Development) -> TableView:
    """Lay the checkpoints out, one a row.

    Args:
        found: The analysis.

    Returns:
        The columns of `Development.to_frame`.
    """
    frame = found.to_frame()
    rows = tuple(tuple(_cell(value) for value in row) for row in frame.itertuples(index=False))
    return TableView(
        columns=tuple(str(column) for column in frame.columns),
        rows=rows,
        caption="Checkpoints",
        notes=f"Losses are mean squared errors; distances are {IN_DISTRIBUTION}, squared units of y; r2 is that of the "
        "reference that is read best at the site.",
    )


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return value
    if value is None or not isinstance(value, int | float):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value
