"""Tables as data, and their numbers as a reader sees them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from icl_interp.errors import InputError, InputTypeError
from probes._core.results import short_repr

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*")  # no "--": the page's own anchors carry it
Cell = str | float | int | None
_Align = Literal["left", "right"]
MISSING = "n/a"
_MINUS = "\N{MINUS SIGN}"


def check_choice(who: str, what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{who} needs {what} to be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_text(who: str, **texts: str) -> None:
    if empty := [name for name, text in texts.items() if not text.strip()]:
        raise InputError(f"{who} needs {' and '.join(empty)}, got nothing but blanks.")


def check_id(who: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise InputError(
            f"{who} needs an id of letters, digits, '_', '.' and single hyphens that starts with a letter, "
            f"got {value!r}."
        )


@dataclass(frozen=True, slots=True)
class TableView:
    """A table: numbers keep their full precision in the CSV and are rounded column by column on the page.

    Raises:
        InputError: If there is no column or no caption, or a row or `align` does not fit the columns.
        InputTypeError: If a cell is neither text nor a number nor None.

    Example:
        >>> TableView(("shift", "AUROC"), (("x_scale 3", 0.97), ("skewed x", None)), caption="All").align
        ('left', 'right')
    """

    columns: tuple[str, ...]
    """Headings; the first column heads the rows."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells; None and NaN show as n/a."""
    caption: str
    """What the table shows."""
    notes: str | None = None
    """A sentence beneath the table."""
    align: tuple[_Align, ...] = ()
    """One of "left" and "right" a column; when empty, columns of numbers go right."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_text(f"TableView with columns {self.columns}", caption=self.caption)
        if not self.align:
            object.__setattr__(self, "align", tuple(_guess_align(self.rows, i) for i in range(len(self.columns))))
        _check_table(self)


def format_column(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Write a column's numbers with one count of decimals, so that they line up.

    Formula: decimals = 2 - floor(log10(median of the non-zero |cells|)), within 0 to 3, or 4 where all are
    below 0.1. Non-zero floats that would lose all their digits, and those from a million on, go scientific
    with three digits. Integers stay whole.
    """
    floats = [abs(c) for c in cells if isinstance(c, float) and math.isfinite(c) and c != 0]
    middle = sorted(floats)[len(floats) // 2] if floats else 1.0
    most = 4 if floats and max(floats) < 0.1 else 3
    decimals = min(max(2 - math.floor(math.log10(middle)), 0), most)
    return tuple(_format_cell(cell, decimals) for cell in cells)


def _format_cell(cell: Cell, decimals: int) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None or math.isnan(cell):
        return MISSING
    if math.isinf(cell):
        text = "∞" if cell > 0 else "-∞"
    elif isinstance(cell, int):
        text = str(cell) if abs(cell) < 10_000 else f"{cell:,}"
    elif cell != 0 and not 0.5 * 10**-decimals <= abs(cell) < 1e6:
        mantissa, exponent = f"{cell:.2e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{cell:,.{decimals}f}"
    return text.replace("-", _MINUS)


def _check_table(table: TableView) -> None:
    n_columns = len(table.columns)
    if n_columns == 0:
        raise InputError(f"TableView {table.caption!r} needs at least one column, got none.")
    for i, row in enumerate(table.rows):
        if len(row) != n_columns:
            raise InputError(f"TableView {table.caption!r} needs {n_columns} cells a row, got {len(row)} in row {i}.")
        _check_cells(table.caption, row, i)
    if len(table.align) != n_columns:
        raise InputError(f"TableView {table.caption!r} needs {n_columns} alignments, got {len(table.align)}.")
    for side in table.align:
        check_choice(f"TableView {table.caption!r}", "align", side, get_args(_Align))


def _guess_align(rows: Sequence[Sequence[Cell]], column: int) -> _Align:
    cells = [row[column] for row in rows if column < len(row) and row[column] is not None]
    return "right" if cells and not any(isinstance(cell, str) for cell in cells) else "left"


def _check_cells(caption: str, row: Sequence[object], index: int) -> None:
    if wrong := [type(cell).__name__ for cell in row if not isinstance(cell, str | float | int | None)]:
        raise InputTypeError(
            f"TableView {caption!r} needs text, numbers or None as cells, got {wrong[0]} in row {index}; "
            "convert it with .item() or str()."
        )
