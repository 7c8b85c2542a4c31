"""icl-train --watch: one self-contained page about a run, written anew while another process trains it."""

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from icl_interp.errors import InputError
from icl_interp.figures.lines import distance_figure, loss_figure
from icl_interp.figures.theme import plotlyjs_source
from icl_interp.files import PAGE_MARKER, is_own_page, refuse_foreign, write_atomically
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.predictors.references import ByReference, names_in
from icl_interp.runs.folder import is_busy, read_manifest, read_metrics
from icl_interp.settings import read_yaml
from icl_interp.training.resume import sessions_of
from probes._core.results import short_repr

_SURE_SECONDS = 2.0
"""Shorter sessions give no speed: the manifest's times are in whole seconds."""


@dataclass(frozen=True, eq=False)
class RunStatus:
    """What a run's folder says now."""

    path: Path
    """The folder."""
    steps: int
    """Of the whole run."""
    metrics: list[dict[str, Any]]
    """Its complete lines."""
    manifest: dict[str, Any]
    """Empty where nothing was written yet."""
    busy: bool
    """Whether a process writes it."""
    updated: float | None
    """When the last line was written, as a time stamp."""

    __repr__ = short_repr

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return bool(self.manifest.get("finished"))

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self.busy and not self.finished

    @property
    def step(self) -> int:
        """The last logged one."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    def ending(self) -> str | None:
        """Say why there is nothing more to watch."""
        if self.finished:
            return f"finished after step {self.step}"
        if self.busy:
            return None
        if "diverged" in self.manifest:
            return f"diverged: {str(self.manifest['diverged']).rstrip('.')}"
        return f"stopped after step {self.step}; go on with icl-train --resume --out {self.path}"

    def sentences(self) -> list[str]:
        """Say how the run stands."""
        if not self.metrics:
            said = [f"No step of {self.steps} is logged yet."]
        else:
            last = self.metrics[-1]
            state = "finished" if self.finished else f"{100 * self.step / self.steps:.0f} %"
            said = [
                f"Step {self.step} of {self.steps} ({state}): loss {last['loss']:.4g}, learning rate {last['lr']:.3g}.",
                *self._excess(),
                *self._speed(),
            ]
        if not self.finished and not self.busy:
            said.append(f"The run {self.ending()}")
        if self.updated is not None:
            said.append(f"Last update: {datetime.fromtimestamp(self.updated).astimezone():%Y-%m-%d %H:%M:%S %Z}.")
        return said

    def _excess(self) -> list[str]:
        # The expected loss is that of the posterior mean plus the mean squared distance from it.
        for line in reversed(self.metrics):
            if IN_DISTRIBUTION in line.get("distances", {}):
                distances = line["distances"][IN_DISTRIBUTION]
                best = ByReference((names_in(shown), value) for shown, value in distances.items()).optimal
                return [] if best is None else [
                    f"Excess over the Bayes predictor ({best}): {distances[best]:.3g} E[y²] at step {line['step']}."
                ]  # fmt: skip
        return []

    def _speed(self) -> list[str]:
        session = sessions_of(self.manifest)[-1]
        if "time" not in session or self.updated is None:
            return []
        seconds = self.updated - datetime.fromisoformat(str(session["time"])).timestamp()
        done = self.step - int(session["from_step"])
        if seconds < _SURE_SECONDS or done < 1:
            return []
        rate = done / seconds
        left = f", about {(self.steps - self.step) / rate:.0f} s left" if self.running else ""
        return [f"{rate:.3g} steps/s{left}."]


def _read_status(path: Path) -> RunStatus:
    """Read how a run stands."""
    busy = is_busy(path)  # asked first: a run that ends in between is still running, and finished at the next look
    metrics = path / "metrics.jsonl"
    return RunStatus(
        path=path,
        steps=_steps(path / "config.yaml"),
        metrics=read_metrics(path),
        manifest=read_manifest(path),
        busy=busy,
        updated=metrics.stat().st_mtime if metrics.exists() else None,
    )


def _steps(path: Path) -> int:
    try:
        return int(read_yaml(path)["steps"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"--watch needs a run whose config.yaml says how many steps it has, got another one: {path}; "
            "write it again, or watch another run."
        ) from error


_REFRESH_SECONDS = 10.0
"""Between two pages, our choice: each is about 5 MB, since it needs no network."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{generator}{refresh}<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 15px sans-serif; margin: 2em auto; max-width: 60em }}</style>
<script>{plotlyjs}</script></head>
<body><h1>{title}</h1><p>{status}</p>{figures}</body></html>
"""


def watch_run(path: Path, *, quiet: bool = False, seconds: float = _REFRESH_SECONDS) -> None:
    """Write the page whenever there is news, until the run is finished, nobody trains it, or Ctrl-C."""
    if not (path / "config.yaml").is_file():
        raise InputError(f"--watch needs the folder of a run, {path} holds no config.yaml; start the run first.")
    page, seen = path / "watch.html", -1
    refuse_foreign(page, is_own_page, what="the page of --watch")
    while True:
        status = _look(path)
        if len(status.metrics) != seen or not status.running:
            _write_page(status, page, seconds)
        if seen < 0 and not quiet:
            typer.echo(f"open {page} in a browser; Ctrl-C stops watching, not the run")
        if (ending := status.ending()) is not None:
            if not quiet:
                typer.echo(ending)
            return
        seen = len(status.metrics)
        time.sleep(seconds)


def _look(path: Path) -> RunStatus:
    try:
        return _read_status(path)
    except OSError as error:
        raise _not_here(path, error) from error


def _not_here(path: Path, error: OSError) -> ValueError:
    reason = error.strerror or getattr(error.__cause__, "strerror", None) or error
    return InputError(
        f"--watch writes its page beside the run, so it needs a folder that can be written, got {path} ({reason}); "
        "watch as the user who trains, or watch a copy of the folder."
    )


def _write_page(status: RunStatus, page: Path, seconds: float) -> Path:
    refresh = f'<meta http-equiv="refresh" content="{seconds:g}">' if status.running else ""
    text = _PAGE.format(
        generator=PAGE_MARKER,
        refresh=refresh,
        title=html.escape(f"Training: {status.path.resolve().name}"),
        plotlyjs=plotlyjs_source(),
        status="<br>".join(html.escape(sentence) for sentence in status.sentences()),
        figures="".join(_figures(status.metrics)),
    )
    try:
        return write_atomically(page, lambda file: file.write(text.encode()))
    except OSError as error:
        raise _not_here(status.path, error) from error


def _figures(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    if not metrics:
        return []
    drawn = {"Loss of the training batches": loss_figure(metrics)}
    evaluated = [line for line in metrics if "distances" in line]
    for family in evaluated[-1]["distances"] if evaluated else ():
        drawn[f"Distance from the reference predictors, {family}"] = distance_figure(metrics, family)
    return [
        f"<h2>{html.escape(title)}</h2>{figure.to_html(full_html=False, include_plotlyjs=False)}"
        for title, figure in drawn.items()
    ]
