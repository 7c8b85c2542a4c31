"""Which scores know an unfamiliar prompt? Every detector beside the dumb baselines, and each in detail."""

import math
from dataclasses import replace

from icl_interp.figures.choices import along, of_shifts
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.measure.detectors.result import ALPHA, DetectorReport, DetectorResult
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.chapters import FAMILIAR
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import listing, number
from icl_interp.report.tables import Cell, TableView


def chapter(study: Surveyed) -> Chapter | None:
    """Write the chapter, which opens the question: the map of every detector over every shift."""
    if study.detectors is None:
        return None
    rival = "scores of the raw prompt that need no network: its norms and second moments. If those detect"
    if study.detectors.baseline != "raw inputs":
        rival = "the norm of a prompt's activations, since the prompts themselves are not known. If it detects"
    lead = (
        "Each score says how unfamiliar a prompt is; it was fitted on prompts in distribution that are not scored. The "
        f"baseline: {rival} a shift too, hidden states add nothing. What untrained networks detect too is not learned."
    )
    return Chapter(replace(FAMILIAR, lead=lead, figures=(_map(study, study.detectors),)))


def _map(study: Surveyed, report: DetectorReport) -> FigureView:
    sentence = _detector_sentence(report, study.uncontrolled)
    return FigureView(
        id="detectors",
        title="AUROC of every score under every shift",
        figure=report.plot(),
        sentence=sentence,
        aria_label=f"Colour map of AUROC, detectors over shifts. {sentence}",
        data=_detector_table(report),
        height=230 + 25 * len(report.detectors),
    )


def _detector_sentence(
    report: DetectorReport, uncontrolled: str = "there are no untrained networks to compare with"
) -> str:
    hidden, raw, said = (report.seen_by(what) for what in ("hidden states", report.baseline, "predictions"))
    rival = "raw inputs detect" if report.baseline == "raw inputs" else "the norm of activations detects"
    shared = [label for label in hidden if label in raw]
    alone = [label for label in hidden if label not in raw]
    text = (
        "A score that detects a shift is near 1; chance is 0.5. Here scores of hidden states detect "
        f"{len(hidden) or 'none'} of {len(report.shifts)} shifts (p below {ALPHA:g}, Holm over {report.n_tests} tests)."
    )
    if shared:
        text += (
            f" Under {len(shared)} of these {rival} the shift too, so hidden states are no evidence about the network."
        )
    if hidden:
        text += f" Detected by hidden states alone: {listing(alone)}."
    if beyond := [label for label in said if label not in raw or report.beats_raw("predictions", label)]:
        text += (
            f" The model's distance from a reference predictor detects more than raw inputs under {listing(beyond)}."
        )
    return f"{text} {_beyond_untrained(report, uncontrolled)}"


def _beyond_untrained(report: DetectorReport, uncontrolled: str) -> str:
    found = report.reading("hidden states")
    judged = {name: d.excess for name, d in found.items() if d.excess is not None}
    if not judged or not any(excess.controls for excess in judged.values()):
        return f"{uncontrolled[0].upper()}{uncontrolled[1:]}, so nothing here is evidence of learning."
    better, worse = (
        [name for name, excess in judged.items() if excess.verdict == word] for word in ("evidence", "opposite")
    )
    text = f"Beside untrained networks, {len(better)} of {len(judged)} scores of hidden states have a larger mean AUROC"
    text += f" ({listing(better)})" if better else ""
    return f"{text} and {len(worse)} a smaller one{f' ({listing(worse)})' if worse else ''}."


