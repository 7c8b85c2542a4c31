"""A page as one HTML file that opens anywhere, without a network."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from icl_interp.errors import InputError
from icl_interp.figures.theme import plotlyjs_source, plotlyjs_version
from icl_interp.files import finite, is_own_page, refuse_foreign, write_atomically
from icl_interp.report.glossary import Term
from icl_interp.report.model import FigureGrid, FigureView, Page, Section, Tone, Verdict
from icl_interp.report.tables import MISSING, Cell, TableView, check_choice, format_column

_CODE = re.compile(r"`([^`]+)`")
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
_ROWS_ON_PAGE = 200
_SHORT = 24  # characters that stay on one line
_WORDS: Mapping[Tone, str] = {
    "evidence": "Evidence",
    "opposite": "The opposite",
    "none": "Nothing that matters",
    "inconclusive": "Not shown",
    "mixed": "Partly",
    "unknown": "Not applicable",
}
# A disc with a tick or a cross, a ring, a half disc, a broken ring with a question mark or a dash: told apart without
# colour.
_RING = '<circle cx="9" cy="9" r="7.5" fill="none" stroke="currentColor" stroke-width="1.5"{}/>'
_SHAPES: Mapping[Tone, str] = {
    "evidence": '<circle cx="9" cy="9" r="8.25" fill="currentColor"/>'
    '<path d="M5.2 9.3l2.6 2.6 5-5.6" fill="none" stroke="var(--panel)" stroke-width="1.8"/>',
    "opposite": '<circle cx="9" cy="9" r="8.25" fill="currentColor"/>'
    '<path d="M5.8 5.8l6.4 6.4M12.2 5.8l-6.4 6.4" fill="none" stroke="var(--panel)" stroke-width="1.8"/>',
    "none": _RING.format(""),
    "mixed": _RING.format("") + '<path d="M9 1.5a7.5 7.5 0 0 0 0 15z" fill="currentColor"/>',
    "unknown": _RING.format(' stroke-dasharray="2.6 2.1"')
    + '<path d="M5.5 9h7" stroke="currentColor" stroke-width="1.5"/>',
    "inconclusive": _RING.format(' stroke-dasharray="2.6 2.1"')
    + '<path d="M6.9 7.2a2.1 2.1 0 1 1 2.9 2c-.6.3-.8.6-.8 1.2M9 12.4v1.2" fill="none" stroke="currentColor" '
    'stroke-width="1.5"/>',
}
PlotlyJS = Literal["embed", "cdn", "directory"]
_MEGABYTE = 1_000_000
_MAX_MEGABYTES = 25
PLOTLYJS_FILE = "plotly.min.js"
# The browser itself then keeps the page from asking anyone for anything. WebGL traces compile with eval.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:"
)


def prose(text: str) -> Markup:
    """Escape plain text for HTML and set what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


class _Linked:
    """Sets prose, and links each term of a glossary to its definition at its first use since `begin`."""

    def __init__(self, glossary: Sequence[Term]) -> None:
        self._terms = {form.lower(): term for term in glossary for form in (term.name, *term.forms)}
        forms = "|".join(re.escape(str(escape(form))) for form in sorted(self._terms, key=len, reverse=True))
        self._pattern = re.compile(rf"<code>.*?</code>|(?<![\w-])({forms})(?![\w-])", flags=re.IGNORECASE)
        self._seen: set[Term] = set()
        self.used: set[Term] = set()

    def begin(self) -> str:
        """Start a chapter."""
        self._seen = set()
        return ""

    def __call__(self, text: str) -> Markup:
        set_text = prose(text)
        return Markup(self._pattern.sub(self._link, str(set_text))) if self._terms else set_text

    def _link(self, match: re.Match[str]) -> str:
        term = self._terms.get((match.group(1) or "").lower())
        if term is None or term in self._seen:
            return match.group()
        self._seen.add(term)
        self.used.add(term)
        return f'<a class="term" href="#{term.anchor}" title="{escape(term.meaning)}">{match.group()}</a>'


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


