"""Which folder a config's run has, and the file from which it resumes, written completely or not at all."""

import errno
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from icl_interp.checkpoints.safe_load import load_weight_file
from icl_interp.errors import CheckpointError, InputError
from icl_interp.files import write_atomically
from icl_interp.provenance import machine
from icl_interp.runs.folder import RunFolder, read_manifest
from icl_interp.settings import parse_yaml
from icl_interp.training.configs import load_config
from icl_interp.training.loop import Trainer
from icl_interp.training.train_config import TrainConfig

FORMAT = "icl-interp resume"


def config_hash(config: TrainConfig) -> str:
    return hashlib.sha256(config.to_yaml().encode()).hexdigest()


def check_same_config(folder: RunFolder, config: TrainConfig) -> None:
    """Refuse to go on with another run's folder."""
    stored = load_config(str(folder.path / "config.yaml"))
    if stored == config:
        return
    ours, theirs = config.model_dump(mode="json"), stored.model_dump(mode="json")
    differing = ", ".join(f"{name} ({theirs[name]} there)" for name in ours if ours[name] != theirs[name])
    raise InputError(
        f"a run goes on with its own config, {folder.path} has another {differing}; choose another --out, or leave "
        "out CONFIG and --set."
    )


def save_resume(folder: RunFolder, trainer: Trainer, *, seconds: float) -> None:
    """Write the state of a run, after its metrics are safe."""
    folder.sync_metrics()
    contents = {
        "format": FORMAT,
        "config_sha256": folder.config_sha256,
        "config": trainer.config.to_yaml(),
        "seconds": float(seconds),
        **trainer.state(),
    }
    write_atomically(folder.resume_path, lambda file: torch.save(contents, file))


def load_resume(folder: RunFolder, trainer: Trainer) -> float:
    """Set a fresh trainer to the state of a run, if there is one that belongs to its config."""
    path = folder.resume_path
    if not path.exists():
        return 0.0
    contents = _read(path)
    if contents.get("format") != FORMAT or not _belongs(contents, folder, trainer.config):
        raise InputError(f"{path} does not belong to the config beside it; remove it to start the run afresh.")
    try:
        trainer.load_state(contents)
        return float(contents["seconds"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "loading state_dict" not in str(error):
            raise  # of the device
        raise _damaged(path) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        contents = load_weight_file(path).contents
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno != errno.EINVAL:
            raise  # nobody shall remove a state that only needs another user, or a disk that is there again
        raise _damaged(path) from error
    return contents if isinstance(contents, Mapping) else {}


def _damaged(path: Path) -> ValueError:
    return InputError(f"{path} cannot be read; remove it to start the run afresh.")


def _belongs(contents: Mapping[str, Any], folder: RunFolder, config: TrainConfig) -> bool:
    # Whatever comments somebody has added to config.yaml. Older states hold the hash of its text only.
    if "config" not in contents:
        return contents.get("config_sha256") in (folder.config_sha256, config_hash(config))
    try:
        return TrainConfig(**parse_yaml(contents["config"], where="its config")) == config
    except (ValueError, TypeError, AttributeError):  # of a newer version, with settings that this one does not know
        return False


_COMPARED = ("torch", "device", "threads", "machine")  # what bits depend on, besides the config and a GPU's model
_Session = dict[str, Any]


class OtherCircumstancesWarning(UserWarning):
    """A run goes on where its bits will not be those of a run that was never stopped."""


def new_session(step: int, *, device: str) -> _Session:
    return {
        "from_step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "device": device,
        "torch": torch.__version__,
        "machine": machine(),
    }


def sessions_of(manifest: Mapping[str, Any]) -> list[_Session]:
    if "sessions" in manifest:
        return list(manifest["sessions"])
    known = {name: manifest[name] for name in ("time", "threads", "device", "torch") if name in manifest}
    return [{"from_step": 0, **known}]


def what_changed(sessions: Sequence[_Session], now: _Session) -> str | None:
    """Compare a session with the one whose steps it goes on from."""
    left = [session for session in sessions if session["from_step"] < now["from_step"]]
    before = left[-1] if left else {}
    changed = [name for name in _COMPARED if name in before and before[name] != now[name]]
    return " and ".join(f"{name} {now[name]} ({before[name]} before)" for name in changed) or None


_HASH_LENGTH = 12  # hexadecimal digits of a config's hash that name its folder: 48 bits for at most thousands of runs


def run_folders(parent: str | Path, configs: Sequence[TrainConfig]) -> list[Path]:
    """Find the folder of each run, or name it where there is none yet."""
    hashes = [config_hash(config) for config in configs]
    named = [Path(parent) / name[:_HASH_LENGTH] for name in hashes]
    if all(path.exists() for path in named):
        return named
    others = _runs_by_hash(Path(parent))  # a setting that is new in this version changes every hash
    return [path if path.exists() else others.get(now, path) for path, now in zip(named, hashes, strict=True)]


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


@lru_cache(maxsize=4096)
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
