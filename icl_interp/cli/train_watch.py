"""icl-train --watch: one self-contained page of a running run, written anew while the run goes on."""

import html
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from icl_interp.atomic import write_atomically
from icl_interp.figures.plotlyjs import plotlyjs_source
from icl_interp.figures.training_curves import distance_figure, loss_figure

__all__ = ["REFRESH_SECONDS", "watch_run", "write_watch_page"]

REFRESH_SECONDS = 10.0
"""Between two pages (ours); each is about 5 MB, since it needs no network."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{refresh}<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 15px sans-serif; margin: 2em auto; max-width: 60em }}</style>
<script>{plotlyjs}</script></head>
<body><h1>{title}</h1><p>{status}</p>{figures}</body></html>
"""


def watch_run(path: Path, *, quiet: bool = False, seconds: float = REFRESH_SECONDS) -> None:
    """Write the page whenever there is news, until the run is finished or Ctrl-C.

    Args:
        path: The run's folder.
        quiet: Do not say where the page is.
        seconds: Between two looks.

    Raises:
        ValueError: If there is no run.
    """
    if not (path / "config.yaml").is_file():
        raise ValueError(f"--watch needs the folder of a run, {path} holds no config.yaml; start the run first.")
    page, seen = path / "watch.html", -1
    if not quiet:
        typer.echo(f"open {page} in a browser; Ctrl-C stops watching, not the run")
    while True:
        finished = _finished(path)
        size = (path / "metrics.jsonl").stat().st_size if (path / "metrics.jsonl").exists() else 0
        if size != seen or finished:
            write_watch_page(path, page, seconds=None if finished else seconds)
        if finished:
            return
        seen = size
        time.sleep(seconds)


def write_watch_page(path: Path, page: Path, *, seconds: float | None) -> Path:
    """Draw a run as it is now.

    Args:
        path: The run's folder.
        page: The file to write, completely or not at all.
        seconds: After which the browser looks again; None for a finished run.

    Returns:
        The page.
    """
    metrics = _metrics(path)
    steps = yaml.safe_load((path / "config.yaml").read_text())["steps"]
    text = _PAGE.format(
        refresh="" if seconds is None else f'<meta http-equiv="refresh" content="{seconds:g}">',
        title=html.escape(f"Training: {path.resolve().name}"),
        plotlyjs=plotlyjs_source(),
        status=html.escape(_status(metrics, steps, finished=seconds is None)),
        figures="".join(_figures(metrics)),
    )
    return write_atomically(page, lambda file: file.write(text.encode()))


def _metrics(path: Path) -> list[dict[str, Any]]:
    file = path / "metrics.jsonl"
    # The last line may be in the making.
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def _finished(path: Path) -> bool:
    manifest = path / "manifest.json"
    return manifest.exists() and bool(json.loads(manifest.read_text()).get("finished"))


def _status(metrics: Sequence[Mapping[str, Any]], steps: int, *, finished: bool) -> str:
    if not metrics:
        return f"No step of {steps} is logged yet."
    last = metrics[-1]
    state = "finished" if finished else f"{100 * last['step'] / steps:.0f} %"
    return f"Step {last['step']} of {steps} ({state}): loss {last['loss']:.4g}, learning rate {last['lr']:.3g}."


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
