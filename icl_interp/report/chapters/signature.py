"""Is there a spectral signature? Spectra, shared leading directions, and the signature's three readings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.result import Surveyed
from icl_interp.measure.study.survey import NetworkSurvey, SiteRecord
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, extremes, listing, number, percent
from icl_interp.report.tables import Cell, TableView
from probes.spectra import SWAP_THRESHOLD

_VARIANTS = {
    "A": "pairs of prompts, |cos| of matched directions",
    "B": "reference directions, |cos| one by one",
    "C": "reference subspace, overlap",
}
"""What each variant compares; higher means that prompts agree more."""
_MOST_LOG = 700.0
"""Exponents beyond it overflow."""


def _variants_grid(study: Surveyed) -> FigureGrid:
    site = study.main_site.label
    contrasts = {name: _contrast(study.survey, name, site) for name in _VARIANTS}
    said = [f"{name} {number(value)}" for name, value in contrasts.items()]
    sentence = (
        "Agreement in distribution minus agreement under shift, for three ways to compare directions. With a learned "
        f"signature it is larger than in untrained networks. At {site} it is {listing(said)}"
    )
    if study.untrained:
        untrained = [f"{name} {number(_untrained_contrast(study, name, site))}" for name in _VARIANTS]
        sentence += f"; in untrained networks {listing(untrained)}"
    sentence += "."
    swapping = _swapping(study)
    if swapping:
        sentence += (
            f" At {listing(swapping)} mean s2/s1 is above {SWAP_THRESHOLD:g} in distribution, so v1 and v2 may swap: "
            "use C there, not A and B."
        )
    return FigureGrid(
        "variants",
        "Three variants of the signature",
        sentence,
        tuple(_cell(study, n) for n in _VARIANTS),
    )


def _variants_table(study: Surveyed) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for name in _VARIANTS:
        for site in study.sites:
            own, shifted = _own(study.survey, name, site.label), _shifted(study.survey, name, site.label)
            controls = [(_own(s, name, site.label), _shifted(s, name, site.label)) for s in study.untrained]
            means = [math.fsum(column) / len(column) for column in zip(*controls, strict=True)] or [math.nan] * 2
            ratio = float(study.survey.families[IN_DISTRIBUTION].sites[site.label].scores.swap_ratio.mean())
            rows.append((name, site.label, own, shifted, *means, ratio))
    return TableView(
        columns=(
            "variant", "site", "in distribution", "shifted", "untrained, in distribution", "untrained, shifted",
            "s2/s1",
        ),
        rows=tuple(rows),
        caption="Variants of the signature along the network",
        notes="; ".join(f"{name}: {meaning}" for name, meaning in _VARIANTS.items())
        + ". Means over directions, and over shifts. Where s2/s1 is above 0.9, v1 and v2 may swap, which lowers A and "
        "B but not C.",
    )  # fmt: skip


def _cell(study: Surveyed, name: str) -> FigureView:
    sites = [site.label for site in study.sites]
    lone = len(sites) == 1  # no line runs through one point
    lines = []
    if study.untrained:
        control = [_untrained_contrast(study, name, site) for site in sites]
        lines.append(Line("untrained networks", sites, control, role_style("untrained"), width=1.5, markers=lone))
    values = [_contrast(study.survey, name, site) for site in sites]
    lines.append(Line("this model", sites, values, role_style("model"), width=3, markers=lone))
    most = sites[max(range(len(sites)), key=lambda i: values[i])]
    sentence = f"It is largest at {most}: {number(max(values))}."
    return FigureView(
        id=f"variant-{name}",
        title=f"{name}: {_VARIANTS[name]}",
        figure=along(lines_figure(lines, x="site", y="in distribution minus shifted"), x=of_sites(sites)),
        sentence=sentence,
        aria_label=f"Line chart along the network, variant {name}. {sentence}",
        height=280,
    )


def _reading(record: SiteRecord, name: str) -> float:
    if name == "A":
        return float(record.cosines_with_id.mean())
    if name == "B":
        return float(record.scores.alignment.double().mean())
    return float(record.scores.overlap.double().mean())


def _own(survey: NetworkSurvey, name: str, site: str) -> float:
    return _reading(survey.families[IN_DISTRIBUTION].sites[site], name)


def _shifted(survey: NetworkSurvey, name: str, site: str) -> float:
    values = [
        _reading(record.sites[site], name) for label, record in survey.families.items() if label != IN_DISTRIBUTION
    ]
    return math.fsum(values) / len(values) if values else math.nan


def _contrast(survey: NetworkSurvey, name: str, site: str) -> float:
    return _own(survey, name, site) - _shifted(survey, name, site)


def _untrained_contrast(study: Surveyed, name: str, site: str) -> float:
    values = [_contrast(survey, name, site) for survey in study.untrained]
    return math.fsum(values) / len(values)


def _swapping(study: Surveyed) -> list[str]:
    sites = study.survey.families[IN_DISTRIBUTION].sites
    return [name for name, record in sites.items() if float(record.scores.swap_ratio.mean()) > SWAP_THRESHOLD]


def chapter(study: Surveyed) -> Chapter | None:
    if study.survey is None:
        return None
    lead = (
        f"Singular values and directions of {study.subject} (`{study.main_site.hook}`; "
        f"{study.conventions.describe()}). Untrained networks share leading directions too, and react to a change of "
        "scale. Only the difference from them is evidence of learning."
    )
    figures: tuple[FigureGrid, ...] = (_spectra(study), _agreement(study))
    if study.families.shifted:
        figures = (*figures, _variants_grid(study))
    tables = (_table(study), _variants_table(study))
    section = Section("signature", "Is there a spectral signature?", lead, figures=figures, tables=tables)
    # Means over all shifts at one site cancel what the atlas finds; where it is not judged they are all there is.
    answered = study.atlas is not None and study.atlas.judged
    return Chapter(section, _cards(study) if study.families.shifted and not answered else ())


def _reaction(study: Surveyed) -> str:
    excess = study.measured["spectra"]
    return answer(
        excess,
        here=f"shifts change the largest singular value by {_factor(excess.value)} on average",
        there=f"in untrained networks by {_factor(excess.control)}",
        written=_factor,
    )


def _factor(log_ratio: float) -> str:
    return percent(math.expm1(log_ratio) if log_ratio < _MOST_LOG else math.inf)


def _sharing(study: Surveyed) -> str:
    excess = study.measured["shared directions"]
    return answer(
        excess,
        here="the overlap with the signature is "
        f"{number(abs(excess.value))} {'lower' if excess.value >= 0 else 'higher'} under shift than in distribution",
        there=f"in untrained networks {number(abs(excess.control))} {'lower' if excess.control >= 0 else 'higher'}",
    )


def _cards(study: Surveyed) -> tuple[Verdict, ...]:
    claims = study.measured
    spectra, directions = claims["spectra"], claims["shared directions"]
    react, shared = _reaction(study), _sharing(study)
    return (
        card("Do spectra react to shifts?", spectra, react, anchor="spectra"),
        card("Are leading directions shared?", directions, shared, anchor="agreement"),
    )


def _spectra(study: Surveyed) -> FigureGrid:
    cells = [_spectrum_cell(study, study.survey, "this model", "spectra-model")]
    if study.untrained:
        cells.append(_spectrum_cell(study, study.untrained[0], "an untrained network", "spectra-untrained"))
    sentence = study.unshifted
    if study.families.shifted:
        excess = study.measured["spectra"]
        sentence = (
            "Mean singular values of each task family, in this model and in an untrained network. If the model has "
            "learned to react to shifts, its curves spread more than the untrained ones. Here shifts change the "
            f"largest value by {_factor(excess.value)} on average"
        )
        sentence += f", in untrained networks by {_factor(excess.control)}." if excess.controls else "."
    sentence += f" Site and conventions: {study.ood.describe()}."
    return FigureGrid("spectra", "Singular values, in and out of distribution", sentence, tuple(cells))


def _spectrum_cell(study: Surveyed, survey: NetworkSurvey, name: str, identifier: str) -> FigureView:
    records = {label: record.sites[study.main_site.label] for label, record in survey.families.items()}
    own = float(records[IN_DISTRIBUTION].spectrum[0])
    ratios = {
        label: float(r.spectrum[0]) / own if own else math.nan
        for label, r in records.items()
        if label != IN_DISTRIBUTION
    }
    sentence = f"The leading singular value is {number(own)} in distribution."
    if ratios:
        least, most = extremes(ratios)
        sentence = (
            f"{sentence[:-1]}; shifts multiply it by {number(ratios[least])} ({least}) to {number(ratios[most])} "
            f"({most})."
        )
    lines = [
        Line(label, range(1, len(r.spectrum) + 1), _positive(r), shift_style(i), width=1.2, place={"shift": label})
        for i, (label, r) in enumerate(pair for pair in records.items() if pair[0] != IN_DISTRIBUTION)
    ]
    first = records[IN_DISTRIBUTION]
    lines.append(
        Line(IN_DISTRIBUTION, range(1, len(first.spectrum) + 1), _positive(first), role_style("model"), width=3)
    )
    return FigureView(
        id=identifier,
        title=name[0].upper() + name[1:],
        figure=lines_figure(lines, x="index", y="mean singular value", y_type="log"),
        sentence=sentence,
        aria_label=f"Line chart of singular values over their index, {name}. {sentence}",
        data=_spectrum_table(records, name),
        height=400,
    )


def _spectrum_table(records: Mapping[str, SiteRecord], name: str) -> TableView:
    rows: list[tuple[Cell, ...]] = [
        (label, index, float(mean), float(std))
        for label, record in records.items()
        for index, (mean, std) in enumerate(zip(record.spectrum, record.spectrum_std, strict=True), start=1)
    ]
    columns = ("family", "index", "mean singular value", "standard deviation")
    return TableView(columns=columns, rows=tuple(rows), caption=f"Spectra, {name}")


def _positive(record: SiteRecord) -> list[float]:
    # Exact zeros (a subspace) have no place on a log axis; they are drawn at a millionth of the first value.
    floor = max(1e-6 * float(record.spectrum[0]), 1e-30)
    return record.spectrum.clamp(min=floor).tolist()


def _agreement(study: Surveyed) -> FigureGrid:
    measures: list[tuple[str, str, Callable[[SiteRecord], float]]] = [
        ("overlap", "Overlap of the leading subspaces", lambda r: r.overlap_with_id)
    ]
    for j in range(study.conventions.k):
        measures.append((f"cosine-{j + 1}", f"|cos| of singular vector {j + 1}", partial(_cosine, j)))
    sentence = study.unshifted
    if study.families.shifted:
        sentence = (
            "Agreement of leading directions with prompts in distribution, at each site. With a learned signature, the "
            "solid line is above the dotted one by more than in untrained networks."
        )
    ratio = float(study.survey.families[IN_DISTRIBUTION].sites[study.main_site.label].scores.swap_ratio.mean())
    if ratio > 0.9:
        sentence += (
            f" The first two singular values are close (mean s2/s1 {number(ratio)}), so v1 and v2 may swap: "
            "use the overlap, not the single cosines."
        )
    sentence += f" Conventions: {study.conventions.describe()}."
    cells = tuple(_agreement_cell(study, *measure) for measure in measures)
    return FigureGrid("agreement", "Agreement of leading directions along the network", sentence, cells)


def _agreement_cell(study: Surveyed, name: str, title: str, quantity: Callable[[SiteRecord], float]) -> FigureView:
    sites = [site.label for site in study.sites]
    lone = len(sites) == 1

    def shifted(survey: NetworkSurvey, site: str) -> float:
        values = [quantity(r.sites[site]) for label, r in survey.families.items() if label != IN_DISTRIBUTION]
        return math.fsum(values) / len(values)

    def own(survey: NetworkSurvey, site: str) -> float:
        return quantity(survey.families[IN_DISTRIBUTION].sites[site])

    model, control = role_style("model"), role_style("untrained")
    lines = []
    if study.untrained:
        n = len(study.untrained)
        both = [("untrained: in distribution", own, "solid"), ("untrained: shifted", shifted, "dot")]
        for label, take, dash in both if study.families.shifted else both[:1]:
            rows = [[take(survey, site) for site in sites] for survey in study.untrained]
            mean = [math.fsum(column) / n for column in zip(*rows, strict=True)]
            lines.append(Line(label, sites, mean, _dashed(control, dash), width=1.5, markers=lone))
    if study.families.shifted:
        under = [shifted(study.survey, site) for site in sites]
        lines.append(Line("shifted", sites, under, _dashed(model, "dot"), markers=lone))
    values = [own(study.survey, site) for site in sites]
    lines.append(Line("in distribution", sites, values, model, width=3, markers=lone))
    last = study.main_site.label
    beside = f", {number(shifted(study.survey, last))} under shift" if study.families.shifted else ""
    sentence = (
        f"At {last}: {number(own(study.survey, last))} in distribution{beside}, each with other in-distribution "
        "prompts."
    )
    return FigureView(
        id=f"agreement-{name}",
        title=title,
        figure=along(
            lines_figure(lines, x="site", y="mean over pairs with fit prompts", y_range=(0, 1.02)), x=of_sites(sites)
        ),
        sentence=sentence,
        aria_label=f"Line chart along the network: {title}. {sentence}",
        height=300,
    )


def _cosine(j: int, record: SiteRecord) -> float:
    return float(record.cosines_with_id[j])


def _dashed(style: TraceStyle, dash: str) -> TraceStyle:
    return replace(style, dash=dash)


def _table(study: Surveyed) -> TableView:
    site = study.main_site.label
    rows = []
    for label, record in study.survey.families.items():
        r = record.sites[site]
        untrained = [survey.families[label].sites[site].overlap_with_id for survey in study.untrained]
        mean = math.fsum(untrained) / len(untrained) if untrained else None
        swapped = float(r.scores.swapped.float().mean())
        cosines = [float(c) for c in r.cosines_with_id]
        rows.append((label, float(r.spectrum[0]), r.overlap_within, r.overlap_with_id, mean, *cosines, swapped))
    names = [f"|cos| v{j + 1}" for j in range(study.conventions.k)]
    return TableView(
        columns=("family", "s1", "overlap within", "overlap with ID", "untrained", *names, "share swapped"),
        rows=tuple(rows),
        caption=f"Spectra and agreement at {site}",
        notes="s1: mean largest singular value. |cos|: with prompts in distribution, direction by direction. Share "
        "swapped: prompts with s2/s1 above 0.9, where v1 and v2 may have changed places. Untrained: overlap with ID, "
        "mean over untrained networks.",
    )
