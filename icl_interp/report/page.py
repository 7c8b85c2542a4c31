"""A page as one HTML file that opens anywhere, without a network."""

import base64
import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from icl_interp.errors import InputError
from icl_interp.figures.theme import plotlyjs_source, plotlyjs_version
from icl_interp.files import is_own_page, refuse_foreign, write_atomically
from icl_interp.report.context import page_context, plain, prose, script_source
from icl_interp.report.model import Page
from icl_interp.report.tables import check_choice

__all__ = ["PLOTLYJS_FILE", "PlotlyJS", "check_report_place", "render", "write_report"]

PlotlyJS = Literal["embed", "cdn", "directory"]

_MEGABYTE = 1_000_000
_MAX_MEGABYTES = 25
PLOTLYJS_FILE = "plotly.min.js"
# The browser itself then keeps the page from asking anyone for anything. WebGL traces compile with eval.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:"
)


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
    environment.filters |= {"prose": prose, "plain": plain}
    return environment.from_string(_read("template.html")).render(
        page_context(page),
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
