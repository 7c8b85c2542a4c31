"""The figures of Hill et al. (2025) as the abstract lets us guess them, and our controls."""

import math
from collections.abc import Mapping

from icl_interp.experiments.hill2025.reader import Reader, failure_rate
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind, Run
from icl_interp.experiments.hill2025.signature_figures import (
    conventions_panel,
    detectors_panel,
    layers_panel,
    scatter_panel,
    spectra_panel,
    within_panel,
)
from icl_interp.experiments.outcome import Panel
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style
from icl_interp.measure.errors import MODEL
from icl_interp.measure.families import IN_DISTRIBUTION

__all__ = ["panels"]

_SHOWN: Mapping[Kind, str] = {
    "isotropic": "x_scale=3", "weights": "w_rotation=1/2", "inputs": "x_complement", "scale": "x_scale=3",
}  # fmt: skip
"""The shift whose curves are drawn for each training law."""
_FLOOR, _CEILING = 1e-4, 1e2
Row = tuple[str | float | int | None, ...]
_COMPARED = ("least squares", "Bayes", "10-step GD")


def panels(found: Mapping[Run, Measured], seeds: tuple[int, ...]) -> tuple[Panel, ...]:
    """Draw all figures."""
    read = Reader(found, seeds)
    return (
        *(_curves(read, kind) for kind in KINDS),
        _failures(read),
        *(spectra_panel(read, kind, _SHOWN[kind]) for kind in ("isotropic", "weights")),
        layers_panel(read),
        scatter_panel(read, _SHOWN["weights"]),
        within_panel(read),
        detectors_panel(read),
        conventions_panel(read),
    )


def _curves(read: Reader, kind: Kind) -> Panel:
    shift, model, shifted = _SHOWN[kind], role_style("model"), role_style("shuffled")
    drawn = (
        ("model, in distribution", IN_DISTRIBUTION, MODEL, model),
        ("10-step GD, in distribution", IN_DISTRIBUTION, "10-step GD", role_style("gradient descent")),
        (f"model, {shift}", shift, MODEL, TraceStyle(shifted.colour, "dash", shifted.symbol)),
        (f"least squares, {shift}", shift, "least squares", role_style("least squares")),
        (f"ridge, {shift}", shift, "ridge", role_style("ridge")),
        (f"Bayes of its training law, {shift}", shift, "Bayes", role_style("bayes")),
    )
    lines, rows = [], []
    for name, family, predictor, style in drawn:
        curve = _mean_curve(read, kind, family, predictor)
        lines.append(Line(name, range(len(curve)), [min(max(y, _FLOOR), _CEILING) for y in curve], style, markers=True))
        rows += [(name, k, error) for k, error in enumerate(curve)]
    last = {line.name: line.y[-1] for line in lines}
    return Panel(
        f"errors-{kind}",
        f"Error against in-context examples: {NAMES[kind]}",
        f"After {len(lines[0].y) - 1} examples the model's error is {last[drawn[0][0]]:.2g} E[y²] in distribution and "
        f"{last[drawn[2][0]]:.2g} under {shift}, where least squares has {_said(last[drawn[3][0]])} and the Bayes "
        f"predictor of its training law {_said(last[drawn[5][0]])}. Mean over prompts and seeds.",
        lines_figure(lines, x="in-context examples", y="squared error / E[y²]", y_type="log"),
        ("curve", "examples", "squared error / E[y²]"),
        tuple(rows),
    )


def _said(error: float) -> str:
    return "almost none" if error <= _FLOOR else f"{error:.2g}"


def _mean_curve(read: Reader, kind: Kind, family: str, predictor: str) -> list[float]:
    curves = [read.found[Run(kind, seed)].families[family].curves[predictor] for seed in read.seeds]
    return [sum(errors) / len(errors) for errors in zip(*curves, strict=True)]


def _failures(read: Reader) -> Panel:
    columns = _labels(read)
    blocks: list[MatrixBlock] = []
    rows: list[Row] = []
    for kind in KINDS:
        cells = {name: [_late(read, kind, label, name) for label in columns] for name in (MODEL, *_COMPARED)}
        # Cells are log10 errors, so that 0 is what predicting zero has.
        logs = {name: [_log(value) for value in values] for name, values in cells.items()}
        blocks.append(MatrixBlock(NAMES[kind], {f"{kind}: {name}": values for name, values in logs.items()}))
        for place, label in enumerate(columns):
            if math.isfinite(cells[MODEL][place]):
                fails = _share_failing(read, kind, label)
                rows.append((NAMES[kind], label, *(cells[name][place] for name in cells), fails))
    figure = matrix_figure(blocks, columns, value="log10 error / E[y²]", value_range=(-3.0, 1.0), middle=0.0)
    rates = [f"{_share_said(read.mean(kind, _failure_rate))} ({NAMES[kind]})" for kind in KINDS]
    return Panel(
        "failures",
        "Who fails under which shift",
        "Of the shifts that least squares handles, the models fail on "
        f"{', '.join(rates)}. Colours: log10 of the error after d examples, where 0 is as bad as always saying zero.",
        figure,
        ("training law", "shift", "model", *_COMPARED, "share of models that fail"),
        tuple(rows),
        height=230 + 25 * (len(_COMPARED) + 2) * len(KINDS),
    )


def _share_said(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "an undefined share"


def _failure_rate(found: Measured) -> float:
    return failure_rate(found, "least squares")


def _labels(read: Reader) -> list[str]:
    by_kind = [list(read.first(kind).families) for kind in KINDS]
    return list(dict.fromkeys(label for labels in by_kind for label in labels))


def _late(read: Reader, kind: Kind, label: str, name: str) -> float:
    if label not in read.first(kind).families:
        return math.nan
    return read.mean(kind, lambda found: found.families[label].late[name])


def _log(value: float) -> float:
    return math.log10(min(max(value, 1e-3), 10.0)) if math.isfinite(value) else math.nan


def _share_failing(read: Reader, kind: Kind, label: str) -> float:
    return read.mean(kind, lambda found: float(found.families[label].fails[MODEL]))
