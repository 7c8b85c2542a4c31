"""The figures of Zhang et al. (2024), and further ones that the theory suggests."""

import math
from collections.abc import Sequence

from icl_interp.experiments.claims import Interval
from icl_interp.experiments.experiment import Panel
from icl_interp.experiments.linear_risk import shifted_risk
from icl_interp.experiments.panels import band, dots, dotted, flat, spread
from icl_interp.experiments.zhang2024.claims import named
from icl_interp.experiments.zhang2024.measures import BLOCK, DISTANCES, Measured, Reader, optimum
from icl_interp.experiments.zhang2024.setting import FIGURE_NORM, GPT2, N_DIMS, N_PAIRS, NOISE_STD, TABLE_ENTRIES
from icl_interp.figures.dots import dots_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import model_style, role_style, shift_style

_LTB, _LSA = model_style(0), model_style(1)
_KINDS = (("lsa", _LSA), ("ltb", _LTB))
_, BETWEEN, LARGE = TABLE_ENTRIES
_RISK = "squared error"
_FIGURE = (FIGURE_NORM, N_PAIRS)


def _risk(found: Measured) -> float:
    return found.risk.value


def _figure_1(read: Reader) -> Panel:
    lines, rows = [], []
    for kind, style in _KINDS:
        curves = [found.along for found in read.all("figure 1", kind, *_FIGURE)]
        steps = [step for step in curves[0] if step > 0]
        line, found = spread(kind.upper(), steps, [[curve[step] for step in steps] for curve in curves], style)
        best = optimum(kind)
        lines += [line, flat(f"least risk of {kind.upper()}, {best:.3g}", steps, best, dotted(style))]
        rows += [(kind.upper(), *row) for row in found]
    return Panel(
        "figure-1", "Risk of LSA and LTB along training (Figure 1 of the paper)",
        f"Exact risk of the checkpoints, mean and range over {len(read.seeds)} seeds; dotted lines: the least risk of "
        f"each model. A model that reaches its optimum comes down to its dotted line. After training LTB has "
        f"{lines[2].y[-1]:.3g}, LSA {lines[0].y[-1]:.3g} (d = M = 5, b* = (1, ..., 1)).",
        lines_figure(lines, x="training step", y=_RISK).update_xaxes(type="log", dtick=1),
        ("model", "step", "risk", "least over seeds", "largest"), rows,
    )  # fmt: skip


def _sweep(key: str, x: str, places: Sequence[tuple[float, float, int]], read: Reader) -> Panel:
    lines, rows = [], []
    at = [place for place, _, _ in places]
    for kind, style in _KINDS:
        parts = ["figure 1" if math.isclose(norm, FIGURE_NORM) and m == N_PAIRS else key for _, norm, m in places]
        found = [read.interval(_risk, p, kind, norm, m) for p, (_, norm, m) in zip(parts, places, strict=True)]
        best = [optimum(kind, norm, m) for _, norm, m in places]
        lines.append(band(kind.upper(), at, found, style, tenth=True))
        lines.append(Line(f"least risk of {kind.upper()}", at, best, dotted(style)))
        rows += [(kind.upper(), a, *f, b) for a, f, b in zip(at, found, best, strict=True)]
    return Panel(
        key, f"Risk against {x}",
        "Risk of the trained models, with 95 % intervals over seeds; dotted lines: the least risk of each model. At "
        f"{x} = {at[-1]:.3g} LSA has {lines[0].y[-1]:.3g} and LTB {lines[2].y[-1]:.3g}.",
        lines_figure(lines, x=x, y=_RISK, y_type="log"), ("model", x, "risk", "low", "high", "least risk"), rows,
    )  # fmt: skip