def _detector_table(report: DetectorReport) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for name, found in report.detectors.items():
        excess = found.excess if found.excess is not None and found.excess.controls else None
        bounds = (
            (None, None, None, None) if excess is None else (excess.control, excess.excess, excess.low, excess.high)
        )
        shifts = tuple(detection.auroc for detection in found.shifts.values())
        rows.append((name, found.reads, found.mean.value, found.mean.low, found.mean.high, *bounds, *shifts))
    return TableView(
        columns=(
            "score", "reads", "mean AUROC", "low", "high", "untrained", "excess over control", "excess low",
            "excess high", *report.shifts,
        ),
        rows=tuple(rows),
        caption="AUROC of every score: mean over shifts, beside untrained networks, and under each shift",
        notes=f"At {report.describe()}. Below 0.5 shifted prompts score as more familiar than those in distribution. "
        "Intervals of the excess hold for all claims of the report together at 95 %. Scores of raw inputs read no "
        "network and have no untrained control.",
    )  # fmt: skip


def details(study: Surveyed) -> Chapter | None:
    """Write the chapter with the untrained map, every measure of every test, risk, and what does not apply."""
    report = study.detectors
    if report is None:
        return None
    figures: tuple[FigureView, ...] = (_roc(report),)
    if report.n_networks:
        figures = (*figures, _untrained_map(report), _excess_map(report))
    risk = () if report.loss == "unknown" else (_risk_table(report),)
    tables = (_measures_table(report), *risk, _left_out_table(report))
    lead = (
        f"At `{report.site.hook}`, {report.conventions.tokens} tokens. Most detectors read one vector per prompt, the "
        f"{'last position' if report.pooling == 'last' else 'mean over positions'}; signatures and Gram ranges read "
        "all positions."
    )
    if report.blind_to_scale:
        lead += (
            f" Normalised nearest neighbours ignore scale, and vectors change their length under "
            f"{listing(report.blind_to_scale)}: use the unnormalised ones for these shifts."
        )
    return Chapter(Section("detector-details", "Every detector in detail", lead, figures=figures, tables=tables))


def _roc(report: DetectorReport) -> FigureView:
    chosen = report.leaders()
    first = report.shifts[0]
    aurocs = {name: report.detectors[name].shifts[first].auroc for name in chosen}
    best = max(aurocs, key=aurocs.__getitem__)
    rows: list[tuple[Cell, ...]] = []
    for label in report.shifts:
        for name in chosen:
            curve = report.roc(name, label)
            corners = zip(curve.false_positives.tolist(), curve.true_positives.tolist(), strict=True)
            rows += [(label, name, *corner) for corner in corners]
    sentence = (
        "Share of shifted prompts that a score flags against the share of prompts in distribution that it flags "
        "wrongly: of the signature, and of the best score of each kind. A good score rises along the left edge; the "
        f"dotted line is chance. Under {first}, {best} is the best, with an AUROC of {number(aurocs[best])}."
    )
    return FigureView(
        id="roc",
        title="ROC curves",
        figure=report.plot_roc(),
        sentence=sentence,
        aria_label=f"Line chart of true against false positives. {sentence}",
        data=TableView(
            ("shift", "score", "flagged in distribution", "flagged under the shift"),
            tuple(rows),
            caption="ROC curves under every shift, corner by corner",
        ),
        height=460,
    )


def _untrained_map(report: DetectorReport) -> FigureView:
    rows = {name: list(found.untrained.values()) for name, found in report.detectors.items() if found.untrained}
    means = [value for row in rows.values() for value in row if math.isfinite(value)]
    mean = math.fsum(means) / len(means) if means else math.nan
    sentence = (
        f"Mean AUROC over {report.n_networks} untrained networks. Without learning it would be 0.5 if shifts left no "
        f"mark on activations; here it is {number(mean)} on average."
    )
    return FigureView(
        id="detectors-untrained",
        title="The same scores in untrained networks",
        figure=report.plot(of="untrained"),
        sentence=sentence,
        aria_label=f"Colour map of AUROC in untrained networks. {sentence}",
        data=_matrix_table(rows, report.shifts, "AUROC in untrained networks, mean over them"),
        height=230 + 25 * len(rows),
    )


