"""What does the signature look like? Its directions, and prompts along them."""

import math

from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_view import SignatureView
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import number, percent
from icl_interp.report.tables import Cell, TableView


def chapter(study: Surveyed) -> Chapter | None:
    view: SignatureView | None = study.results.get("signature_view")
    if view is None:
        return None
    atlas = study.results.get("atlas")
    named = atlas is not None and view.site in atlas.named_sites()
    lead = (
        f"The signature at `{view.site.hook}`, {'which the atlas names' if named else 'after the last block'} "
        f"({view.conventions.describe()}). Its directions are those that prompts in distribution share; the sign of a "
        "direction is arbitrary. Only overlaps have untrained networks beside them, since directions of two networks "
        "do not correspond."
    )
    figures = (_prompts(view), _positions(view), _dimensions(view), _overlaps(view))
    return Chapter(Section("signature-view", "What does the signature look like?", lead, figures=figures))


def _prompts(view: SignatureView) -> FigureView:
    away = view.distances()
    sentence = (
        "Each point is a prompt: its mean activation along the first two directions. Shifts that move prompts along "
        "the signature stand apart from the prompts in distribution. The shifts that move them most are drawn; any "
        "other can be chosen."
    )
    if away:
        far = max(away, key=away.__getitem__)
        near = sum(value < 1 for value in away.values())
        sentence += (
            f" Here {far} is farthest, {number(away[far])} standard deviations away on average; {near} of {len(away)} "
            "shifts stay within one."
        )
    rows: list[tuple[Cell, ...]] = [
        (label, *row) for label, values in view.projections.items() for row in values.tolist()
    ]
    names = tuple(f"direction {j + 1}" for j in range(len(view.dimensions)))
    return FigureView(
        id="signature-prompts",
        title="Prompts along the signature's directions",
        figure=view.plot("prompts"),
        sentence=sentence,
        aria_label=f"Scatter of prompts along two directions. {sentence}",
        data=TableView(("family", *names), tuple(rows), caption="Mean activation of each prompt along each direction"),
        height=460,
    )


def _positions(view: SignatureView) -> FigureView:
    found = view.positions[IN_DISTRIBUTION]
    sentence = (
        "Mean loading of each position along each direction; bands hold 80 % of the prompts. A direction that all "
        "positions share is flat; one that some positions carry stands out there. "
    )
    said = []
    for j, mean in enumerate(found.mean):
        top = int(mean.abs().argmax())
        spread = float((found.high[j] - found.low[j]).mean())
        said.append(
            f"direction {j + 1} is largest at {view.rows[top]} ({number(float(mean[top]))}), and its bands are "
            f"{number(spread)} wide on average"
        )
    sentence += f"Here {'; '.join(said)}."
    rows: list[tuple[Cell, ...]] = [
        (label, name, *(float(part[j, i]) for j in range(len(found.mean)) for part in (each.mean, each.low, each.high)))
        for label, each in view.positions.items()
        for i, name in enumerate(view.rows)
    ]
    names = tuple(
        f"direction {j + 1}{what}" for j in range(len(found.mean)) for what in ("", ", 10 % below", ", 10 % above")
    )
    return FigureView(
        id="signature-positions",
        title="Loadings over positions",
        figure=view.plot("positions"),
        sentence=sentence,
        aria_label=f"Line chart over positions. {sentence}",
        data=TableView(("family", "position", *names), tuple(rows), caption="Loadings over positions"),
        height=420,
    )


def _dimensions(view: SignatureView) -> FigureView:
    width = view.dimensions.shape[1]
    said = [
        f"half of direction {j + 1} (squared) lies in {n} of them, and prompts share {percent(float(shared))} of it"
        for j, (n, shared) in enumerate(zip(view.half, view.eigenvalues, strict=True))
    ]
    sentence = (
        f"Entries of each direction over the {width} dimensions. A direction that few dimensions carry has few strong "
        f"cells. Here {'; '.join(said)}."
    )
    rows: list[tuple[Cell, ...]] = [(i, *column) for i, column in enumerate(view.dimensions.T.tolist())]
    names = tuple(f"direction {j + 1}" for j in range(len(view.dimensions)))
    return FigureView(
        id="signature-dimensions",
        title="Loadings over dimensions",
        figure=view.plot("dimensions"),
        sentence=sentence,
        aria_label=f"Heat map of directions by dimensions. {sentence}",
        data=TableView(("dimension", *names), tuple(rows), caption="Loadings over dimensions"),
        height=230,
    )


def _overlaps(view: SignatureView) -> FigureView:
    own = view.overlaps[IN_DISTRIBUTION].value
    sentence = (
        "Mean overlap of prompts with the signature. Prompts that leave it have a smaller overlap than those in "
        f"distribution, here {number(own)}."
    )
    if view.shifts:
        least = min(view.shifts, key=lambda label: view.overlaps[label].value)
        sentence += f" The smallest is {number(view.overlaps[least].value)}, under {least}"
        others = view.untrained[least]
        sentence += f" (untrained networks {number(math.fsum(others) / len(others))})." if others else "."
    if view.untrained[IN_DISTRIBUTION]:
        sentence += " Bars: 95 % interval of the model; least and largest of the untrained networks."
    frame = view.to_frame().reset_index()
    return FigureView(
        id="signature-overlaps",
        title="Overlap with the signature by shift",
        figure=view.plot("overlap"),
        sentence=sentence,
        aria_label=f"Dot plot, one row per task family. {sentence}",
        data=TableView(
            tuple(str(name).replace("_", " ") for name in frame.columns),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Overlap with the signature",
        ),
        height=150 + 26 * len(view.overlaps),
    )
