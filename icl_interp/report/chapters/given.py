"""What a report on given activations rests on, and what it leaves out."""

from icl_interp.measure.activation_study import ActivationStudy
from icl_interp.measure.study.table import MEASURES
from icl_interp.report.chapters import worth
from icl_interp.report.model import Chapter, Section
from icl_interp.report.tables import Cell, TableView


def claims(study: ActivationStudy) -> Chapter | None:
    """Write the chapter with every claim beside its control, where controls are enough for verdicts."""
    return worth.chapter(study) if study.verdicts else None


def controls(study: ActivationStudy) -> Chapter | None:
    """Write the chapter with the numbers of each control."""
    return worth.controls(study) if study.verdicts else None


def assumptions(study: ActivationStudy) -> Chapter:
    """Write the chapter on what was assumed."""
    n_fit, n_scored = len(study.families.fit), len(study.families.in_distribution.prompts)
    said: list[tuple[Cell, ...]] = [
        (
            "in distribution",
            f"the first family: {n_fit} samples fitted, {n_scored} scored",
            "all statements about shifts",
        ),
        ("spectral conventions", study.conventions.describe(), "signatures; the paper does not state its own"),
        (
            "untrained networks",
            f"{study.n_controls}, as given",
            "every excess over control: evidence lies outside of what one more such network would show",
        ),
        (
            "pairs across families",
            "sample i of a family as large as the first one is the same prompt, changed",
            "bootstraps and permutations keep such pairs together; this costs nothing where they are no pairs",
        ),
        (
            "fitted signature and detectors",
            "held fixed",
            "no interval covers the choice of the samples they are fitted on",
        ),
    ]
    table = TableView(("assumption", "here", "it matters for"), tuple(said), caption="Assumptions of this report")
    return Chapter(Section("assumptions", "What was assumed", tables=(table,)))


def left_out(study: ActivationStudy) -> Chapter:
    """Write the chapter on what activations alone do not give."""
    titles = {measure.name: measure.title for measure in MEASURES}
    rows: list[tuple[Cell, ...]] = [(titles[name], reason) for name, reason in study.absent.items()]
    if study.detectors is not None:
        rows += [(f"detector: {name}", reason) for name, reason in study.detectors.left_out.items()]
    if study.without_verdicts:
        rows.append(("verdicts", study.without_verdicts))
    if study.ood.correlation is None:
        rows.append(("score and error", "They need predictions and targets of each family."))
    if study.ood.norms_of == "activations":
        rows.append(("norms and raw statistics of prompts", "They need inputs and targets of each family."))
    table = TableView(("not measured", "because"), tuple(rows), caption="Measurements that this report leaves out")
    return Chapter(Section("unmeasured", "What was not measured, and why", tables=(table,)))
