"""How strong is the evidence? Every claim with its control, what was assumed, what was not measured."""

import math
from dataclasses import replace
from typing import get_args

from icl_interp.measure.study.plan import limits_of
from icl_interp.measure.study.result import Study, Surveyed, claims_figure
from icl_interp.measure.verdicts import Excess, VerdictWord
from icl_interp.models.architecture import UNKNOWN_INIT
from icl_interp.report.chapters import WORTH
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import listing
from icl_interp.report.tables import Cell, TableView

MLPS, HEAD_MEANS = "ablation of MLPs", "heads replaced by their mean output"
_ELSEWHERE = {
    "probes that learn at which positions to read": "probes.position_probe.fit_position_probe",
    "read-outs trained by gradient descent": 'icl.layer_readouts(method="sgd")',
    MLPS: "icl.interventions.ablate_mlps with icl.intervention_effect",
    HEAD_MEANS: "icl.interventions.ablate_heads(means=…) with icl.intervention_effect",
    "patching of heads, or from prompts of your own": "icl.interventions.patch",
    "directions swapped between prompts, or steered along": "icl.interventions.swap or icl.interventions.steer with "
    "icl.intervention_effect",
    "step size and preconditioner that the network behaves like": "probes.effective_descent.effective_step or "
    "probes.effective_descent.effective_preconditioner",
    "use of the signature at other sites": "icl.signature_use(hook=…)",
    "probes of true weights": "probes.linear.fit_linear_probe on Prompts.ws",
    "probes of residuals, shared signal and largest stable step": "probes.linear.fit_linear_probe on what "
    "probes.targets.residuals, probes.targets.shared_signal or probes.targets.largest_stable_step give",
}
"""What a report leaves out, and the call that does it."""


_NAMED: tuple[VerdictWord, ...] = ("evidence", "opposite")
"""Verdicts whose claims are listed by name."""


def chapter(study: Surveyed) -> Chapter:
    """Write the chapter, which opens the question: every claim beside its control."""
    claims = _all_claims(study)
    lead = (
        f"{study.controls_are} What they show too is not learned. Inconclusive does not mean that there is no effect: "
        "the table has the smallest detectable effect of each claim."
    )
    if study.atlas is not None and study.atlas.judged:
        lead += " The atlas of the signature is a family of claims of its own, also at 5 %."
    return Chapter(replace(WORTH, lead=lead, figures=(_forest(claims),), tables=(_table(study, claims),)))


def _all_claims(study: Surveyed) -> dict[str, Excess]:
    return dict(study.measured)


def _forest(claims: dict[str, Excess]) -> FigureView:
    drawn = {name: excess for name, excess in claims.items() if math.isfinite(excess.low)}
    found = {word: [name for name, e in claims.items() if e.verdict == word] for word in get_args(VerdictWord)}
    named = [f"{len(found[word])} {word} ({listing(found[word], most=8)})" for word in _NAMED if found[word]]
    counted = [f"{len(names)} {word}" for word, names in found.items() if names and word not in _NAMED]
    sentence = (
        "Excess over control of each claim, with an interval that is corrected for all claims. A learned property lies "
        f"to the right of 0. Of {len(claims)} claims: {'; '.join(named + counted)}."
    )
    if not drawn:
        sentence = (
            "No claim has an interval: there are no untrained networks to compare with, or the numbers are not finite."
        )
    return FigureView(
        id="claims",
        title="Every claim beside its untrained control",
        figure=claims_figure(claims),
        sentence=sentence,
        aria_label=f"Dot plot with intervals, one row per claim. {sentence}",
        height=min(2000, 110 + 22 * len(drawn or claims)),
    )


def _table(study: Surveyed, claims: dict[str, Excess]) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for name, excess in claims.items():
        chance = excess.chance if math.isfinite(excess.chance) else None
        value_low = excess.value_low if chance is not None else None
        numbers = (excess.value, excess.control, excess.excess, excess.low, excess.high, excess.p_value)
        rows.append((name, study.meanings[name], *numbers, value_low, chance, excess.verdict, excess.detectable))
    return TableView(
        columns=(
            "claim", "number", "this model", "untrained control", "excess over control", "low", "high", "p",
            "value low", "chance", "verdict", "smallest detectable effect",
        ),
        rows=tuple(rows),
        caption=f"Each claim beside {len(study.untrained)} untrained networks",
        notes="The interval of the excess covers the spread over untrained networks and the bootstrap over prompts. "
        f"All {study.n_verdicts} intervals of the report hold together at 95 % (Bonferroni). The p-value is corrected "
        "in the same way: it is below 0.05 exactly where the verdict is evidence or opposite. Evidence: the interval "
        "is above 0, and the value's own lower end (value low) is above chance. Opposite: the interval is below 0. "
        "Negligible: the whole interval is within the smallest effect of interest. Inconclusive: all else.",
        align=(
            "left", "left", "right", "right", "right", "right", "right", "right", "right", "right", "left", "right",
        ),
    )  # fmt: skip


