"""Figures as files for a paper: which formats there are, how wide they are, and what may be overwritten."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

from icl_interp.errors import InputError, InputTypeError
from icl_interp.files import refuse_foreign, write_atomically

if TYPE_CHECKING:  # it takes a second, and commands check their options first
    import plotly.graph_objects as go

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
MADE_BY = "icl-interp figure"
"""Stands in the metadata of every file, so that it is known as ours when it is written again."""
PIXELS_PER_INCH = 300
"""Of a PNG."""


@dataclass(frozen=True, slots=True)
class PrintStyle:
    """How a figure is set for print.

    Raises:
        InputError: If the width or the font is unknown.
    """

    width: str = "double"
    """"single", one column of a paper (85 mm), or "double" (178 mm)."""
    font: str = "sans-serif"
    """Of all text: "sans-serif" or "serif"."""

    def __post_init__(self) -> None:
        for name, choices in STYLE_CHOICES.items():
            if (got := getattr(self, name)) not in choices:
                raise InputError(f"a figure's {name} needs one of {', '.join(choices)}, got {got!r}.")


STYLE_CHOICES = {"width": ("single", "double"), "font": ("sans-serif", "serif")}
"""What each option of a `PrintStyle` may be."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One plotly figure with a title of its own above it."""

    figure: "go.Figure"
    title: str = ""


def check_printing(who: str) -> None:
    """Refuse to go on without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"{who} needs matplotlib, which is not installed; run pip install 'icl-interp[figures]'.")


def save_figure(figure: Any, path: str | os.PathLike[str], style: PrintStyle) -> Path:
    """Write one plotly figure to a file whose suffix says the format."""
    path = Path(path)
    wanted = path.suffix.lower().removeprefix(".")
    found: Format | None = next((known for known in FORMATS if known == wanted), None)
    if found is None:
        raise InputError(f"savefig needs a file name that ends in {_suffixes()}, got {path.name!r}.")
    check_printing("savefig")
    refuse_foreign(path, is_own_figure, what="a figure")
    save_panels([Panel(as_figure(figure))], {found: path}, style)
    return path


def save_panels(panels: Sequence[Panel], paths: dict[Format, Path], style: PrintStyle) -> None:
    """Draw panels side by side once, and write the drawing in each format."""
    from icl_interp.figures.static import draw, write  # matplotlib takes a second

    drawn = draw(panels, style)
    for kind, path in paths.items():

        def into(file: BinaryIO, kind: Format = kind) -> None:
            write(drawn, file, kind)

        write_atomically(path, into)


def as_figure(figure: Any) -> "go.Figure":
    """Take a plotly figure, or one as JSON text."""
    import plotly.graph_objects as go
    import plotly.io

    if isinstance(figure, go.Figure):
        return figure
    text = figure if isinstance(figure, str) else getattr(figure, "to_json", lambda: None)()
    if not isinstance(text, str):
        raise InputTypeError(f"a figure is a plotly figure or its JSON, got {type(figure).__name__}.")
    return plotly.io.from_json(text)


def is_own_figure(path: Path) -> bool:
    """Tell whether a file is a figure that icl-interp wrote."""
    return MADE_BY.encode() in path.read_bytes()


def _suffixes() -> str:
    return f"{', '.join(f'.{kind}' for kind in FORMATS[:-1])} or .{FORMATS[-1]}"
