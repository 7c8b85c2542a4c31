"""How alike are the layers: CKA and Procrustes maps, beside untrained networks."""

import math

import torch

from icl_interp.measure.similarity import LayerSimilarity
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section
from icl_interp.report.sentences import number
from icl_interp.report.tables import Cell, TableView


def chapter(study: Surveyed) -> Chapter | None:
    found = study.similarity
    if found is None:
        return None
    controls = len(found.untrained_cka) > 0
    cells = [
        _cell(found, measure, untrained=untrained) for measure in ("cka", "procrustes") for untrained in (False, True)
    ]
    figures = tuple(cell for i, cell in enumerate(cells) if controls or i % 2 == 0)
    lead = (
        f"One vector per prompt ({'last position' if found.pooling == 'last' else 'mean over positions'}, "
        f"{found.n_prompts} prompts in distribution) at each site. Both measures ignore rotation and scale. "
        "Neighbouring sites are alike in untrained networks too, because each block only adds to the stream."
    )
    grid = FigureGrid("layer-similarity", "Similarity of the residual stream between sites", _sentence(found), figures)
    return Chapter(Section("similarity", "How alike are the layers?", lead, figures=(grid,), tables=(_table(found),)))


def _sentence(found: LayerSimilarity) -> str:
    steps = found.cka.diagonal(1)
    finite = steps[steps.isfinite()]
    if not len(finite):
        return "The residual stream does not vary over prompts, so there is nothing to compare."
    place = int(torch.where(steps.isfinite(), steps, torch.inf).argmin())
    text = (
        "Similarity of every pair of sites. A block that changes the representation makes neighbouring sites "
        f"unlike. Here the largest change is from {found.sites[place]} to {found.sites[place + 1]}: debiased CKA "
        f"{number(float(steps[place]))}"
    )
    control = float(found.control("cka").diagonal(1)[place]) if len(found.untrained_cka) else math.nan
    return f"{text}." if math.isnan(control) else f"{text}; untrained networks have {number(control)}."


def _cell(found: LayerSimilarity, measure: str, *, untrained: bool) -> FigureView:
    title = {"cka": "Debiased CKA", "procrustes": "Procrustes distance"}[measure]
    who = "untrained networks" if untrained else "this model"
    own = found.cka if measure == "cka" else found.procrustes
    matrix = found.control(measure) if untrained else own  # type: ignore[arg-type]  # one of two literals
    ends = number(float(matrix[0, -1]))
    sentence = f"Between {found.sites[0]} and {found.sites[-1]} it is {ends}."
    rows: list[tuple[Cell, ...]] = [(site, *map(float, matrix[i])) for i, site in enumerate(found.sites)]
    return FigureView(
        id=f"similarity-{measure}{'-untrained' if untrained else ''}",
        title=f"{title}, {who}",
        figure=found.plot(measure, untrained=untrained),  # type: ignore[arg-type]  # one of two literals
        sentence=sentence,
        aria_label=f"Colour map of {title} between sites, {who}. {sentence}",
        data=TableView(("site", *found.sites), tuple(rows), caption=f"{title}, {who}"),
        height=min(2000, 200 + 30 * len(found.sites)),
    )


def _table(found: LayerSimilarity) -> TableView:
    frame = found.to_frame()
    return TableView(
        columns=("from", "to", "CKA", "CKA, untrained", "Procrustes", "Procrustes, untrained"),
        rows=tuple((str(a), str(b), *map(float, rest)) for a, b, *rest in frame.itertuples(index=False, name=None)),
        caption="Similarity of every pair of sites",
        notes="CKA: 1 is equal up to rotation and scale, about 0 is unrelated. Procrustes: 0 is equal, 1.41 is the "
        "largest distance. Untrained: mean over untrained networks.",
    )
