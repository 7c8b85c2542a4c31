"""What the runs of an experiment were trained with: they may be older than the command that reads them back."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icl_interp.experiments.trained import training_seconds
from icl_interp.runs.folder import read_manifest
from icl_interp.training.resume import run_folders, sessions_of
from icl_interp.training.train_config import TrainConfig

_NOT_RECORDED = "not recorded"
"""Where a manifest does not say, as those of older versions."""


def trained_by(folder: str | Path, configs: Iterable[TrainConfig]) -> dict[str, str | int | float]:
    """Collect from the manifests of finished runs what they were trained with."""
    chosen = list(configs)
    paths = sorted(set(run_folders(Path(folder) / "runs", chosen)))
    manifests = [read_manifest(path) for path in paths]
    seconds = training_seconds(folder, chosen)
    return {
        "trained_by_commits": _counted([_commit(manifest)] for manifest in manifests),
        "trained_on": _counted(_machines(manifest) for manifest in manifests),
        "seconds_of_training": _NOT_RECORDED if seconds is None else seconds,
    }


def _commit(manifest: Mapping[str, Any]) -> str:
    commit = manifest.get("git_commit")
    if not commit:
        return _NOT_RECORDED
    return f"{commit} changed" if manifest.get("git_dirty") else str(commit)


def _machines(manifest: Mapping[str, Any]) -> list[str]:
    # A run that was stopped may have gone on elsewhere.
    found = [session["machine"] for session in sessions_of(manifest) if "machine" in session]
    if not found and "platform" in manifest:
        found = [", ".join(str(manifest[name]) for name in ("platform", "processor") if name in manifest)]
    return list(dict.fromkeys(found)) or [_NOT_RECORDED]


def _counted(said: Iterable[Iterable[str]]) -> str:
    counts = Counter(each for one in said for each in one)
    return "; ".join(f"{each} ({count} {'run' if count == 1 else 'runs'})" for each, count in sorted(counts.items()))
