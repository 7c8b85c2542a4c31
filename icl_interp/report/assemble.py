"""From a study to a page: header, verdicts, chapters, footer."""

from collections.abc import Mapping

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.limits import limits_of
from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.doing import doing_chapter
from icl_interp.report.chapters.familiar import familiar_chapter
from icl_interp.report.chapters.where import where_chapter
from icl_interp.report.chapters.worth import worth_chapter
from icl_interp.report.model import Fact, Page
from icl_interp.report.verdicts import verdict_cards

__all__ = ["build_page"]


def build_page(study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int]) -> Page:
    """Lay a study out as a report.

    Args:
        study: All numbers.
        checkpoint: Where the model came from, what was understood and what was assumed.
        provenance: What the report was made with, for the footer.

    Returns:
        The page.
    """
    return Page(
        title=f"What {checkpoint.path.name} does in context",
        subtitle=f"{study.config.describe()}; {study.task.describe()}.",
        assumptions=checkpoint.assumptions,
        facts=_facts(study, checkpoint),
        verdicts=verdict_cards(study),
        sections=(
            doing_chapter(study),
            where_chapter(study),
            familiar_chapter(study),
            worth_chapter(study),
        ),
        provenance=_footer(study, checkpoint, provenance),
        warnings=_warnings(study, checkpoint),
    )


def _facts(study: Study, checkpoint: Checkpoint) -> tuple[Fact, ...]:
    step = "unknown" if checkpoint.step is None else f"{checkpoint.step:,}"
    families = study.families
    facts = [
        Fact("Origin", checkpoint.origin),
        Fact("Network", f"{study.config.describe()}, {checkpoint.model.n_params:,} parameters"),
        Fact("Training steps", step),
        Fact("In distribution", study.task.describe()),
        Fact(
            "Prompts",
            f"{len(families.fit)} a family, {families.fit.n_points} points, {len(families.shifted)} shifts",
        ),
        Fact("Controls", f"{len(study.untrained)} untrained networks, initialisation {study.config.init!r}"),
    ]
    notes = (*checkpoint.notes, *families.notes, *limits_of(study.config, study.conventions))
    return (*facts, *(Fact("Note", note) for note in notes))


def _warnings(study: Study, checkpoint: Checkpoint) -> tuple[str, ...]:
    warnings = []
    asked, trained = study.families.fit.n_points, checkpoint.n_points_trained
    if asked > trained:
        warnings.append(
            f"Prompts have {asked} points, but in training they had {trained}: later positions were never trained."
        )
    if not study.untrained:
        warnings.append("Controls were switched off, so no number here speaks of learning; run without --no-controls.")
    return tuple(warnings)


def _footer(study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int]) -> tuple[Fact, ...]:
    facts = [
        Fact("Checkpoint", checkpoint.path.name),
        Fact("SHA-256", checkpoint.sha256),
        Fact("Seed", str(study.seed)),
    ]
    return (*facts, *(Fact(name.replace("_", " "), str(value)) for name, value in provenance.items()))
