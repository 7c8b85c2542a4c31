"""The file that a run goes on from, written completely or not at all."""

import errno
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from icl_interp.atomic import write_atomically
from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.safe_load import load_weight_file
from icl_interp.errors import InputError
from icl_interp.runs import RunFolder
from icl_interp.settings import parse_yaml
from icl_interp.training.config import load_config
from icl_interp.training.loop import Trainer
from icl_interp.training.train_config import TrainConfig

__all__ = ["check_same_config", "config_hash", "load_resume", "save_resume"]

FORMAT = "icl-interp resume"


def config_hash(config: TrainConfig) -> str:
    """Name a config by its content.

    Args:
        config: Any.

    Returns:
        sha256 of the config.yaml that this version writes, in hexadecimal; a setting that comes with a later version
        changes it.
    """
    return hashlib.sha256(config.to_yaml().encode()).hexdigest()


def check_same_config(folder: RunFolder, config: TrainConfig) -> None:
    """Refuse to go on with another run's folder.

    Args:
        folder: Of the run.
        config: What shall be gone on with.

    Raises:
        InputError: If config.yaml says anything else; the sentence names the settings that differ.
    """
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
    """Write the state of a run, after its metrics are safe.

    Args:
        folder: Of the run.
        trainer: Its state is taken.
        seconds: Wall time so far.

    Raises:
        OSError: If the disk is full; the state before stays as it is.
    """
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
    """Set a fresh trainer to the state of a run, if there is one.

    The state has to belong to the config, whatever comments somebody has added to config.yaml and whichever version
    wrote either. States of older versions hold the hash of config.yaml's text only.

    Args:
        folder: Of the run.
        trainer: With the same config, as `check_same_config` knows; changed in place.

    Returns:
        Wall time up to that state, in seconds; 0 where the run never came to write one.

    Raises:
        InputError: If the file is damaged or cannot be read, or belongs to another config.
    """
    if not folder.resume_path.exists():
        return 0.0
    contents = _read(folder.resume_path)
    if contents.get("format") != FORMAT or not _belongs(contents, folder, trainer.config):
        raise InputError(
            f"{folder.resume_path} does not belong to the config beside it; remove it to start the run afresh."
        )
    with _complete(folder.resume_path):
        trainer.load_state(contents)
        return float(contents["seconds"])


def _read(path: Path) -> Mapping[str, Any]:
    try:
        contents = load_weight_file(path).contents
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno != errno.EINVAL:
            raise  # nobody shall remove a state that only needs another user, or a disk that is there again
        raise _damaged(path) from error
    return contents if isinstance(contents, Mapping) else {}


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "loading state_dict" not in str(error):
            raise  # of the device
        raise _damaged(path) from error


def _damaged(path: Path) -> ValueError:
    return InputError(f"{path} cannot be read; remove it to start the run afresh.")


def _belongs(contents: Mapping[str, Any], folder: RunFolder, config: TrainConfig) -> bool:
    if "config" not in contents:
        return contents.get("config_sha256") in (folder.config_sha256, config_hash(config))
    try:
        return TrainConfig(**parse_yaml(contents["config"], where="its config")) == config
    except (ValueError, TypeError, AttributeError):  # of a newer version, with settings that this one does not know
        return False
