"""Train one model from one config, with or without a run folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icl_interp.checkpoints.device import check_device
from icl_interp.errors import DivergedError, InputError
from icl_interp.runs import RunFolder
from icl_interp.training.evaluation import EvaluationRecord, Evaluator
from icl_interp.training.loop import StepRecord, Trainer
from icl_interp.training.resume import check_same_config
from icl_interp.training.run_log import EVERY_STEP_UNTIL, RunLog, is_logged
from icl_interp.training.sinks import check_sinks, open_sinks
from icl_interp.training.stopping import RunStoppedError, stop_requests
from icl_interp.training.train_config import TrainConfig

__all__ = ["EVERY_STEP_UNTIL", "TrainResult", "train"]

RESUME_SECONDS = 60.0
"""Wall time between two states to resume from (ours): what a run that is killed loses at most."""


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained model and what its training saw."""

    model: Any
    """With its final weights."""
    history: tuple[StepRecord, ...]
    """The logged steps: all of the first 50, then every `log_every`-th, and the last."""
    evaluations: tuple[EvaluationRecord, ...]
    """The model against the reference predictors, every `eval_every` steps; only where a run folder was asked for."""
    checkpoint: Path | None
    """The last checkpoint, where a run folder was asked for."""

    def __repr__(self) -> str:
        last = self.history[-1]
        return f"TrainResult({last.step} steps, last loss {last.loss:.4g}, checkpoint={self.checkpoint})"


def train(
    config: TrainConfig,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    log_to: Sequence[str] = (),
    resume_seconds: float | int = RESUME_SECONDS,
    on_step: Callable[[StepRecord], None] | None = None,
    evaluator: Evaluator | None = None,
) -> TrainResult:
    """Train a model on fresh prompts at every step.

    With a run folder nothing is lost: Ctrl-C and SIGTERM finish the step and write the state first, and after a crash
    the run goes on from the newest state, to the same weights bit for bit. That takes the same torch, device, number of
    threads and processor: the manifest lists them for each session, and a resume that differs from the session before
    says so in an `OtherCircumstancesWarning`.

    Args:
        config: Everything that the weights depend on; the same config gives the same weights on the same machine,
            versions and number of threads.
        out: A folder for config, manifest, metrics and checkpoints; None keeps nothing.
        resume: Whether `out` may hold this run already, which is then gone on with; a finished one is read back.
            Without it `out` has to be empty or missing.
        device: Where to train, as torch names it.
        log_to: "wandb" and "tensorboard", besides metrics.jsonl.
        resume_seconds: Wall time between two states to resume from; they come with each checkpoint as well.
        on_step: Called after each step, for progress.
        evaluator: Shared with somebody who shows the loss of the Bayes predictor; None makes one.

    Returns:
        The model with its history.

    Raises:
        RunBusyError: If another process writes the folder; a ValueError.
        InputError: If the folder cannot be used, a logger is unknown, or resume is asked for without a folder.
        DivergedError: If the loss is no longer finite or diverges; the message names the last good checkpoint.
        OSError: If the disk is full; the run can be resumed.
        RunStoppedError: If Ctrl-C or SIGTERM came, a KeyboardInterrupt that says how to go on.

    Example:
        >>> from icl_interp.training.config import load_config
        >>> tiny = load_config("demo").model_copy(update={"steps": 2, "batch_size": 4})
        >>> [record.step for record in train(tiny).history]
        [1, 2]
    """
    tick = on_step or _nothing
    check_device(device)
    check_sinks(log_to)
    trainer = Trainer(config, device=device)
    if out is None:
        if resume or log_to:
            raise InputError("resume and log_to need a run folder, got none; name it with out=.")
        return _without_folder(trainer, tick)
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(out, config=config.to_yaml(), resume=resume))
        check_same_config(folder, config)
        stack.enter_context(_advice_to_resume(folder.path))
        log = RunLog(folder, trainer, evaluator or Evaluator(config), resume_seconds=resume_seconds)
        log.start()
        if trainer.step < config.steps:
            for sink in open_sinks(log_to, config, folder.path):
                stack.callback(sink.close)
                log.sinks.append(sink)
            _go_on(trainer, log, tick)
        return TrainResult(trainer.model, tuple(log.history), tuple(log.evaluations), log.finish())


def _nothing(record: StepRecord) -> None:
    pass


@contextmanager
def _advice_to_resume(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{str(error).rstrip('.')}; after that go on with icl-train --resume --out {path}.") from error


def _without_folder(trainer: Trainer, tick: Callable[[StepRecord], None]) -> TrainResult:
    history = []
    while trainer.step < trainer.config.steps:
        record = trainer.advance()
        if is_logged(trainer.config, record.step):
            history.append(record)
        tick(record)
    return TrainResult(trainer.model, tuple(history), (), None)


def _go_on(trainer: Trainer, log: RunLog, tick: Callable[[StepRecord], None]) -> None:
    with stop_requests() as stop:
        while trainer.step < trainer.config.steps:
            try:
                record = trainer.advance()
                log.record(record)
            except FloatingPointError as error:
                with suppress(OSError):  # a full disk must not hide what ended the run
                    log.diverged(str(error))
                raise DivergedError(f"{str(error).rstrip('.')}; {log.advice()}") from error
            tick(record)
            number = stop()  # asked once: a signal that comes later is for the next step
            if number is not None:
                log.save_state()
            if number is not None and trainer.step < trainer.config.steps:
                raise RunStoppedError(trainer.step, str(log.folder.path), number)
