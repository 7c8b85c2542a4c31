"""Chapter 2: where the predictions of known algorithms can be read off the residual stream."""

from icl_interp.measure.controls import Excess
from icl_interp.measure.study_result import Study
from icl_interp.report.model import FigureGrid, FigureView, Section
from icl_interp.report.sentences import verdict_words
from icl_interp.report.tables import TableView

__all__ = ["probes_chapter"]


def probes_chapter(study: Study) -> Section:
    """Write the chapter.

    Args:
        study: All numbers.

    Returns:
        One small figure a target, and the table.
    """
    report = study.probes
    excesses = {target: report.excess(target, study.n_verdicts) for target in report.targets}
    best = max(report.targets, key=lambda target: excesses[target].value)
    sites = list(report.probes)
    best_site = sites[int(report.r2(best).argmax())]
    sentence = verdict_words(
        excesses[best],
        finding=f"The best read-out is {best} at {best_site}: held-out R²",
        absence=f"that any reference can be read out, best {best}: held-out R²",
    )
    cells = tuple(_cell(study, i, target, excesses[target]) for i, target in enumerate(report.targets))
    frame = report.to_frame()
    table = TableView(
        columns=("site", "target", "R²", "low", "high", "shuffled targets", "untrained networks"),
        rows=tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
        caption="Held-out R² of linear probes, by site and target",
        notes="; ".join(report.left_out.values()) or None,
    )
    where = "the query token" if study.config.query_only else "x tokens"
    lead = (
        f"One ridge probe a site reads the residual stream at {where}, at all points with at least one example before "
        f"them; whole prompts are held out ({report.n_prompts} prompts, 5 folds). Targets are nearly collinear, so a "
        "high R² for one is expected where another is high. Decodable is not used: a probe says where a prediction "
        "could be read, not that the model reads it."
    )
    grid = FigureGrid(id="probe-targets", title="Held-out R² along the network", sentence=sentence, figures=cells)
    return Section("probes", "Where can it be read?", lead, figures=(grid,), tables=(table,), folded=False)


def _cell(study: Study, index: int, target: str, excess: Excess) -> FigureView:
    sites = list(study.probes.probes)
    where = sites[int(study.probes.r2(target).argmax())]
    sentence = verdict_words(
        excess,
        finding=f"Readable, best at {where}: R²",
        absence=f"that {target} can be read",
    )
    return FigureView(
        id=f"probe-{index}",
        title=target,
        figure=study.probes.plot(target),
        sentence=sentence,
        aria_label=f"Line chart of R squared along the network for {target}. {sentence}",
        height=260,
    )
