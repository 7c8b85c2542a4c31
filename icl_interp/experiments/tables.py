"""The numbers of an experiment's figures as JSON, so that figures can be checked without training anything."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from icl_interp.errors import InputError
from icl_interp.experiments.outcome import Outcome, Paper
from icl_interp.experiments.stored import complete, read_stored, write_stored

__all__ = ["FigureTable", "FigureTables", "write_tables"]

FORMAT = "icl-interp tables 1"
_DIGITS = 6

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class FigureTable:
    """What one figure shows."""

    id: str
    """Of the figure on the page."""
    title: str
    """What is drawn."""
    sentence: str
    """What is seen."""
    columns: tuple[str, ...]
    """Names."""
    rows: tuple[tuple[Cell, ...], ...]
    """Numbers of six significant digits; None where there is none or it is not finite."""

    def __repr__(self) -> str:
        return f"FigureTable({self.id}, {len(self.rows)} rows)"


@dataclass(frozen=True, slots=True, eq=False)
class FigureTables:
    """What a file of tables says."""

    paper: Paper
    """Which paper."""
    preset: str
    """At which size."""
    tables: tuple[FigureTable, ...]
    """One a figure."""
    provenance: Mapping[str, str | int | float]
    """What it was made with."""

    def __repr__(self) -> str:
        return f"FigureTables({self.paper.name}, {self.preset}, {len(self.tables)} tables)"


def write_tables(outcome: Outcome, path: str | Path, provenance: Mapping[str, str | int | float]) -> Path:
    """Write the numbers of all figures, completely or not at all."""
    tables = [
        {
            "id": panel.id,
            "title": panel.title,
            "sentence": panel.sentence,
            "columns": list(panel.columns),
            "rows": [[_rounded(cell) for cell in row] for row in panel.rows],
        }
        for panel in outcome.panels
    ]
    said = {"format": FORMAT, "paper": asdict(outcome.paper), "preset": outcome.preset, "provenance": dict(provenance)}
    # A row a line: short, and its differences can be read.
    lines = json.dumps(said, indent=2, ensure_ascii=False)[:-2] + ',\n  "tables": [\n'
    lines += ",\n".join(_lines(table) for table in tables) + "\n  ]\n}\n"
    return write_stored(path, lines, FORMAT, what="a file of tables")


def _lines(table: Mapping[str, object]) -> str:
    head = {name: value for name, value in table.items() if name != "rows"}
    rows = table["rows"]
    assert isinstance(rows, list)
    written = ",\n".join(f"      {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'    {json.dumps(head, ensure_ascii=False)[:-1]}, "rows": [\n{written}\n    ]}}'


def _rounded(cell: Cell) -> Cell:
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.{_DIGITS}g}") if math.isfinite(cell) else None


def _read_tables(path: str | Path) -> FigureTables:
    """Read the numbers of an experiment's figures."""
    contents = read_stored(path, FORMAT, what="a file of tables", written_by="icl-reproduce")
    with complete(path, what="a file of tables", written_by="icl-reproduce"):
        tables = tuple(
            FigureTable(t["id"], t["title"], t["sentence"], tuple(t["columns"]), tuple(tuple(row) for row in t["rows"]))
            for t in contents["tables"]
        )
        for table in tables:
            if any(len(row) != len(table.columns) for row in table.rows):
                raise InputError(f"a row of {table.id} has not {len(table.columns)} cells")
        return FigureTables(Paper(**contents["paper"]), str(contents["preset"]), tables, dict(contents["provenance"]))
