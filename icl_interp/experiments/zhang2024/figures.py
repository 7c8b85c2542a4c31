"""The figures of Zhang et al. (2024), and those that the theory suggests."""

import math
from collections.abc import Mapping, Sequence

from icl_interp.experiments.claims import Check, Interval
from icl_interp.experiments.linear_risk import shifted_risk
from icl_interp.experiments.outcome import Panel
from icl_interp.experiments.zhang2024.measures import DISTANCES, Measures
from icl_interp.experiments.zhang2024.reader import named, optimum
from icl_interp.experiments.zhang2024.setting import (
    BETWEEN,
    FIGURE_NORM,
    LARGE,
    N_DIMS,
    N_PAIRS,
    NOISE_STD,
    TABLE_ENTRIES,
    Sizes,
)
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style

__all__ = ["panels"]

_LTB, _LSA = role_style("model"), role_style("least squares")
_RISK = "squared error"

Values = Mapping[tuple[str, str, float, int], Interval]


def panels(found: Measures, sizes: Sizes) -> tuple[Panel, ...]:
    """Draw all figures."""
    values = _over_seeds(found)
    norms = sorted({*sizes.norms, FIGURE_NORM})
    lengths = sorted({*sizes.lengths, N_PAIRS})
    return (
        _figure_1(found),
        _sweep("norms", "Risk against |b*|", "|b*|", [(norm, norm, N_PAIRS) for norm in norms], values),
        _sweep("lengths", "Risk against M", "M", [(float(m), FIGURE_NORM, m) for m in lengths], values),
        _parts(values, found),
        _moved(found),
        _table_1(values, sizes),
    )


def _over_seeds(found: Measures) -> dict[tuple[str, str, float, int], Interval]:
    groups: dict[tuple[str, str, float, int], list[float]] = {}
    for run, risk in found.risks.items():
        groups.setdefault((run.part, run.kind, run.norm, run.n_pairs), []).append(risk.value)
    return {key: Check("risk", tuple(numbers)).interval for key, numbers in groups.items()}


def _figure_1(found: Measures) -> Panel:
    lines, rows = [], []
    for kind, style in (("lsa", _LSA), ("ltb", _LTB)):
        curves = [curve for run, curve in found.along.items() if run.kind == kind]
        steps = [step for step in curves[0] if step > 0]
        spread = [[curve[step] for curve in curves] for step in steps]
        means = [sum(risks) / len(risks) for risks in spread]
        low, high = [min(risks) for risks in spread], [max(risks) for risks in spread]
        lines.append(Line(kind.upper(), steps, means, style, low, high))
        best = optimum(kind, FIGURE_NORM, N_PAIRS)
        ends = [steps[0], steps[-1]]
        dots = TraceStyle(style.colour, "dot", style.symbol)
        lines.append(Line(f"least risk of {kind.upper()}, {best:.4g}", ends, [best, best], dots))
        rows += [(kind.upper(), *row) for row in zip(steps, means, low, high, strict=True)]
    last = {line.name: line.y[-1] for line in lines[::2]}
    figure = lines_figure(lines, x="training step", y=_RISK).update_xaxes(type="log", dtick=1)
    return Panel(
        "figure-1",
        "Risk of LSA and LTB along training (Figure 1 of the paper)",
        f"After training the risk of LTB is {last['LTB']:.4g}, that of LSA {last['LSA']:.4g}; dotted lines are the "
        f"least that each can have. Exact population risk of the checkpoints, mean and range over "
        f"{len(found.weights)} seeds; d = M = 5, b* = (1, ..., 1).",
        figure,
        ("model", "step", "risk", "least over seeds", "largest"),
        tuple(rows),
    )


def _sweep(key: str, title: str, x: str, points: Sequence[tuple[float, float, int]], values: Values) -> Panel:
    lines, rows = [], []
    for kind, style in (("lsa", _LSA), ("ltb", _LTB)):
        found = [values["figure 1" if _is_figure_1(norm, m) else key, kind, norm, m] for _, norm, m in points]
        best = [optimum(kind, norm, m) for _, norm, m in points]
        at = [place for place, _, _ in points]
        dots = TraceStyle(style.colour, "dot", style.symbol)
        lines.append(_trained(kind.upper(), at, found, style))
        lines.append(Line(f"least risk of {kind.upper()}", at, best, dots))
        rows += [(kind.upper(), a, f.value, f.low, f.high, b) for a, f, b in zip(at, found, best, strict=True)]
    ratios = {line.name: line.y[-1] for line in lines}
    return Panel(
        key,
        title,
        f"At {x} = {points[-1][0]:.3g} LSA has {ratios['LSA']:.4g} and LTB {ratios['LTB']:.4g}. Dotted: the least that "
        "each can have; bands: 95 % intervals over seeds.",
        lines_figure(lines, x=x, y=_RISK, y_type="log"),
        ("model", x, "risk", "low", "high", "least risk"),
        tuple(rows),
    )


def _trained(name: str, at: Sequence[float], found: Sequence[Interval], style: TraceStyle) -> Line:
    low, high = [interval.low for interval in found], [interval.high for interval in found]
    # A logarithmic axis has no place for an interval that crosses zero.
    low = [max(end, interval.value / 10) for end, interval in zip(low, found, strict=True)]
    return Line(name, at, [interval.value for interval in found], style, low, high, markers=True)


