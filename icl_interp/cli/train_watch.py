"""icl-train --watch: one self-contained page of a running run, written anew while somebody trains it."""

import html
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from icl_interp.atomic import PAGE_MARKER, is_own_page, refuse_foreign, write_atomically
from icl_interp.cli.train_watch_status import RunStatus, read_status
from icl_interp.errors import InputError
from icl_interp.figures.plotlyjs import plotlyjs_source
from icl_interp.figures.training_curves import distance_figure, loss_figure

__all__ = ["REFRESH_SECONDS", "watch_run"]

REFRESH_SECONDS = 10.0
"""Between two pages (ours); each is about 5 MB, since it needs no network."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{generator}{refresh}<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 15px sans-serif; margin: 2em auto; max-width: 60em }}</style>
<script>{plotlyjs}</script></head>
<body><h1>{title}</h1><p>{status}</p>{figures}</body></html>
"""


def watch_run(path: Path, *, quiet: bool = False, seconds: float = REFRESH_SECONDS) -> None:
    """Write the page whenever there is news, until the run is finished, nobody trains it, or Ctrl-C.

    Args:
        path: The run's folder.
        quiet: Say neither where the page is nor how the run ended.
        seconds: Between two looks.

    Raises:
        InputError: If there is no run, or its folder cannot be written.
    """
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
        return read_status(path)
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
