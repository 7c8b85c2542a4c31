"""From a study of a network or of activations to a page: header, cards, chapters by question, footer."""

from collections.abc import Mapping

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.activation_study import ActivationStudy
from icl_interp.measure.development.result import Development
from icl_interp.measure.study.plan import limits_of
from icl_interp.measure.study.result import Study
from icl_interp.models.architecture import NO_RECIPE, UNKNOWN_INIT
from icl_interp.report.contents import CONTENTS, CONTENTS_OF_ACTIVATIONS, CONTENTS_OF_TRAINING
from icl_interp.report.glossary import GLOSSARY
from icl_interp.report.model import Fact, Page, lay_out


def build_page(
    study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int], *, timeline: Development | None = None
) -> Page:
    """Lay a study out as a report, and how the model developed where that is known."""
    sections, cards = lay_out(CONTENTS, study)
    warnings = _warnings(study, checkpoint)
    if timeline is not None:
        more, more_cards = lay_out(CONTENTS_OF_TRAINING, timeline)
        sections, cards, warnings = (*sections, *more), (*cards, *more_cards), (*warnings, *timeline.notes)
    return Page(
        title=f"What {checkpoint.path.name} does in context",
        subtitle=f"{study.config.describe()}; {study.task.describe()}.",
        assumptions=checkpoint.assumptions,
        facts=_facts(study, checkpoint),
        verdicts=cards,
        sections=sections,
        provenance=_footer(study, checkpoint, provenance),
        warnings=warnings,
        glossary=GLOSSARY,
    )


def build_activations_page(study: ActivationStudy, name: str, sha256: str, provenance: Mapping[str, str | int]) -> Page:
    """Lay a study of given activations out as a report."""
    sections, cards = lay_out(CONTENTS_OF_ACTIVATIONS, study)
    labels, sites = list(study.families.by_label), [site.label for site in study.sites]
    facts = (
        Fact("Families", ", ".join(labels)),
        Fact("Sites", ", ".join(sites)),
        Fact("Conventions", study.conventions.describe()),
        Fact("Controls", f"{study.n_controls} untrained networks, as given"),
        *(Fact("Note", note) for note in study.families.notes),
    )
    footer = (Fact("File", name), Fact("SHA-256", sha256), Fact("Seed", str(study.seed)))
    return Page(
        title=f"What the activations in {name} show",
        subtitle=f"{len(labels)} famil{'y' if len(labels) == 1 else 'ies'} at {len(sites)} "
        f"site{'' if len(sites) == 1 else 's'}; no model was given.",
        facts=facts,
        verdicts=cards,
        sections=sections,
        provenance=(*footer, *_circumstances(provenance)),
        warnings=(study.without_verdicts,) if study.without_verdicts else (),
        glossary=GLOSSARY,
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
            f"{len(families.fit)} per family, {families.fit.n_points} examples each, {len(families.shifted)} shifts",
        ),
        Fact("Controls", _controls(study)),
    ]
    notes = (*checkpoint.notes, *families.notes, *limits_of(study.config, study.conventions))
    return (*facts, *(Fact("Note", note) for note in notes))


def _controls(study: Study) -> str:
    named = "" if study.config.init == UNKNOWN_INIT else f", initialisation {study.config.init!r}"
    return f"{len(study.untrained)} untrained networks{named}"


def _warnings(study: Study, checkpoint: Checkpoint) -> tuple[str, ...]:
    warnings = []
    asked, trained = study.families.fit.n_points, checkpoint.n_points_trained
    if asked > trained:
        guessed = any("in training" in assumption for assumption in checkpoint.assumptions)
        warnings.append(
            f"Prompts have {asked} examples, and training is assumed to have had {trained}: if so, later positions "
            "were never trained."
            if guessed
            else f"Prompts have {asked} examples, but in training they had {trained}: later positions were never "
            "trained."
        )
    if not study.untrained:
        warnings.append(
            NO_RECIPE
            if study.config.init == UNKNOWN_INIT
            else "Controls were switched off, so no number here is evidence of learning. Run without --no-controls."
        )
    return tuple(warnings)


def _footer(study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int]) -> tuple[Fact, ...]:
    facts = [
        Fact("Checkpoint", checkpoint.path.name),
        Fact("SHA-256", checkpoint.sha256),
        Fact("Seed", str(study.seed)),
    ]
    return (*facts, *_circumstances(provenance))


def _circumstances(provenance: Mapping[str, str | int]) -> tuple[Fact, ...]:
    return tuple(Fact(name.replace("_", " "), str(value)) for name, value in provenance.items())