def _excess_map(report: DetectorReport) -> FigureView:
    rows = {
        name: [found.shifts[label].auroc - found.untrained[label] for label in report.shifts]
        for name, found in report.detectors.items()
        if found.untrained
    }
    figure = matrix_figure(
        [MatrixBlock("excess", rows)], report.shifts, value="difference", value_range=(-0.5, 0.5), middle=0.0
    )
    flat = [(value, name, label) for name, row in rows.items() for value, label in zip(row, report.shifts, strict=True)]
    largest = max((entry for entry in flat if math.isfinite(entry[0])), default=(math.nan, "none", "none"))
    sentence = (
        "Difference in AUROC for each score and shift. A learned signature gives cells well above 0. Here the largest "
        f"is {number(largest[0])} ({largest[1]}, {largest[2]}); single cells have no intervals, the means in the table "
        "above do."
    )
    return FigureView(
        id="detectors-excess",
        title="AUROC of this model minus that of untrained networks",
        figure=along(figure, x=of_shifts(report.shifts)),
        sentence=sentence,
        aria_label=f"Colour map of differences in AUROC. {sentence}",
        data=_matrix_table(rows, report.shifts, "AUROC of this model minus the mean of untrained networks"),
        height=230 + 25 * len(rows),
    )


def _matrix_table(rows: dict[str, list[float]], columns: list[str], caption: str) -> TableView:
    return TableView(("score", *columns), tuple((name, *row) for name, row in rows.items()), caption=caption)


def _measures_table(report: DetectorReport) -> TableView:
    frame = report.to_frame().reset_index()
    columns = (
        "score", "shift", "reads", "AUROC", "low", "high", "p (Holm)", "untrained", "AUPR (ID)", "AUPR (OOD)", "ID",
        "OOD", "FPR95 (OOD positive)", "FPR95 (ID positive)", "detection error",
    )  # fmt: skip
    return TableView(
        columns=columns,
        rows=tuple(tuple(_plain(cell) for cell in row) for row in frame.itertuples(index=False, name=None)),
        caption="Every score under every shift",
        notes="AUPR: with prompts in distribution (ID) or shifted ones (OOD) as the positive class; chance is their "
        "share. The columns ID and OOD count prompts. FPR95 (OOD positive): share of prompts in distribution that are "
        "flagged when 95 % of shifted ones are. FPR95 (ID positive): share of shifted prompts that are accepted when "
        "95 % of those in distribution are. Detection error: least mean of both error rates. p: permutation between a "
        f"prompt and its shifted version, one-sided, Holm over {report.n_tests} tests.",
    )


def _risk_table(report: DetectorReport) -> TableView:
    rows = tuple(_risk_row(name, found) for name, found in report.detectors.items())
    return TableView(
        columns=(
            "score", "Spearman", "p (Holm)", "untrained", "AURC", "low", "high", "gain", "gain low", "gain high",
        ),
        rows=rows,
        caption=f"Does a score predict the loss? Each score against the {report.loss}",
        notes="Spearman: mean of the correlations inside task families; p by permutation of whole prompts, Holm over "
        "the scores. Untrained: scores of untrained networks against this model's loss. AURC: mean "
        f"{_loss_of(report)}, over all shares accepted and all families. Gain: 1 for a perfect order, 0 for a random "
        "one.",
    )  # fmt: skip


def _loss_of(report: DetectorReport) -> str:
    if report.loss == "excess loss over least squares":
        return f"{report.loss} of the prompts that a score accepts first (negative where the model beats least squares)"
    return "error of the prompts that a score accepts first"


def _risk_row(name: str, found: DetectorResult) -> tuple[Cell, ...]:
    untrained = found.untrained_correlation
    return (
        name, found.correlation, found.correlation_p, None if math.isnan(untrained) else untrained,
        found.aurc.value, found.aurc.low, found.aurc.high, found.gain.value, found.gain.low, found.gain.high,
    )  # fmt: skip


def _left_out_table(report: DetectorReport) -> TableView:
    """List detectors that say nothing here."""
    return TableView(("detector", "why not"), tuple(report.left_out.items()), caption="Detectors that do not apply")


def _plain(cell: object) -> Cell:
    return cell if isinstance(cell, str | int) else float(cell)  # type: ignore[arg-type]  # floats of numpy
