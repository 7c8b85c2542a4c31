"""Where metrics go besides metrics.jsonl: wandb and tensorboard, imported only when somebody asks for them."""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icl_interp.errors import InputError
from icl_interp.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class Sink:
    """A logger that is open."""

    log: Callable[[Mapping[str, Any]], None]  # takes the record of a logged step
    close: Callable[[], None]  # ends the logger's own run; a resumed training run opens another one


def open_sinks(names: Sequence[str], config: TrainConfig, path: Path) -> list[Sink]:
    check_sinks(names)
    return [_SINKS[name](config, path) for name in names]


def check_sinks(names: Sequence[str]) -> None:
    """Refuse loggers that are not there, before a run folder is made."""
    unknown = [name for name in names if name not in _SINKS]
    if unknown:
        raise InputError(f"metrics can go to {', '.join(_SINKS)}, got {unknown[0]!r}; metrics.jsonl is always written.")
    for name in names:
        _import(*_PACKAGES[name])


_PACKAGES = {"wandb": ("wandb", "wandb"), "tensorboard": ("torch.utils.tensorboard", "tensorboard")}


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"logging to {package} needs a package that is not there; pip install {package}.") from error


def _wandb(config: TrainConfig, path: Path) -> Sink:
    wandb = _import(*_PACKAGES["wandb"])
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    run = wandb.init(
        dir=str(path), mode=mode, config=config.model_dump(mode="json"), name=path.name, reinit="finish_previous",
        settings={"quiet": True},  # else it prints all curves again at the end
    )  # fmt: skip
    return Sink(lambda record: run.log(_flat(record), step=int(record["step"])), run.finish)


def _tensorboard(config: TrainConfig, path: Path) -> Sink:
    writer = _import(*_PACKAGES["tensorboard"]).SummaryWriter(str(path / "tensorboard"))
    writer.add_text("config", config.to_yaml())

    def write(record: Mapping[str, Any]) -> None:
        for name, value in _flat(record).items():
            writer.add_scalar(name, value, int(record["step"]))

    return Sink(write, writer.close)


_SINKS: dict[str, Callable[[TrainConfig, Path], Sink]] = {"wandb": _wandb, "tensorboard": _tensorboard}


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    # Numbers by path; lists (the loss per point) by index.
    flat: dict[str, float] = {}
    for name, value in record.items():
        items = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(items, Mapping):
            flat |= _flat({str(key): item for key, item in items.items()}, f"{prefix}{name}/")
        elif f"{prefix}{name}" != "step":
            flat[f"{prefix}{name}"] = items
    return flat
