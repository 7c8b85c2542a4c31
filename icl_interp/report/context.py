"""What the template needs to know of a page: escaped text, numbers of figures, tables, legends, embedded JSON."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from icl_interp.errors import InputError
from icl_interp.files import finite
from icl_interp.report.model import FigureGrid, FigureView, Page, Section, Tone, Verdict
from icl_interp.report.tables import MISSING, Cell, TableView, format_column

__all__ = [
    "page_context",
    "plain",
    "prose",
    "script_source",
]

_CODE = re.compile(r"`([^`]+)`")


def prose(text: str) -> Markup:
    """Escape plain text for HTML and set what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def plain(text: str) -> str:
    """Take the backticks out, for attributes and titles, where code cannot be set."""
    return _CODE.sub(r"\1", text)


def _embedded_json(value: Any) -> Markup:
    r"""Write JSON that may stand inside a `<script>` element whatever its strings say.

    Numbers that JSON lacks (NaN, infinities) become null.
    """
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def script_source(source: str) -> Markup:
    """Make JavaScript safe to stand between script tags."""
    return Markup(re.sub(r"</(?=script)", r"<\\/", source, flags=re.IGNORECASE))


_DASHES = {
    "solid": "none",
    "dot": "2 3",
    "dash": "7 4",
    "longdash": "12 4",
    "dashdot": "7 3 2 3",
    "longdashdot": "12 3 2 3",
}
_DASH_LENGTHS = re.compile(r"[\dpx., ]+")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{3,8}|rgba?\([\d., ]+\)")


def _shared_legend(figures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the named traces of all figures, each name once."""
    entries: dict[str, dict[str, Any]] = {}
    for trace in (trace for figure in figures for trace in figure["data"]):
        name = trace.get("name")
        if name and trace.get("showlegend") is not False and name not in entries:
            entries[name] = {"name": str(name), "swatch": _swatch(trace)}
    return list(entries.values())


def _swatch(trace: Mapping[str, Any]) -> Markup:
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    colour = str(line.get("color") or marker.get("color") or "")
    colour = colour if _COLOUR.fullmatch(colour) else "currentColor"
    mode = str(trace.get("mode") or "lines")
    shapes = ""
    if "lines" in mode:
        dash = str(line.get("dash") or "solid")
        dashes = dash if _DASH_LENGTHS.fullmatch(dash) else _DASHES.get(dash, "none")
        shapes += f'<path d="M0 5h30" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    if "markers" in mode:
        shapes += f'<circle cx="15" cy="5" r="3.5" fill="{colour}"/>'
    return Markup(f'<svg viewBox="0 0 30 10" aria-hidden="true">{shapes}</svg>')


def _table_of_traces(figure: Mapping[str, Any], caption: str) -> TableView | None:
    """List every point that a figure's traces draw.

    Traces without a hover label (the bands around lines) are left out, and so are those without x
    and y of one length.
    """
    rows = tuple(row for i, trace in enumerate(figure["data"]) for row in _rows(trace, i))
    return TableView(("series", "x", "y"), rows, caption=caption) if rows else None


def _rows(trace: Mapping[str, Any], index: int) -> list[tuple[Cell, ...]]:
    xs, ys = _values(trace.get("x")), _values(trace.get("y"))
    if trace.get("hoverinfo") == "skip" or len(xs) != len(ys):
        return []
    name = str(trace.get("name") or f"trace {index + 1}")
    return [(name, x, y) for x, y in zip(xs, ys, strict=True)]


def _values(array: object) -> Sequence[Cell]:
    if isinstance(array, Mapping) and "bdata" in array:
        flat = np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(str(array["dtype"])))
        return list(flat.tolist())
    if not isinstance(array, list):
        return []
    return [v if isinstance(v, str | int | float) else None for v in array]


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
    """Lay a page out for the template."""
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
        "legend": _shared_legend(_parse(cell) for cell in grid.figures),
        "cells": [_figure(cell, None) for cell in grid.figures],
    }


def _figure(view: FigureView, numbers: Mapping[str, Iterator[int]] | None) -> dict[str, Any]:
    figure = _parse(view)
    data = view.data or _table_of_traces(figure, caption=f"Data of “{view.title}”")
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
        "json": _embedded_json(figure),
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
        "rest": _embedded_json(rest) if rest else None,
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