def _shared_legend(figures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the named traces of all figures, each name once."""
    entries: dict[str, dict[str, Any]] = {}
    for trace in (trace for figure in figures for trace in figure["data"]):
        name = trace.get("name")
        if name and trace.get("showlegend") is not False and name not in entries:
            group = trace.get("legendgroup") or name
            entries[name] = {"name": str(name), "group": str(group), "swatch": _swatch(trace)}
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

    Traces without a hover label (the bands around lines) are left out, and so are those without x and y of one length.
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


def page_context(page: Page) -> dict[str, Any]:
    numbers = {"figure": count(1), "table": count(1)}
    sections = [_section(section, numbers) for section in page.sections]
    targets = {view["id"]: view for section in sections for view in _views(section)}
    contents = [(section.id, section.title) for section in page.sections]
    if page.verdicts:
        contents.insert(0, ("page--verdicts", "In short"))
    if page.glossary:
        contents.append(("page--glossary", "Glossary"))
    if page.provenance:
        contents.append(("page--provenance", "Provenance"))
    verdicts = [_verdict(verdict, targets) for verdict in page.verdicts]
    return {
        "page": page,
        "contents": contents,
        "sections": sections,
        "verdicts": verdicts,
        "choices": _choices(view for section in sections for view in _views(section)),
    }


def _keys() -> tuple[str, ...]:
    from icl_interp.figures.choices import KEYS  # with plotly, which a refused file need not wait for

    return KEYS


def _choices(views: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List what the figures let a reader choose: numbers in order, names as they come."""
    places = [place for view in views for place in view.get("places", ())]
    choices = []
    for key in _keys():
        values = list(dict.fromkeys(place[key] for place in places if key in place))
        if len(values) > 1:
            numbers = sorted(value for value in values if isinstance(value, int))
            choices.append({"key": key, "values": [*numbers, *(v for v in values if not isinstance(v, int))]})
    return choices


def _places(figure: Mapping[str, Any]) -> Iterator[Mapping[str, int | str]]:
    """Find what the traces and the names along the axes of a figure belong to."""
    axes = figure["layout"].get("meta")
    along = [place for names in axes.values() for place in names] if isinstance(axes, dict) else []
    for meta in (*(trace.get("meta") for trace in figure["data"]), *along):
        if isinstance(meta, dict) and any(key in meta for key in _keys()):
            yield meta


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
        "places": list(_places(figure)),
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


def render(page: Page, *, plotlyjs: PlotlyJS = "embed") -> str:
    """Turn a page into one HTML document.

    Args:
        page: What to show.
        plotlyjs: "embed" puts plotly.js (about 5 MB) into the page, which then makes no request of any kind;
            "cdn" loads it from plotly's server, "directory" from `plotly.min.js` beside the page.

    Returns:
        HTML text.

    Raises:
        InputError: If `plotlyjs` is unknown, or a figure is not plotly JSON or has no data to list.

    Example:
        >>> html = render(Page(title="A <b>old title"), plotlyjs="directory")
        >>> "A &lt;b&gt;old title" in html
        True
    """
    check_choice("render", "plotlyjs", plotlyjs, get_args(PlotlyJS))
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    linked = _Linked(page.glossary)
    environment.filters |= {"prose": prose, "plain": plain, "linked": linked}
    return environment.from_string(_read("template.html")).render(
        page_context(page),
        linked=linked,
        style=Markup(_read("style.css")),
        script=script_source(_read("page.js")),
        theme_script=script_source(_read("theme.js")),
        plotlyjs=_plotlyjs_tag(plotlyjs),
        policy=_POLICY if plotlyjs == "embed" else None,
    )


def write_report(page: Page, path: str | os.PathLike[str], *, plotlyjs: PlotlyJS = "embed") -> Path:
    """Write a page to a file, whole or not at all.

    Args:
        page: What to show.
        path: The HTML file; an existing report of ours is replaced in one step.
        plotlyjs: As in `render`; "directory" also writes `plotly.min.js` beside the page.

    Returns:
        The path written.

    Raises:
        InputError: If the page is larger than 25 MB, `render` refuses it, or another file has that name; nothing is
            written.
        OSError: If the place cannot be written; an old file there stays as it was.
    """
    target = Path(path)
    check_report_place(target, plotlyjs=plotlyjs)
    content = render(page, plotlyjs=plotlyjs).encode()
    if len(content) > _MAX_MEGABYTES * _MEGABYTE:
        raise InputError(
            f"write_report needs a page of at most {_MAX_MEGABYTES} MB, got "
            f"{len(content) / _MEGABYTE:.1f} MB; draw fewer points a figure, or show fewer figures."
        )
    if plotlyjs == "directory":
        source = plotlyjs_source().encode()
        write_atomically(target.with_name(PLOTLYJS_FILE), lambda file: file.write(source))
    return write_atomically(target, lambda file: file.write(content))


def check_report_place(path: Path, *, plotlyjs: PlotlyJS = "embed") -> None:
    """Refuse a name for a report under which there is another file."""
    refuse_foreign(path, is_own_page, what="a report")
    if plotlyjs == "directory":
        source = plotlyjs_source().encode()
        refuse_foreign(path.with_name(PLOTLYJS_FILE), lambda file: file.read_bytes() == source, what="plotly.js")


def _read(name: str) -> str:
    return files("icl_interp.report").joinpath(name).read_text(encoding="utf-8")


def _plotlyjs_tag(plotlyjs: PlotlyJS) -> Markup:
    if plotlyjs == "embed":
        return Markup("<script>") + script_source(plotlyjs_source()) + Markup("</script>")
    if plotlyjs == "directory":
        return Markup(f'<script src="{PLOTLYJS_FILE}"></script>')
    digest = base64.b64encode(hashlib.sha256(plotlyjs_source().encode()).digest()).decode()
    url = escape(f"https://cdn.plot.ly/plotly-{plotlyjs_version()}.min.js")
    return Markup(f'<script src="{url}" integrity="sha256-{digest}" crossorigin="anonymous"></script>')
