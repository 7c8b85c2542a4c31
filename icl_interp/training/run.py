"""Train one model from one config, and keep metrics, evaluations and checkpoints in its run folder."""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icl_interp.checkpoints.load import check_device
from icl_interp.errors import DivergedError, InputError
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.files import finite
from icl_interp.measure.result import Result
from icl_interp.notebooks import Bar, notebook_bar
from icl_interp.provenance import provenance
from icl_interp.runs.folder import RunFolder
from icl_interp.tasks.own import try_out
from icl_interp.training.batches import evaluation_seed
from icl_interp.training.evaluation import EvaluationRecord, Evaluator
from icl_interp.training.loop import StepRecord, Trainer
from icl_interp.training.resume import (
    OtherCircumstancesWarning,
    check_same_config,
    load_resume,
    new_session,
    save_resume,
    sessions_of,
    what_changed,
)
from icl_interp.training.sinks import Sink, check_sinks, open_sinks
from icl_interp.training.stopping import RunStoppedError, stop_requests
from icl_interp.training.train_config import TrainConfig

_EVERY_STEP_UNTIL = 50  # steps whose losses are all kept, so that a recipe can be checked against its record
_NO_CHECKOUT = {"git_commit": None, "git_dirty": None}  # in a manifest, where the package is in no checkout of its own


def is_logged(config: TrainConfig, step: int) -> bool:
    evaluated = config.eval_every is not None and step % config.eval_every == 0
    return step <= _EVERY_STEP_UNTIL or step % config.log_every == 0 or evaluated or step == config.steps


class RunLog:
    """The scribe of one run."""

    def __init__(
        self, folder: RunFolder, trainer: Trainer, evaluator: Evaluator, *, resume_seconds: float | int
    ) -> None:
        self.folder, self.trainer, self.evaluator = folder, trainer, evaluator
        self.history: list[StepRecord] = []
        self.evaluations: list[EvaluationRecord] = []
        self.sinks: list[Sink] = []
        self._resume_seconds = resume_seconds
        self._kept = frozenset(trainer.config.checkpoint_steps)

    def start(self) -> None:
        """Take up the run where its folder says it is, and write down the circumstances of this session."""
        self._before = load_resume(self.folder, self.trainer)
        self._started = self._saved = time.monotonic()
        for line in self.folder.forget_metrics_after(self.trainer.step):
            self._remember(line)
        self._open_manifest()
        if self.trainer.step == 0 and 0 in self._kept:
            self._keep(0)

    def _remember(self, line: dict[str, Any]) -> None:
        try:
            self.history.append(StepRecord(line["step"], line["loss"], line["lr"]))
            if "errors" in line:
                self.evaluations.append(EvaluationRecord.from_dict(line))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a run goes on from metrics with a step, a loss and a learning rate a line, got another line at step "
                f"{line['step']}: {self.folder.metrics_path}; remove that line."
            ) from error

    def _open_manifest(self) -> None:
        manifest = self.folder.read_manifest()
        if manifest.get("finished"):
            return
        device, changed = str(next(self.trainer.model.parameters()).device), None
        now = new_session(self.trainer.step, device=device)
        if not manifest:
            # Now: the checkout may change while the run goes on.
            made_with = {**_NO_CHECKOUT, **provenance(), **_made_with(self.folder, self.trainer, device)}
            manifest = {**made_with, "finished": False, "resumed_after_steps": [], "sessions": [now]}
        else:
            sessions = sessions_of(manifest)
            changed = what_changed(sessions, now)
            manifest.pop("diverged", None)  # the session before ended so; this one may not
            manifest["resumed_after_steps"] = [*manifest.get("resumed_after_steps", ()), self.trainer.step]
            manifest["sessions"] = [*sessions, now]
        self.folder.write_manifest(manifest)
        if changed is not None:
            warnings.warn(
                f"{self.folder.path} goes on after step {self.trainer.step} with {changed}, so it rounds "
                "otherwise and will not be bit for bit the run that was never stopped; where that matters, keep a "
                "copy of the folder before going on elsewhere.",
                OtherCircumstancesWarning,
                stacklevel=2,
            )

    def record(self, record: StepRecord) -> None:
        config, step = self.trainer.config, record.step
        if is_logged(config, step):
            line: dict[str, Any] = {"step": step, "loss": record.loss, "lr": record.lr}
            if config.eval_every is not None and step % config.eval_every == 0:
                evaluation = self.evaluator(self.trainer.model, step=step)
                per_point = evaluation.loss_per_point
                self.trainer.check_loss(step, sum(per_point) / len(per_point), of=" of the evaluation")
                line |= evaluation.to_dict()
                self.evaluations.append(evaluation)
            self.history.append(record)
            self.folder.log(line)
            for sink in self.sinks:
                sink.log(line)
        if step in self._kept:
            self._keep(step)
            self.save_state()
        elif time.monotonic() - self._saved >= self._resume_seconds:
            self.save_state()

    def _keep(self, step: int) -> None:
        config = self.trainer.config
        n_points = max(config.n_points_at(1), config.n_points_at(max(1, step)))
        self.folder.save(self.trainer.model, config.task, step, n_points_trained=n_points)

    def save_state(self) -> None:
        save_resume(self.folder, self.trainer, seconds=self._seconds())
        self._saved = time.monotonic()

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def diverged(self, problem: str) -> DivergedError:
        """Write down how the run ended, for those who only see its folder, and say what it leaves."""
        with suppress(OSError):  # a full disk must not hide what ended the run
            self.folder.write_manifest({**self.folder.read_manifest(), "diverged": problem})
        # A checkpoint of this very step holds the weights that have just failed.
        newest = self.folder.checkpoint_path(self.trainer.step)
        last = max((path for path in newest.parent.glob("step_*.pt") if path.name < newest.name), default=None)
        good = "there is no checkpoint before it" if last is None else f"the last good checkpoint is {last}"
        kept = f"{self.folder.path} keeps what was logged, so remove it or choose another --out for the next run."
        return DivergedError(f"{problem.rstrip('.')}; {good}; {kept}")

    def finish(self) -> Path:
        """Complete the manifest of a finished run; one that was finished before stays as it is."""
        checkpoint = self.folder.checkpoint_path(self.trainer.config.steps)
        manifest = self.folder.read_manifest()
        if not manifest.get("finished"):
            manifest |= {
                "finished": True,
                "checkpoint": checkpoint.name,
                "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
                "seconds": round(self._seconds(), 1),
            }
            self.folder.write_manifest(manifest)
        return checkpoint