def _is_figure_1(norm: float, n_pairs: int) -> bool:
    return math.isclose(norm, FIGURE_NORM) and n_pairs == N_PAIRS


def _parts(values: Values, found: Measures) -> Panel:
    at = (FIGURE_NORM, N_PAIRS)
    noisy = optimum("ltb", *at, noise_std=NOISE_STD)
    trained = (
        ("LTB", ("figure 1", "ltb"), optimum("ltb", *at)),
        ("LTB without the skip", ("ablation", "ltb no skip"), optimum("lsa", *at)),
        ("LTB without the MLP (LSA)", ("figure 1", "lsa"), optimum("lsa", *at)),
        ("LTB, noisy tasks", ("noise", "ltb"), noisy),
    )
    rows: list[tuple[str, Interval, float | None]] = [(name, values[*of, *at], best) for name, of, best in trained]
    rows.append(("centred ridge, noisy tasks", Interval(*[found.bayes.value] * 3), None))
    return Panel(
        "parts",
        "What the block needs, and how near it comes to Bayes where there is noise",
        f"Without the skip the risk is {rows[1][1].value:.4g}, without the MLP {rows[2][1].value:.4g}, with both "
        f"{rows[0][1].value:.4g}. With noise of the signal's size it is {rows[3][1].value:.4g}, and "
        f"{found.bayes.value:.4g} ± {found.bayes.standard_error:.2g} (standard error) for the Bayes predictor, the "
        "only one of these that is tested on prompts. Intervals are over seeds.",
        _dots([(name, interval) for name, interval, _ in rows]),
        ("model", "risk", "low", "high", "least risk"),
        tuple((name, i.value, i.low, i.high, best) for name, i, best in rows),
    )


def _dots(rows: Sequence[tuple[str, Interval]]) -> object:
    names, found = [name for name, _ in rows], [interval for _, interval in rows]
    low, high = [i.low for i in found], [i.high for i in found]
    series = DotSeries("risk", names, [i.value for i in found], _LTB, low, high)
    return dots_figure([series], x=_RISK).update_layout(showlegend=False)


def _moved(found: Measures) -> Panel:
    trained: list[Interval] = []
    for distance in DISTANCES:
        numbers = tuple(risk for (_, moved), risk in found.moved.items() if moved == distance)
        trained.append(Check("risk", numbers).interval)
    exact = [shifted_risk(N_DIMS, N_PAIRS, distance) for distance in DISTANCES]
    lines = [
        _trained("LTB", DISTANCES, trained, _LTB),
        Line("gradient step from the old b*", DISTANCES, exact, role_style("reference")),
    ]
    return Panel(
        "moved",
        "Risk where b* has moved since training",
        f"At |delta| = {DISTANCES[-1]:g} the trained block has {trained[-1].value:.4g}; the closed form says "
        f"{exact[-1]:.4g}.",
        lines_figure(lines, x="|delta|", y=_RISK),
        ("|delta|", "risk", "low", "high", "closed form"),
        tuple((d, i.value, i.low, i.high, e) for d, i, e in zip(DISTANCES, trained, exact, strict=True)),
    )


def _table_1(values: Values, sizes: Sizes) -> Panel:
    of, rows, series = sizes.transformer, [], []
    kinds = ("gpt2", "gpt2 no MLP", "gpt2 pinned", "gpt2 no MLP pinned", "ltb", "lsa")
    unit = of.n_dims  # the error of the answer <b*, x>, whatever b*
    for number, entry in enumerate(TABLE_ENTRIES):
        cells = [values["table 1", kind, entry * math.sqrt(of.n_dims), of.n_pairs] for kind in kinds]
        shares = [cell.value / unit for cell in cells]
        low, high = [cell.low / unit for cell in cells], [cell.high / unit for cell in cells]
        style, names = shift_style(number), [named(kind) for kind in kinds]
        series.append(DotSeries(f"b* entries {entry:g}", names, shares, style, low, high))
        rows += [(n, entry, c.value, c.low, c.high, s) for n, c, s in zip(names, cells, shares, strict=True)]
    share = {(row[0], row[1]): row[5] for row in rows}
    near, far = ([share[named(kind), entry] for kind in ("gpt2", "gpt2 no MLP")] for entry in (BETWEEN, LARGE))
    return Panel(
        "table-1",
        "GPT-2 with and without MLPs (Table 1 of the paper)",
        f"Around b* = (10, ..., 10), with a free read-out, GPT-2 has {far[0]:.2g} of the error of always answering "
        f"<b*, x> with MLPs and {far[1]:.2g} without, around ({BETWEEN:g}, ..., {BETWEEN:g}) {near[0]:.2g} and "
        f"{near[1]:.2g}; at 1, the dotted line, nothing was learned in context. No interval is drawn below a tenth of "
        "its value. "
        f"d = {of.n_dims}, M = {of.n_pairs}, {of.n_layers} layers, width {of.d_model}.",
        dots_figure(series, x="squared error / d, the error of answering <b*, x>", x_type="log", reference=1.0),
        ("model", "entries of b*", "squared error", "low", "high", "error / d"),
        tuple(rows),
    )
