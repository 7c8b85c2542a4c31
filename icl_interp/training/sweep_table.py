"""The summary of a sweep: a row a run, on the disk as CSV and parquet, whether the sweep came to its end or not."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from icl_interp.files import refuse_foreign, write_atomically
from icl_interp.runs.folder import read_manifest, read_metrics

FINISHED, FAILED, BEGUN, NOT_BEGUN = "finished", "failed", "begun", "not begun"
"""What a run of a sweep can be; the last two where the sweep was stopped."""


class ParquetWarning(UserWarning):
    """The table of a sweep could not be written as parquet; the CSV holds the same."""


def run_row(
    status: str, *, step: int | None = None, loss: float | None = None, seconds: float | None = None, error: str = ""
) -> dict[str, Any]:
    """Make the columns that tell how a run ended."""
    return {"status": status, "step": step, "loss": loss, "seconds": seconds, "error": error}


def row_on_disk(folder: Path) -> dict[str, Any]:
    """Tell from its folder how far a run is that nobody reported on."""
    try:
        manifest, metrics = read_manifest(folder), read_metrics(folder)
    except (OSError, ValueError) as error:
        return run_row(BEGUN, error=" ".join(str(error).split()))
    if not manifest:
        return run_row(NOT_BEGUN)
    last = metrics[-1] if metrics else {"step": 0}
    status = FINISHED if manifest["finished"] else BEGUN
    return run_row(status, step=last["step"], loss=last.get("loss"), seconds=manifest.get("seconds"))


def failed_row(folder: Path, error: Exception, *, seconds: float) -> dict[str, Any]:
    """Tell why a run failed and how far it had come."""
    reached = row_on_disk(folder)
    clauses = " ".join(str(error).split()).split("; ")
    kept = [clause for clause in clauses if "--out" not in clause] or clauses
    text = f"{type(error).__name__}: {'; '.join(kept).rstrip('.')}."
    return {**reached, "status": FAILED, "seconds": round(seconds, 1), "error": text}


def summary_table(rows: Iterable[tuple[Mapping[str, Any], Path, Mapping[str, Any]]]) -> pd.DataFrame:
    """Lay runs out as a table."""
    return pd.DataFrame([
        {**{name: _cell(value) for name, value in values.items()}, "run": folder.name, **row}
        for values, folder, row in rows
    ])


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)


def check_table_places(out: Path) -> None:
    """Refuse a folder that holds something else under the names of the table."""
    columns = ["run", *run_row(NOT_BEGUN)]

    def is_csv(path: Path) -> bool:
        return path.read_bytes().partition(b"\n")[0].strip().endswith(",".join(columns).encode())

    def is_parquet(path: Path) -> bool:
        content = path.read_bytes()
        return content.startswith(b"PAR1") and all(name.encode() in content for name in columns)

    refuse_foreign(out / "sweep.csv", is_csv, what="the table of a sweep")
    refuse_foreign(out / "sweep.parquet", is_parquet, what="the table of a sweep")


def write_table(table: pd.DataFrame, out: Path) -> Path:
    """Write the table, completely or not at all."""
    text, parquet = table.to_csv(index=False), out / "sweep.parquet"
    path = write_atomically(out / "sweep.csv", lambda file: file.write(text.encode()))
    try:
        write_atomically(parquet, lambda file: _of_one_kind(table).to_parquet(file, index=False))
    except ImportError:  # of pyarrow; the CSV holds the same
        pass
    except (OSError, TypeError, ValueError, LookupError, NotImplementedError) as error:  # all of pyarrow's are these
        parquet.unlink(missing_ok=True)  # an older table beside the new one would contradict it
        reason = " ".join(str(error).split()).rstrip(".")
        warnings.warn(f"{parquet} could not be written ({reason}); {path} holds it all.", ParquetWarning, stacklevel=2)
    return path


def _of_one_kind(table: pd.DataFrame) -> pd.DataFrame:
    # Parquet's columns have one kind each.
    stored = table.copy()
    for name in table:
        if len({type(value) for value in table[name].dropna()}) > 1:
            stored[name] = [value if value is None else str(value) for value in table[name]]
    return stored