def _made_with(folder: RunFolder, trainer: Trainer, device: str) -> dict[str, Any]:
    weight, config = next(trainer.model.parameters()), trainer.config
    return {
        "seed": config.seed,  # of first weights and batches alike; see TrainConfig
        "evaluation_seed": None if config.eval_every is None else evaluation_seed(config),
        "config_sha256": folder.config_sha256,
        "device": device,
        "dtype": str(weight.dtype).removeprefix("torch."),
    }


RESUME_SECONDS = 60.0  # between two states to resume from (our choice): what a run that is killed loses at most


@dataclass(frozen=True, eq=False)
class TrainResult(Result):
    """A trained model and the record of its training."""

    model: Any
    """Model with its final weights."""
    history: tuple[StepRecord, ...]
    """The logged steps: all of the first 50, then every `log_every`-th, and the last."""
    evaluations: tuple[EvaluationRecord, ...]
    """The model against the reference predictors, every `eval_every` steps; only where a run folder was asked for."""
    checkpoint: Path | None
    """The last checkpoint, where a run folder was asked for."""

    def to_frame(self) -> pd.DataFrame:
        """Lay the logged steps out, one per row."""
        return pd.DataFrame([asdict(record) for record in self.history])

    def plot(self) -> Any:
        """Draw the loss over the logged steps."""
        steps, losses = [record.step for record in self.history], [record.loss for record in self.history]
        line = Line("this model", steps, losses, role_style("model"))
        return lines_figure([line], x="step", y="loss", y_type="log")

    def to_dict(self) -> dict[str, Any]:
        """Give the record of the training as plain data.

        Returns:
            The logged steps and evaluations, and the path of the checkpoint.
        """
        return finite({
            "history": [asdict(record) for record in self.history],
            "evaluations": [evaluation.to_dict() for evaluation in self.evaluations],
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
        })

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
        resume: Whether `out` may already hold this run, which then continues; a finished run is read back. Otherwise
            `out` has to be empty or missing.
        device: Where to train, as torch names it.
        log_to: Loggers besides metrics.jsonl: "wandb" and "tensorboard".
        resume_seconds: Wall time between two states to resume from; they come with each checkpoint as well.
        on_step: Called after each step, for progress. None shows a bar in a notebook.
        evaluator: Evaluator to share with a caller that shows the loss of the Bayes predictor; None makes one.

    Returns:
        The model with its history.

    Raises:
        RunBusyError: If another process writes the folder; a ValueError.
        InputError: If the folder cannot be used, a logger is unknown, or resume is asked for without a folder.
        DivergedError: If the loss is no longer finite or diverges; the message names the last good checkpoint.
        OSError: If the disk is full; the run can be resumed.
        RunStoppedError: If Ctrl-C or SIGTERM came, a KeyboardInterrupt that says how to go on.

    Example:
        >>> from icl_interp.training.configs import load_config
        >>> tiny = load_config("demo").model_copy(update={"steps": 2, "batch_size": 4})
        >>> [record.step for record in train(tiny).history]
        [1, 2]
    """
    check_device(device)
    check_sinks(log_to)
    try_out(config.task)
    trainer = Trainer(config, device=device)
    if on_step is None:
        with notebook_bar("training", config.steps) as bar:
            return _trained(trainer, out, resume, log_to, resume_seconds, _shown_by(bar), evaluator)
    return _trained(trainer, out, resume, log_to, resume_seconds, on_step, evaluator)


def _shown_by(bar: Bar | None) -> Callable[[StepRecord], None]:
    done = 0

    def tick(record: StepRecord) -> None:
        nonlocal done
        if bar is not None:
            bar(record.step - done, f"loss {record.loss:.3g}")
        done = record.step  # the first step of a resumed run brings those before it

    return tick


def _trained(
    trainer: Trainer,
    out: str | Path | None,
    resume: bool,  # noqa: FBT001
    log_to: Sequence[str],
    resume_seconds: float | int,
    tick: Callable[[StepRecord], None],
    evaluator: Evaluator | None,
) -> TrainResult:
    config = trainer.config
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
                raise log.diverged(str(error)) from error
            tick(record)
            if (number := stop()) is not None:  # asked once: a signal that comes later is for the next step
                log.save_state()
                if trainer.step < trainer.config.steps:
                    raise RunStoppedError(trainer.step, str(log.folder.path), number)
