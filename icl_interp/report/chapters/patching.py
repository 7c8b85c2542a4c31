"""Which site and which position carries the answer?"""

import math

from icl_interp.measure.patching_map import QUERY, PatchingMap
from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import percent
from icl_interp.report.tables import TableView

_MOST = 0.5
"""A place carries the answer where it restores more."""
_LITTLE = 0.01
_UNMOVED = 0.01
"""Answers whose mean squared change is below this share of E[y²] hardly differ."""
_NOTHING = "The answers of the two prompts hardly differ, so there is nothing to restore."


def chapter(study: Study) -> Chapter:
    found, title = study.patching, "Where does the network carry the answer?"
    if found is None:
        return Chapter(Section("patching", title, study.absent["patching"]))
    lead = (
        f"Each prompt has a twin with {found.corruption}, so that the answer to the last query changes. The residual "
        "stream of the prompt replaces that of its twin at one site, at one position or at all positions of a kind. "
        "The figures show which share of the answer's change this restores (0: nothing, 1: all of it; "
        f"{found.n_prompts} pairs of prompts). What restores the answer carries it. No untrained networks stand beside "
        "these numbers, so they describe the model and are no evidence of learning."
    )
    figures = (*([_positions(found)] if found.places else []), _kinds(found))
    return Chapter(Section("patching", title, lead, figures=figures))


def _kinds(found: PatchingMap) -> FigureView:
    sentence = (
        "All positions of a kind patched together. In a network that learns from its examples, they carry the answer "
        f"first and the query does after the last block. {_moves(found)}"
    )
    return FigureView(
        id="patching-kinds",
        title="Share restored by kind of position",
        figure=found.plot("kinds"),
        sentence=sentence,
        aria_label=f"Heat map of sites by kinds of positions. {sentence}",
        data=_table(found, kinds=True),
        height=150 + 30 * len(found.sites),
    )


def _moves(found: PatchingMap) -> str:
    column = found.restored_by_kind[:, found.kinds.index(QUERY)]
    if not bool(column.isfinite().all()):
        return "Here the answer does not change with the labels, so there is nothing to restore."
    if found.difference < _UNMOVED:
        return _NOTHING
    place = next((i for i, value in enumerate(column.tolist()) if value > _MOST), None)
    if place is None:
        return "Here no site at the query restores half of it."
    at = found.kinds.index(QUERY)
    low, high = float(found.low[place, at]), float(found.high[place, at])
    text = (
        f"Here the query carries it from {found.sites[place]} on: {percent(float(column[place]))} "
        f"[{percent(low)}, {percent(high)}]"
    )
    if place == 0:
        return f"{text}."
    before = found.restored_by_kind[place - 1]
    other = int(before.nan_to_num(nan=-math.inf).argmax())
    return f"{text}. At {found.sites[place - 1]} it is still the {found.kinds[other]}: {percent(float(before[other]))}."


def _positions(found: PatchingMap) -> FigureView:
    sentence = (
        "Share restored by each position alone. Where one position carries the answer, its cell is near 1; where "
        f"several share it, each restores a part. {_first_site(found)}"
    )
    return FigureView(
        id="patching-map",
        title="Share restored by site and position",
        figure=found.plot("positions"),
        sentence=sentence,
        aria_label=f"Heat map of sites by positions. {sentence}",
        data=_table(found, kinds=False),
        height=170 + 30 * len(found.sites),
    )


def _first_site(found: PatchingMap) -> str:
    row = found.restored[0]
    if not bool(row.isfinite().all()):
        return "Here the answer does not change with the labels."
    if found.difference < _UNMOVED:
        return _NOTHING
    top = int(row.argmax())
    if float(row[top]) < _LITTLE:
        return f"At {found.sites[0]} no position restores anything by itself."
    text = f"At {found.sites[0]} {found.places[top]} restores most, {percent(float(row[top]))}"
    silent = [place for place, value in zip(found.places, row.tolist(), strict=True) if abs(value) < _LITTLE]
    return f"{text}; {len(silent)} of {len(found.places)} places restore less than 1 %."


def _table(found: PatchingMap, *, kinds: bool) -> TableView:
    frame = found.to_frame()
    frame = frame[frame["patched"] == ("kind" if kinds else "position")]
    columns = ["site", "positions", "restored", *(["low", "high"] if kinds else [])]
    return TableView(
        tuple(columns),
        tuple(tuple(row) for row in frame[columns].itertuples(index=False, name=None)),
        caption="Share of the answer's change that is restored",
    )
