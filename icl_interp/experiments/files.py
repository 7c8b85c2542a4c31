"""The files that an experiment leaves: its claims with their numbers, and the numbers of its figures."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Claim
from icl_interp.experiments.experiment import Outcome, Paper
from icl_interp.files import is_own_json, refuse_foreign, write_atomically

Provenance = Mapping[str, str | bool | int | float]
Cell = str | int | float | None


def _rounded(cell: Any) -> Any:
    # Six significant digits; JSON has no number that is not finite.
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.6g}") if math.isfinite(cell) else None


class Kept(BaseModel):
    """A JSON file that icl-reproduce writes and reads: of one format, with what it was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    WHAT: ClassVar[str]  # what sentences call it, such as "a summary"
    BY: ClassVar[str] = "icl-reproduce"
    format: str

    @classmethod
    def check_place(cls, path: str | Path) -> None:
        """Refuse a name under which there is anything but such a file, of whatever version."""
        own_format = cls.model_fields["format"].default
        refuse_foreign(Path(path), lambda file: is_own_json(file, own_format), what=cls.WHAT)

    def __str__(self) -> str:
        return repr(self)

    def text(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: str | Path) -> Path:
        """Write it, completely or not at all; an older one is replaced."""
        self.check_place(path)
        return write_atomically(path, lambda file: file.write(self.text().encode()))


_File = TypeVar("_File", bound=BaseModel)
_Kept = TypeVar("_Kept", bound=Kept)


def read_kept(kind: type[_Kept], path: str | Path) -> _Kept:
    return read_file(kind, path, what=kind.WHAT, by=kind.BY)


def read_file(
    kind: type[_File], path: str | Path, *, what: str, by: str = "icl-reproduce", then: str = "write it again"
) -> _File:
    """Read a JSON file of one kind; whatever is wrong with it is one sentence."""
    try:
        return kind.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(_refusal(kind, path, error, what, by, then)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what} needs a JSON file, got {path} ({' '.join(str(error).split())}); {then}.") from error


def _refusal(kind: type[BaseModel], path: str | Path, error: ValidationError, what: str, by: str, then: str) -> str:
    first, *rest = error.errors()
    if first["type"] == "json_invalid":
        return f"{what} needs a JSON file, got {path} ({first['msg']}); {then}."
    if "format" in kind.model_fields and any(
        e["loc"] == ("format",) or e["type"] == "model_type" for e in (first, *rest)
    ):
        wanted = str(kind.model_fields["format"].default)
        given = next((str(e["input"]) for e in (first, *rest) if e["loc"] == ("format",)), "")
        if given.startswith(wanted.rpartition(" ")[0]):
            return f"{what} needs the format {wanted!r}, got {given!r} of another version: {path}; run {by} again."
        return f"{what} needs the format {wanted!r}, got another file: {path}; write it by {by}."
    where = ".".join(str(part) for part in first["loc"])
    reason = f"{where}: {first['msg']}" if where else first["msg"]
    return f"{what} needs all fields as {by} writes them, got {path} ({reason.rstrip('.')}); {then}."


def keep(path: Path, kind: type[_File], make: Callable[[], _File]) -> _File:
    """Read what a folder keeps, or make it and keep it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = make().model_dump_json()
        write_atomically(path, lambda file: file.write(text.encode()))
    return read_file(kind, path, what="a measurement", then="remove it and it is measured again")


class Summary(Kept):
    """The claims of an experiment; verdicts are computed from their numbers again when it is read."""

    WHAT = "a summary"
    format: Literal["icl-interp claims 3"] = "icl-interp claims 3"
    paper: Paper
    preset: str
    seeds: tuple[int, ...]
    setting: tuple[str, ...]
    unknowns: tuple[str, ...]
    claims: tuple[Claim, ...]
    provenance: Provenance

    def __repr__(self) -> str:
        return f"Summary({self.paper.name}, {self.preset}, {len(self.claims)} claims)"


def write_summary(outcome: Outcome, path: str | Path, provenance: Provenance) -> Path:
    names = ("paper", "preset", "seeds", "setting", "unknowns", "claims")
    return Summary(**{name: getattr(outcome, name) for name in names}, provenance=provenance).write(path)


def read_summary(path: str | Path) -> Summary:
    return read_kept(Summary, path)


class FigureTable(BaseModel, frozen=True, extra="forbid"):
    """What one figure shows: a `Panel` without the figure, its numbers rounded."""

    id: str
    title: str
    sentence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Annotated[Cell, BeforeValidator(_rounded)], ...], ...]

    @model_validator(mode="after")
    def _has_a_cell_per_column(self) -> "FigureTable":
        if any(len(row) != len(self.columns) for row in self.rows):
            raise InputError(f"a row of {self.id} has not {len(self.columns)} cells")
        return self

    def __repr__(self) -> str:
        return f"FigureTable({self.id}, {len(self.rows)} rows)"


class FigureTables(Kept):
    """The numbers of an experiment's figures, so that these can be checked without training anything."""

    WHAT = "a file of tables"
    format: Literal["icl-interp tables 1"] = "icl-interp tables 1"
    paper: Paper
    preset: str
    provenance: Provenance
    tables: tuple[FigureTable, ...]

    def text(self) -> str:
        """Write the contents with one row per line: short, and differences are easy to read."""
        head = json.dumps(self.model_dump(exclude={"tables"}), indent=2, ensure_ascii=False)[:-2]
        tables = ",\n".join(_lines(table.model_dump()) for table in self.tables)
        return f'{head},\n  "tables": [\n{tables}\n  ]\n}}\n'

    def __repr__(self) -> str:
        return f"FigureTables({self.paper.name}, {self.preset}, {len(self.tables)} tables)"


def _lines(table: dict[str, Any]) -> str:
    rows = ",\n".join(f"      {json.dumps(row, ensure_ascii=False)}" for row in table.pop("rows"))
    return f'    {json.dumps(table, ensure_ascii=False)[:-1]}, "rows": [\n{rows}\n    ]}}'


def write_tables(outcome: Outcome, path: str | Path, provenance: Provenance) -> Path:
    tables = tuple(FigureTable.model_validate(panel, from_attributes=True) for panel in outcome.panels)
    return FigureTables(paper=outcome.paper, preset=outcome.preset, provenance=provenance, tables=tables).write(path)
