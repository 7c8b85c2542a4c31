"""Records on the disk, so that an interrupted analysis can resume and a second one costs nothing."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from icl_interp.checkpoints.safe_load import load_weight_file
from icl_interp.errors import CheckpointError
from icl_interp.files import as_json, write_atomically
from icl_interp.measure.development.checkpoint import Measured
from icl_interp.measure.development.record import CheckpointRecord, LlcRecord
from probes.signature import SpectralSignature

FOLDER = "development"
"""Inside a run folder."""
_FORMAT = "icl-interp development"
_CHECKPOINT, _LLC = TypeAdapter(CheckpointRecord), TypeAdapter(LlcRecord)


class RecordStore:
    """Where the records of one run are kept: one file each, written completely or not at all.

    A file's name holds the checksum of the checkpoint and the key of the settings, so what was measured otherwise is
    never read; files that are damaged are measured again.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def measured_path(self, sha256: str, key: str) -> Path:
        return self.folder / f"{sha256[:16]}-{key}.pt"

    def plain_path(self, what: str, sha256: str, key: str) -> Path:
        return self.folder / f"{what}-{sha256[:16]}-{key}.json"

    def write_measured(self, path: Path, measured: Measured) -> None:
        signature = {f.name: getattr(measured.signature, f.name) for f in dataclasses.fields(measured.signature)}
        content = {
            "format": _FORMAT,
            "record": _CHECKPOINT.dump_json(measured.record).decode(),
            "outputs": measured.outputs,
            "signature": {name: _own(value) for name, value in signature.items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(content, file))

    def read_measured(self, path: Path) -> Measured | None:
        try:
            content = load_weight_file(path).contents
            record = _CHECKPOINT.validate_json(content["record"])
            return Measured(record, content["outputs"], SpectralSignature(**content["signature"]))
        except (CheckpointError, LookupError, TypeError, ValueError, AttributeError):
            return None

    def write_plain(self, path: Path, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(as_json(content).encode()))

    def write_llc(self, path: Path, found: LlcRecord) -> None:
        self.write_plain(path, dataclasses.asdict(found))

    def read_llc(self, path: Path) -> LlcRecord | None:
        try:
            return _LLC.validate_json(path.read_bytes())
        except (OSError, ValueError):
            return None

    def read_plain(self, path: Path) -> dict[str, Any] | None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


def _own(value: Any) -> Any:
    return value.contiguous().clone() if isinstance(value, torch.Tensor) else value  # a view would bring its base along
