"""Train one model from one config, with or without a run folder."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from icl_interp.models.build import build_model
from icl_interp.models.hooked import HookedModel
from icl_interp.provenance import provenance
from icl_interp.runs import RunFolder
from icl_interp.training.config import TrainConfig
from icl_interp.training.loop import StepRecord, steps_of

__all__ = ["TrainResult", "train"]

EVERY_STEP_UNTIL = 50
"""Steps whose losses are all kept, so that a recipe can be checked against its record."""


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained model and what its training saw."""

    model: HookedModel
    """With its final weights."""
    history: tuple[StepRecord, ...]
    """The logged steps: all of the first 50, then every `log_every`-th, and the last."""
    checkpoint: Path | None
    """The last checkpoint, where a run folder was asked for."""

    def __repr__(self) -> str:
        last = self.history[-1]
        return f"TrainResult({last.step} steps, last loss {last.loss:.4g}, checkpoint={self.checkpoint})"


def train(
    config: TrainConfig,
    *,
    out: str | Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrainResult:
    """Train a model on fresh prompts at every step.

    Args:
        config: Everything that the weights depend on; the same config gives the same weights on the same machine,
            versions and number of threads.
        out: An empty or missing folder for config, manifest, metrics and checkpoints; None keeps nothing.
        on_step: Called after each step, for progress.

    Returns:
        The model with its history.

    Raises:
        ValueError: If the folder cannot be used.
        FloatingPointError: If the loss is no longer finite; the message names the folder that is left.

    Example:
        >>> from icl_interp.training.config import load_config
        >>> tiny = load_config("demo").model_copy(update={"steps": 2, "batch_size": 4})
        >>> [record.step for record in train(tiny).history]
        [1, 2]
    """
    folder = None if out is None else RunFolder(out, config=config.to_yaml())
    circumstances = {} if folder is None else provenance()  # now: the checkout may change while the run goes on
    started = time.monotonic()
    history: list[StepRecord] = []
    checkpoint: Path | None = None
    if folder is not None and config.checkpoint_every:
        folder.save(build_model(config.model, seed=config.seed), config.task, 0)
    for record, model in _steps_into(folder, config):
        step, last = record.step, record.step == config.steps
        if step <= EVERY_STEP_UNTIL or step % config.log_every == 0 or last:
            history.append(record)
            if folder is not None:
                folder.log({"step": step, "loss": record.loss, "lr": record.lr})
        if folder is not None and (last or (config.checkpoint_every and step % config.checkpoint_every == 0)):
            checkpoint = folder.save(model, config.task, step)
        if on_step is not None:
            on_step(record)
    if folder is not None and checkpoint is not None:
        made = _made_with(config, model, checkpoint)
        folder.write_manifest({**circumstances, **made, "seconds": round(time.monotonic() - started, 1)})
    return TrainResult(model=model, history=tuple(history), checkpoint=checkpoint)


def _steps_into(folder: RunFolder | None, config: TrainConfig) -> Iterator[tuple[StepRecord, HookedModel]]:
    try:
        yield from steps_of(config)
    except FloatingPointError as error:
        if folder is None:
            raise
        raise FloatingPointError(
            f"{str(error).rstrip('.')}; {folder.path} keeps what was logged, so remove it or choose another --out for "
            "the next run."
        ) from error


def _made_with(config: TrainConfig, model: HookedModel, checkpoint: Path) -> dict[str, str | int]:
    weight = next(model.parameters())
    return {
        "seed": config.seed,  # of first weights and batches alike; see TrainConfig
        "config_sha256": hashlib.sha256(config.to_yaml().encode()).hexdigest(),  # of config.yaml
        "device": str(weight.device),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