def _parts(read: Reader) -> Panel:
    trained = (
        ("LTB", "figure 1", "ltb", optimum("ltb")),
        ("LTB without the skip", "ablation", "ltb no skip", optimum("lsa")),
        ("LTB without the MLP (LSA)", "figure 1", "lsa", optimum("lsa")),
        ("LTB, noisy tasks", "noise", "ltb", optimum("ltb", noise_std=NOISE_STD)),
    )
    rows = [(name, read.interval(_risk, part, kind, *_FIGURE), best) for name, part, kind, best in trained]
    bayes = read.bayes
    cells = [*rows, ("centred ridge, noisy tasks", Interval(*[bayes.value] * 3), None)]
    both, no_skip, no_mlp, noisy = (found.value for _, found, _ in rows)
    return Panel(
        "parts", "What the block needs, and how near it comes to Bayes where there is noise",
        f"With skip and MLP the risk is {both:.3g}, without the skip {no_skip:.3g}, without the MLP {no_mlp:.3g}. With "
        f"as much noise as signal it is {noisy:.3g}; the Bayes predictor has {bayes.value:.3g} ± "
        f"{bayes.standard_error:.2g} (standard error over test prompts). Intervals are over seeds.",
        dots_figure([dots("risk", {name: i for name, i, _ in cells}, _LTB)], x=_RISK).update_layout(showlegend=False),
        ("model", "risk", "low", "high", "least risk"), [(name, *found, best) for name, found, best in cells],
    )  # fmt: skip


def _moved(read: Reader) -> Panel:
    trained = [read.interval(lambda found: found.moved[far], *BLOCK) for far in DISTANCES]
    exact = [shifted_risk(N_DIMS, N_PAIRS, far) for far in DISTANCES]
    closed_form = Line("gradient step from the old b*", DISTANCES, exact, role_style("reference"))
    return Panel(
        "moved", "Risk where b* has moved since training",
        "Risk of the trained block on tasks around a moved b*, and of one gradient step from the old b*. If the start "
        f"is learned, the curves agree. At |delta| = {DISTANCES[-1]:g} they are {trained[-1].value:.3g} and "
        f"{exact[-1]:.3g}.",
        lines_figure([band("LTB", DISTANCES, trained, _LTB, tenth=True), closed_form], x="|delta|", y=_RISK),
        ("|delta|", "risk", "low", "high", "closed form"),
        [(far, *found, best) for far, found, best in zip(DISTANCES, trained, exact, strict=True)],
    )  # fmt: skip


def _table_1(read: Reader) -> Panel:
    of, rows, series = read.of, [], []
    for number, entry in enumerate(TABLE_ENTRIES):
        at = (read.table_norm(entry), of.n_pairs)
        cells = {named(kind): read.interval(_risk, "table 1", kind, *at) for kind in (*GPT2, "ltb", "lsa")}
        # In units of the error of the answer <b*, x>, whatever b*.
        shares = {name: Interval(*(end / of.n_dims for end in found)) for name, found in cells.items()}
        series.append(dots(f"b* entries {entry:g}", shares, shift_style(number)))
        rows += [(name, entry, *found, shares[name].value) for name, found in cells.items()]
    share = {(row[0], row[1]): row[5] for row in rows}
    near, far = ([share[named(kind), entry] for kind in GPT2[:2]] for entry in (BETWEEN, LARGE))
    return Panel(
        "table-1", "GPT-2 with and without MLPs (Table 1 of the paper)",
        "Error divided by that of always answering <b*, x>; at 1, the dotted line, nothing was learned in context. "
        f"With a free read-out, GPT-2 has {far[0]:.2g} with and {far[1]:.2g} without MLPs around b* = (10, ..., 10), "
        f"{near[0]:.2g} and {near[1]:.2g} around ({BETWEEN:g}, ..., {BETWEEN:g}). Intervals are cut at a tenth of the "
        f"value. d = {of.n_dims}, M = {of.n_pairs}, {of.n_layers} layers, width {of.d_model}.",
        dots_figure(series, x="squared error / d, the error of answering <b*, x>", x_type="log", reference=1.0),
        ("model", "entries of b*", "squared error", "low", "high", "error / d"), rows,
    )  # fmt: skip


def _norms(read: Reader) -> Panel:
    return _sweep("norms", "|b*|", [(n, n, N_PAIRS) for n in sorted({*read.sizes.norms, FIGURE_NORM})], read)


def _lengths(read: Reader) -> Panel:
    lengths = sorted({*read.sizes.lengths, N_PAIRS})
    return _sweep("lengths", "M", [(float(m), FIGURE_NORM, m) for m in lengths], read)


PANELS = (_figure_1, _norms, _lengths, _parts, _moved, _table_1)  # in the order of the claims
