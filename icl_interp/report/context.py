"""What the template needs to know of a page: numbers of figures, formatted cells, embedded JSON."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from markupsafe import Markup

from icl_interp.errors import InputError
from icl_interp.report.escaping import embedded_json
from icl_interp.report.legend import shared_legend
from icl_interp.report.model import FigureGrid, FigureView, Page, Section, Tone, Verdict
from icl_interp.report.tables import MISSING, Cell, TableView, format_column
from icl_interp.report.traces import table_of_traces

__all__ = ["page_context"]

_ROWS_ON_PAGE = 200
_SHORT = 24  # characters that stay on one line
_WORDS: Mapping[Tone, str] = {
    "evidence": "Evidence",
    "none": "No evidence beyond the control",
    "mixed": "Mixed evidence",
    "unknown": "Cannot be told",
}
# A disc with a tick, a ring, a half disc, a broken ring with a question mark: told apart without colour.
_RING = '<circle cx="9" cy="9" r="7.5" fill="none" stroke="currentColor" stroke-width="1.5"{}/>'
_SHAPES: Mapping[Tone, str] = {
    "evidence": '<circle cx="9" cy="9" r="8.25" fill="currentColor"/>'
    '<path d="M5.2 9.3l2.6 2.6 5-5.6" fill="none" stroke="var(--panel)" stroke-width="1.8"/>',
    "none": _RING.format(""),
    "mixed": _RING.format("") + '<path d="M9 1.5a7.5 7.5 0 0 0 0 15z" fill="currentColor"/>',
    "unknown": _RING.format(' stroke-dasharray="2.6 2.1"')
    + '<path d="M6.9 7.2a2.1 2.1 0 1 1 2.9 2c-.6.3-.8.6-.8 1.2M9 12.4v1.2" fill="none" stroke="currentColor" '
    'stroke-width="1.5"/>',
}


def page_context(page: Page) -> dict[str, Any]:
    """Lay a page out for the template.

    Args:
        page: What to show.

    Returns:
        The template's variables, besides scripts and styles.

    Raises:
        InputError: If a figure is not plotly JSON, or has neither data nor traces to read them from.
    """
    numbers = {"figure": count(1), "table": count(1)}
    sections = [_section(section, numbers) for section in page.sections]
    targets = {view["id"]: view for section in sections for view in _views(section)}
    contents = [(section.id, section.title) for section in page.sections]
    if page.verdicts:
        contents.insert(0, ("page--verdicts", "In short"))
    if page.provenance:
        contents.append(("page--provenance", "Provenance"))
    verdicts = [_verdict(verdict, targets) for verdict in page.verdicts]
    return {"page": page, "contents": contents, "sections": sections, "verdicts": verdicts}


def _views(section: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield section
    for item in section["blocks"]:
        yield item
        yield from item.get("cells", ())
    for part in section["parts"]:
        yield from _views(part)


def _verdict(verdict: Verdict, targets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    target = targets.get(verdict.anchor or "", {})
    number = target.get("number")
    return {
        "title": verdict.title,
        "sentence": verdict.sentence,
        "tone": verdict.tone,
        "word": verdict.word or _WORDS[verdict.tone],
        "icon": Markup(f'<svg viewBox="0 0 18 18" aria-hidden="true">{_SHAPES[verdict.tone]}</svg>'),
        "points": verdict.points,
        "detail": verdict.detail,
        "anchor": verdict.anchor,
        "target": f"figure {number}" if number else f"“{target.get('title', '')}”",
    }


def _section(section: Section, numbers: Mapping[str, Iterator[int]]) -> dict[str, Any]:
    blocks = [_grid(i, numbers) if isinstance(i, FigureGrid) else _figure(i, numbers) for i in section.figures]
    tables = []
    for table in section.tables:
        number = next(numbers["table"])
        tables.append(_table(table, name=f"{section.id}-table-{number}", number=number))
    return {
        "id": section.id,
        "title": section.title,
        "lead": section.lead,
        "folded": section.folded,
        "tables_first": section.tables_first,
        "blocks": blocks,
        "tables": tables,
        "inside": _inside(section),
        "parts": [_section(part, numbers) for part in section.parts],  # numbered after what stands above them
    }


def _inside(section: Section) -> str:
    counts = [
        (section.n_plots, "plot"),
        (len(section.tables) + sum(len(part.tables) for part in section.parts), "table"),
    ]
    return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts if n)


def _grid(grid: FigureGrid, numbers: Mapping[str, Iterator[int]]) -> dict[str, Any]:
    number = next(numbers["figure"])
    return {
        "id": grid.id,
        "title": grid.title,
        "sentence": grid.sentence,
        "number": number,
        "legend": shared_legend(_parse(cell) for cell in grid.figures),
        "cells": [_figure(cell, None) for cell in grid.figures],
    }


def _figure(view: FigureView, numbers: Mapping[str, Iterator[int]] | None) -> dict[str, Any]:
    figure = _parse(view)
    data = view.data or table_of_traces(figure, caption=f"Data of “{view.title}”")
    if data is None:
        raise InputError(
            f"FigureView {view.id!r} needs its numbers as a table, got data=None and no trace with x and y; "
            "pass a TableView."
        )
    return {
        "id": view.id,
        "title": view.title,
        "sentence": view.sentence,
        "aria_label": view.aria_label,
        "height": view.height,
        "number": None if numbers is None else next(numbers["figure"]),
        "json": embedded_json(figure),
        "data": _table(data, name=view.id, number=None),
    }


def _parse(view: FigureView) -> dict[str, Any]:
    text = view.figure if isinstance(view.figure, str) else view.figure.to_json()
    try:
        figure = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"FigureView {view.id!r} needs plotly JSON, got text that is no JSON ({error}).") from None
    if not isinstance(figure, dict) or not isinstance(figure.get("data"), list):
        raise InputError(f"FigureView {view.id!r} needs plotly JSON with a list called 'data', got other JSON.")
    return {"data": figure["data"], "layout": figure.get("layout") or {}}


def _table(table: TableView, *, name: str, number: int | None) -> dict[str, Any]:
    shown, rest = table.rows[:_ROWS_ON_PAGE], table.rows[_ROWS_ON_PAGE:]
    texts = [format_column([row[i] for row in shown]) for i in range(len(table.columns))]
    return {
        "name": re.sub(r"[^\w.-]+", "-", name),
        "caption": table.caption,
        "notes": table.notes,
        "number": number,
        "count": len(table.rows),
        "headings": [{"text": c, "side": s} for c, s in zip(table.columns, table.align, strict=True)],
        "rows": [
            [_cell(cell, texts[i][r], table.align[i], heads=i == 0) for i, cell in enumerate(row)]
            for r, row in enumerate(shown)
        ],
        "rest": embedded_json(rest) if rest else None,
        "rest_count": len(rest),
    }


def _cell(value: Cell, text: str, side: str, *, heads: bool) -> dict[str, Any]:
    missing = not isinstance(value, str) and text == MISSING
    exact = "" if missing else str(value)
    return {
        "tag": "th" if heads else "td",
        "text": text,
        "side": side,
        "missing": missing,
        "short": len(text) <= _SHORT,
        "raw": None if exact == text else exact,
    }
