"""The signature's three readings, A, B and C, side by side along the network."""

import math

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study_result import Study
from icl_interp.measure.survey import NetworkSurvey, SiteRecord
from icl_interp.report.model import FigureGrid, FigureView
from icl_interp.report.sentences import listing, number
from icl_interp.report.tables import Cell, TableView
from probes.spectra import SWAP_THRESHOLD

__all__ = ["variants_grid", "variants_table"]

VARIANTS = {
    "A": "pairs of prompts, |cos| of matched directions",
    "B": "reference directions, |cos| one by one",
    "C": "reference subspace, overlap",
}
"""What each variant compares; higher means that prompts agree more."""


def variants_grid(study: Study) -> FigureGrid:
    """Draw the contrast in distribution minus shifted, for each variant along the network.

    Args:
        study: All numbers.

    Returns:
        One figure a variant, with untrained networks.
    """
    site = study.main_site.label
    contrasts = {name: _contrast(study.survey, name, site) for name in VARIANTS}
    said = [f"{name} {number(value)}" for name, value in contrasts.items()]
    sentence = f"At {site}, in distribution minus shifted: {listing(said)}."
    if study.untrained:
        untrained = [f"{name} {number(_untrained_contrast(study, name, site))}" for name in VARIANTS]
        sentence += f" In untrained networks: {listing(untrained)}."
    swapping = _swapping(study)
    if swapping:
        sentence += (
            f" At {listing(swapping)} mean s2/s1 is above {SWAP_THRESHOLD:g} in distribution, so v1 and v2 may swap: "
            "trust C there, not A and B."
        )
    return FigureGrid(
        "variants",
        "Variants A, B and C of the signature, side by side",
        sentence,
        tuple(_cell(study, n) for n in VARIANTS),
    )


def variants_table(study: Study) -> TableView:
    """Lay the variants out for every place along the network.

    Args:
        study: All numbers.

    Returns:
        In distribution and shifted, of the model and of untrained networks.
    """
    rows: list[tuple[Cell, ...]] = []
    for name in VARIANTS:
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
        notes="; ".join(f"{name}: {meaning}" for name, meaning in VARIANTS.items())
        + ". Means over directions, and over shifts. Where s2/s1 is above 0.9, v1 and v2 may swap, which lowers A and "
        "B and leaves C alone.",
    )  # fmt: skip


def _cell(study: Study, name: str) -> FigureView:
    sites = [site.label for site in study.sites]
    lines = []
    if study.untrained:
        control = [_untrained_contrast(study, name, site) for site in sites]
        lines.append(Line("untrained networks", sites, control, role_style("untrained"), width=1.5))
    values = [_contrast(study.survey, name, site) for site in sites]
    lines.append(Line("this model", sites, values, role_style("model"), width=3))
    most = sites[max(range(len(sites)), key=lambda i: values[i])]
    sentence = f"Largest at {most}: {number(max(values))}."
    return FigureView(
        id=f"variant-{name}",
        title=f"{name}: {VARIANTS[name]}",
        figure=lines_figure(lines, x="site", y="in distribution minus shifted"),
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


def _untrained_contrast(study: Study, name: str, site: str) -> float:
    values = [_contrast(survey, name, site) for survey in study.untrained]
    return math.fsum(values) / len(values)


def _swapping(study: Study) -> list[str]:
    sites = study.survey.families[IN_DISTRIBUTION].sites
    return [name for name, record in sites.items() if float(record.scores.swap_ratio.mean()) > SWAP_THRESHOLD]
