"""Does the signature detect unfamiliar prompts, and does it predict the model's error?"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.theme import role_style, shift_style
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.ood import OodReport
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.chapters import FAMILIAR
from icl_interp.report.model import Chapter, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, interval, listing, number
from icl_interp.report.tables import Cell, TableView
from probes.bootstrap import Estimate
from probes.correlation import CorrelationReport

_MOST_POINTS = 3000
"""Points in the cloud figure; the correlations use all prompts."""


def chapter(study: Surveyed) -> Chapter:
    """Write the chapter: what it shows opens the question, beside the map of all detectors where there is one."""
    if study.ood is None:
        return Chapter(replace(FAMILIAR, lead=study.absent["ood"]))
    figures = () if study.ood.correlation is None else (_cloud(study, study.ood.correlation),)
    lead = _lead(study) if study.detectors is None else ""
    return Chapter(replace(FAMILIAR, lead=lead, figures=figures), _cards(study))


def numbers(study: Surveyed) -> Chapter | None:
    if study.ood is None:
        return None
    figures, tables = ((_auroc(study),), [_detection_table(study)]) if study.families.shifted else ((), [])
    lead = "" if study.detectors is None else _lead(study)
    if study.ood.correlation is not None:
        tables.append(_correlation_table(study, study.ood.correlation))
    return Chapter(Section("ood", "The signature's score in detail", lead, figures=figures, tables=tuple(tables)))


def _lead(study: Surveyed) -> str:
    norms = "norms alone (Mahalanobis distance of log ‖X‖ and log ‖y‖ of the prompt)"
    if study.ood.norms_of == "activations":
        norms = "norms alone (how far log ‖A‖ of the activations is from the usual)"
    text = (
        "The score of a prompt is 1 - overlap with the signature, which was fitted on other prompts; a larger score is "
        f"more unfamiliar. It is compared with {norms} and with the same score in untrained networks. Activations are "
        f"those at `{study.ood.site.hook}`: {study.conventions.describe()}."
    )
    return text if study.families.shifted else f"{text} {study.unshifted}"


def _correlated(study: Surveyed) -> str:
    excess = study.measured["score and error"]
    return answer(
        excess,
        here=f"inside task families the rank correlation of 1 - overlap with the error is {number(excess.value)} on "
        "average",
        there=f"in untrained networks it is {number(excess.control)}",
        uncontrolled=study.uncontrolled,
    )


def _detected(study: Surveyed) -> str:
    excess = study.measured["detection"]
    return answer(
        excess,
        here=f"averaged over the shifts, the signature's AUROC is {number(excess.value)}",
        there=f"in untrained networks it is {number(excess.control)}",
        uncontrolled=study.uncontrolled,
    )


def _cards(study: Surveyed) -> tuple[Verdict, ...]:
    claims, cards = study.measured, []
    if "score and error" in claims:
        question, told = "Does a prompt's overlap predict its error?", _correlated(study)
        cards.append(card(question, claims["score and error"], told, anchor="score-error"))
    if not study.families.shifted:
        return (*cards, Verdict("Does the signature detect shifts?", study.unshifted, "unknown", None, "ood"))
    if study.atlas is not None and study.atlas.judged:
        return tuple(cards)
    found = _detected(study)
    better = len(_norms_do_as_well(study.ood))
    found += (
        f" Norms alone reach {number(study.ood.mean_norm_auroc)}, and at least as much as the signature under {better} "
        f"of {len(study.ood.shifts)} shifts."
    )
    return (*cards, card("Does the signature detect shifts?", claims["detection"], found, anchor="auroc"))


def _norms_do_as_well(report: OodReport) -> list[str]:
    return [label for label, d in report.shifts.items() if d.norms.auroc >= d.signature.auroc]


def _auroc(study: Surveyed) -> FigureView:
    report = study.ood
    better = _norms_do_as_well(report)
    sentence = (
        "AUROC under each shift, beside norms alone and untrained networks. A signature that detects a shift is near "
        "1 where both others are near 0.5."
    )
    beyond = [label for label, d in report.shifts.items() if d.excess.verdict == "evidence"]
    if beyond:
        unseen = [label for label in beyond if label not in better]
        sentence += (
            f" It detects more than untrained networks under {listing(beyond)}. Norms alone detect less under "
            f"{listing(unseen) if unseen else 'none of these'}."
        )
    else:
        sentence += " Here no single shift is detected beyond untrained networks."
    below = [label for label, d in report.shifts.items() if d.signature.auroc_interval.high < 0.5]
    if below:
        sentence += f" Under {listing(below)} shifted prompts score as more familiar than those in distribution."
    return FigureView(
        id="auroc",
        title=f"Detection of shifted prompts by the signature at {report.site.label}",
        figure=report.plot(),
        sentence=sentence,
        aria_label=f"Dot plot of AUROC, one row per shift. {sentence}",
        height=140 + 26 * len(report.shifts),
    )


def _cloud(study: Surveyed, correlation: CorrelationReport) -> FigureView:
    report = study.ood
    keep = max(1, _MOST_POINTS // len(report.scores))
    clouds = [
        Cloud(
            label,
            report.scores[label][:keep].tolist(),
            report.errors[label][:keep].clamp(min=1e-6).tolist(),
            role_style("model") if label == IN_DISTRIBUTION else shift_style(i - 1),
            None if label == IN_DISTRIBUTION else {"shift": label},
        )
        for i, label in enumerate(report.scores)
    ]
    sentence = (
        "Each point is a prompt. If the overlap predicted the error, points would rise to the right inside each "
        f"family. Here the rank correlation is {_estimate(correlation.within_mean)} inside families, "
        f"{_estimate(correlation.pooled)} pooled, and {_estimate(correlation.partial)} pooled given the prompt's norms."
    )
    return FigureView(
        id="score-error",
        title=f"Signature score at {report.site.label} against the model's error",
        figure=clouds_figure(clouds, x="1 - overlap", y="error / E[y²]"),
        sentence=sentence,
        aria_label=f"Scatter of error over score. {sentence}",
        data=_cloud_table(report),
        height=480,
    )


def _cloud_table(report: OodReport) -> TableView:
    rows: list[tuple[Cell, ...]] = [
        (label, float(score), float(error))
        for label, scores in report.scores.items()
        for score, error in zip(scores, report.errors[label], strict=True)
    ]
    caption = "Score and error of each prompt"
    return TableView(columns=("family", "1 - overlap", "error / E[y²]"), rows=tuple(rows), caption=caption)


def _estimate(estimate: Estimate) -> str:
    if not math.isfinite(estimate.value):
        return f"undefined ({estimate.reason})" if estimate.reason else "undefined"
    return f"{number(estimate.value)} {interval(estimate.low, estimate.high)}"


def _detection_table(study: Surveyed) -> TableView:
    final = study.ood_final
    rows = []
    for label, d in study.ood.shifts.items():
        own, untrained = d.signature, d.excess.control if d.untrained else None
        rows.append((
            label, own.auroc, *own.auroc_interval, None if final is None else final.shifts[label].signature.auroc,
            d.norms.auroc, untrained,
            d.excess.excess if d.untrained else None, d.excess.low if d.untrained else None,
            d.excess.high if d.untrained else None, own.fpr95_ood_positive, own.fpr95_id_positive,
        ))  # fmt: skip
    return TableView(
        columns=(
            "shift", "AUROC", "low", "high", "after final norm", "norms alone", "untrained", "excess over control",
            "excess low", "excess high", "FPR95 (OOD positive)", "FPR95 (ID positive)",
        ),
        rows=tuple(rows),
        caption="Out-of-distribution detection",
        notes="Intervals of AUROC: 95 % bootstrap over prompts. Excess over control: AUROC minus the mean of untrained "
        "networks, with intervals that hold for all rows together at 95 %. FPR95 (OOD positive): share of prompts in "
        "distribution that are flagged when 95 % of shifted ones are. FPR95 (ID positive): share of shifted prompts "
        "that are accepted when 95 % of those in distribution are.",
    )  # fmt: skip


def _correlation_table(study: Surveyed, correlation: CorrelationReport) -> TableView:
    rows = []
    before, after = study.ood, study.ood_final
    for label in before.scores:
        pair = _pair(before, correlation, partial(_within, label))
        rows.append((f"inside {label}", *pair, None if after is None else after.correlation.within[label].value))
    overall: tuple[tuple[str, Callable[[CorrelationReport], Estimate]], ...] = (
        ("mean of these", lambda c: c.within_mean),
        ("pooled", lambda c: c.pooled),
        ("pooled, Pearson", lambda c: c.pooled_pearson),
        ("over family means", lambda c: c.between),
        ("pooled, given norms", lambda c: c.partial),
    )
    for title, take in overall:
        rows.append((
            title,
            *_pair(before, correlation, take),
            None if after is None else take(after.correlation).value,
        ))
    return TableView(
        columns=("correlation", f"at {before.site.label}", "low", "high", "untrained", "after final norm"),
        rows=tuple(rows),
        caption="Correlation of the signature score with the log error of the same prompt (Spearman unless stated)",
        notes="Positive: prompts that look more unfamiliar are predicted worse. Untrained: scores of untrained "
        "networks against this model's errors, mean over networks. Correlations over family means exaggerate.",
    )


def _pair(
    report: OodReport, correlation: CorrelationReport, take: Callable[[CorrelationReport], Estimate]
) -> tuple[float, float, float, float | None]:
    estimate = take(correlation)
    untrained = [take(c).value for c in report.untrained_correlations]
    finite = [value for value in untrained if math.isfinite(value)]
    return estimate.value, estimate.low, estimate.high, math.fsum(finite) / len(finite) if finite else None


def _within(label: str, report: CorrelationReport) -> Estimate:
    return report.within[label]
