"""Where the runs of a sweep or an experiment lie: folders named by the hash of the config, of whichever version."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from icl_interp.runs.folder import read_manifest
from icl_interp.settings import parse_yaml
from icl_interp.training.resume import config_hash
from icl_interp.training.train_config import TrainConfig

__all__ = ["run_folders"]

_HASH_LENGTH = 12
"""Hexadecimal digits of a config's hash that name its folder: 48 bits for at most thousands of runs."""
_REMEMBERED = 4096


def run_folders(parent: str | Path, configs: Sequence[TrainConfig]) -> list[Path]:
    """Find the folder of each run, or name it where there is none yet.

    A setting that is new in this version changes every hash. So, where the folder of that name is missing, one whose
    config.yaml means the same today counts: `parent` is looked through once at most, and what cannot be read in it is
    passed over.
    """
    hashes = [config_hash(config) for config in configs]
    named = [Path(parent) / name[:_HASH_LENGTH] for name in hashes]
    if all(path.exists() for path in named):
        return named
    others = _runs_by_hash(Path(parent))
    return [
        path if path.exists() else others.get(today, path) for path, today in zip(named, hashes, strict=True)
    ]  # fmt: skip


def _runs_by_hash(parent: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(parent.glob("*/config.yaml")):
        try:
            today = _hash_today(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if today is not None and (today not in found or (_is_finished(path.parent) > _is_finished(found[today]))):
            found[today] = path.parent
    return found


@lru_cache(maxsize=_REMEMBERED)
def _hash_today(text: str) -> str | None:
    # The same text always means the same; reading it takes milliseconds.
    try:
        return config_hash(TrainConfig(**parse_yaml(text, where="config.yaml")))
    except (TypeError, ValueError):
        return None


def _is_finished(folder: Path) -> bool:
    try:
        return bool(read_manifest(folder).get("finished"))
    except (OSError, ValueError):
        return False