def controls(study: Surveyed) -> Chapter:
    claims = _all_claims(study)
    most = max((len(excess.controls) for excess in claims.values()), default=0)
    rows: list[tuple[Cell, ...]] = [
        (name, excess.value, *excess.controls, *[None] * (most - len(excess.controls)))
        for name, excess in claims.items()
    ]
    table = TableView(
        columns=("claim", "this model", *(f"untrained {i + 1}" for i in range(most))),
        rows=tuple(rows),
        caption="Each claim's number in each untrained network",
    )
    tables = [table]
    if study.detectors is not None:
        raw = study.detectors.reading("raw inputs")
        seen = [
            (name, found.mean.value, found.mean.low, found.mean.high, sum(map(found.above_chance, found.shifts)))
            for name, found in raw.items()
        ]
        if raw:
            tables.append(
                TableView(
                    columns=("raw inputs", "mean AUROC", "low", "high", "shifts seen"),
                    rows=tuple(seen),
                    caption="What norms and second moments of the prompt detect without any network",
                    notes=f"Shifts seen: of {len(study.detectors.shifts)} shifts, those with a corrected p below 0.05.",
                )
            )
    lead = f"The {study.n_verdicts} claims of the report share one error rate of 5 %."
    if study.results.get("probes") is not None:
        lead += " Shuffled targets stand beside each linear probe."
    return Chapter(Section("controls", "What untrained controls show", lead, tables=tuple(tables)))


def assumptions(study: Study) -> Chapter:
    said: list[tuple[Cell, ...]] = [
        ("in distribution", study.task.describe(), "all statements about shifts"),
        ("spectral conventions", study.conventions.describe(), "signatures; the paper does not state its own"),
        (
            "untrained networks",
            f"{len(study.untrained)}, initialisation {study.config.init!r}",
            "every excess over control: evidence lies outside of what one more such network would show",
        ),
        ("prompts", f"{len(study.families.fit)} per family, seed {study.seed}", "every interval over prompts"),
        (
            "pairs across families",
            "prompt i uses the same random numbers in all families",
            "bootstraps and permutations keep such pairs together",
        ),
        (
            "fitted signature and detectors",
            "held fixed",
            "no interval covers the choice of the prompts they are fitted on",
        ),
        ("one checkpoint", "one training run", "no interval covers the spread over training seeds"),
    ]
    table = TableView(("assumption", "here", "it matters for"), tuple(said), caption="Assumptions of this report")
    return Chapter(Section("assumptions", "What was assumed", tables=(table,)))


def unmeasured(study: Study) -> Chapter:
    titles = {measure.name: measure.title for measure in study.measures}
    rows: list[tuple[Cell, ...]] = [(titles[name], reason) for name, reason in study.absent.items()]
    if study.detectors is not None:
        rows += [(name, reason) for name, reason in study.detectors.left_out.items()]
    for label in study.families.errors_only:
        rows.append((f"hidden states under {label}", "its prompts have separate queries or more points"))
    if study.probes is not None:
        rows += [(f"probe of {target}", reason) for target, reason in study.probes.left_out.items()]
    notes = () if study.config.init == UNKNOWN_INIT else study.config.notes[:1]  # how controls were made is no limit
    limits = limits_of(study.config, study.conventions)
    rows += [("limits of this network", limit) for limit in limits if limit not in notes]
    if not study.untrained:
        rows.append(("every excess over control", "there are no untrained networks to compare with"))
    rows += [
        ("development over training", "it needs several checkpoints of a run, and this report is about one"),
        ("local learning coefficient", "it needs the training loss and minutes of sampling"),
    ]
    rows += _elsewhere(study)
    table = TableView(("not measured", "because"), tuple(rows), caption="Measurements that this report leaves out")
    return Chapter(Section("unmeasured", "What was not measured, and why", tables=(table,)))


def _elsewhere(study: Study) -> list[tuple[Cell, ...]]:
    return [
        (what, f"not part of a report; call {call}")
        for what, call in _ELSEWHERE.items()
        if not (study.config.attn_only and what == MLPS) and not (study.heads is None and what == HEAD_MEANS)
    ]
