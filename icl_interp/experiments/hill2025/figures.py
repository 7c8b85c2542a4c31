"""The figures of Hill et al. (2025) as the abstract lets us guess them, and our controls."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from icl_interp.experiments.claims import mean
from icl_interp.experiments.experiment import Panel
from icl_interp.experiments.hill2025.claims import HIGHLY
from icl_interp.experiments.hill2025.measures import Measured, Reader
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind
from icl_interp.experiments.panels import band, dashed, dotted
from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.heatmap import MatrixBlock, heatmap_figure, matrix_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.errors import MODEL
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_conventions import ConventionFound
from icl_interp.measure.verdicts import LEVEL

_SHOWN: Mapping[Kind, str] = {
    **dict.fromkeys(KINDS, "x_scale=3"), "weights": "w_rotation=1/2", "inputs": "x_complement",
}  # fmt: skip
"""The shift whose curves are drawn for each training distribution."""
_FLOOR, _CEILING, _TINY = 1e-4, 1e2, 1e-3
_COMPARED = ("least squares", "Bayes", "10-step GD")
_Rows = list[tuple[Any, ...]]


def _mean_curve(read: Reader, kind: Kind, curve: Callable[[Measured], tuple[float, ...]]) -> list[float]:
    return [mean(values) for values in zip(*map(curve, read.all(kind)), strict=True)]


def _labels(read: Reader) -> list[str]:
    return list(dict.fromkeys(label for kind in KINDS for label in read.first(kind).families))


def _style(place: int) -> TraceStyle:
    # In distribution comes first.
    return shift_style(place - 1) if place else role_style("model")


def _curves(kind: Kind, read: Reader) -> Panel:
    shift, lines, rows = _SHOWN[kind], [], []
    drawn = (
        ("model, in distribution", IN_DISTRIBUTION, MODEL, role_style("model")),
        ("10-step GD, in distribution", IN_DISTRIBUTION, "10-step GD", role_style("gradient descent")),
        (f"model, {shift}", shift, MODEL, dashed(role_style("shuffled"))),
        (f"least squares, {shift}", shift, "least squares", role_style("least squares")),
        (f"ridge, {shift}", shift, "ridge", role_style("ridge")),
        (f"Bayes of its training distribution, {shift}", shift, "Bayes", role_style("bayes")),
    )
    for name, family, by, style in drawn:
        curve = _mean_curve(read, kind, lambda found: found.families[family].curves[by])
        shown = [min(max(error, _FLOOR), _CEILING) for error in curve]
        lines.append(Line(name, range(len(curve)), shown, style, markers=True))
        rows += [(name, k, error) for k, error in enumerate(curve)]
    own, _, shifted, *others = (line.y[-1] for line in lines)
    squares, _, bayes = ("almost none" if error <= _FLOOR else f"{error:.2g}" for error in others)
    return Panel(
        f"errors-{kind}", f"Error against in-context examples: {NAMES[kind]}",
        f"After {len(lines[0].y) - 1} examples the model's error is {own:.2g} E[y²] in distribution and {shifted:.2g} "
        f"under {shift}, where least squares has {squares} and the Bayes predictor of its training distribution "
        f"{bayes}. Mean over prompts and seeds.",
        lines_figure(lines, x="in-context examples", y="squared error / E[y²]", y_type="log"),
        ("curve", "examples", "squared error / E[y²]"), rows,
    )  # fmt: skip


def _failures(read: Reader) -> Panel:
    columns, blocks = _labels(read), []
    rows: _Rows = []
    for kind in KINDS:
        known, logs = read.first(kind).families, {}
        late = {
            name: {label: read.mean(lambda found: found.families[label].late[name], kind) for label in known}
            for name in (MODEL, *_COMPARED)
        }
        for name, of in late.items():  # cells are log10 errors, so that 0 is what predicting zero has
            cells = [math.log10(min(max(of[c], 1e-3), 10.0)) if c in of else math.nan for c in columns]
            logs[f"{kind}: {name}"] = cells
        blocks.append(MatrixBlock(NAMES[kind], logs))
        for label in (label for label in columns if label in known):
            fails = read.mean(lambda found: found.families[label].fails[MODEL], kind)
            rows.append((NAMES[kind], label, *(of[label] for of in late.values()), fails))
    rates = {kind: read.mean(lambda found: found.failure_rate("least squares"), kind) for kind in KINDS}
    shares = {kind: f"{rate:.0%}" if math.isfinite(rate) else "an undefined share" for kind, rate in rates.items()}
    return Panel(
        "failures", "Who fails under which shift",
        "Of the shifts that least squares handles, the models fail on "
        f"{', '.join(f'{share} ({NAMES[kind]})' for kind, share in shares.items())}. Colours: log10 of the error after "
        "d examples, where 0 is as bad as always saying zero.",
        matrix_figure(blocks, columns, value="log10 error / E[y²]", value_range=(-3.0, 1.0), middle=0.0),
        ("training distribution", "shift", "model", *_COMPARED, "share of models that fail"), rows,
        height=230 + 25 * (len(_COMPARED) + 2) * len(KINDS),
    )  # fmt: skip


def _spectra(kind: Kind, read: Reader) -> Panel:
    lines, rows, shift = [], [], _SHOWN[kind]
    for place, label in enumerate((IN_DISTRIBUTION, shift, "x_scale=1/3")):
        style = _style(place)
        for field, end, drawn in (("spectrum", "", style), ("untrained_spectrum", ", untrained", dotted(style))):
            curve = _mean_curve(read, kind, lambda found: getattr(found.families[label], field))
            indices = range(1, len(curve) + 1)
            lines.append(Line(f"{label}{end}", indices, [max(value, _TINY) for value in curve], drawn))
            rows += [(f"{label}{end}", *row) for row in zip(indices, curve, strict=True)]
    own, shifted, smaller = (line.y[0] for line in lines[::2])
    return Panel(
        f"spectra-{kind}", f"Singular values in and out of distribution: {NAMES[kind]}",
        f"The leading singular value is {own:.3g} in distribution, {shifted:.3g} under {shift} and {smaller:.3g} "
        "under x_scale=1/3. After the last block, mean over prompts and seeds.",
        lines_figure(lines, x="index", y="singular value", y_type="log"), ("family", "index", "singular value"), rows,
    )  # fmt: skip


def _atlas(kind: Kind, read: Reader) -> Panel:
    cells = read.first(kind).cells
    sites, shifts = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ("site", "shift"))
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for place in itertools.product(shifts, sites):
        here = [measured.cell(*place[::-1]) for measured in read.all(kind)]
        words = (sum(cell.word == word for cell in here) for word in ("more", "less"))
        found[place] = (
            *(mean([getattr(c, name) for c in here]) for name in ("auroc", "untrained", "norms", "z")),
            *words,
        )
    least = len(read.seeds) / 2
    marked = [(shifts.index(y), sites.index(x)) for (y, x), row in found.items() if max(row[-2:]) > least]
    said = []
    for n, sign in ((4, 1), (5, -1)):
        (shift, site), row = max(found.items(), key=lambda item: (item[1][n], sign * item[1][3]))
        most = f"{row[n]:.0f} of {len(read.seeds)} models at {site} under {shift}"
        said.append(f"in {most} (AUROC {row[0]:.2f}, untrained {row[1]:.2f})" if row[n] else "in no model")
    return Panel(
        f"atlas-{kind}", f"Where shifted prompts leave the signature: {NAMES[kind]}",
        f"Beside untrained networks, shifted prompts leave the signature more often {said[0]}, and less often "
        f"{said[1]}. Colours: AUROC beyond untrained networks, mean over models; frames: cells beyond every untrained "
        "network in most models.",
        heatmap_figure(
            [[found[shift, site][0] - found[shift, site][1] for site in sites] for shift in shifts], rows=shifts,
            columns=sites, x="site", y="shift", unit="AUROC beyond untrained", marked=marked, scale="diverging",
        ),
        ("shift", "site", "AUROC", "untrained", "norms alone", "z", "models: more", "models: less"),
        [(*place, *row) for place, row in found.items()], height=180 + 22 * len(shifts),
    )  # fmt: skip


def _scatter(read: Reader) -> Panel:
    found, clouds, rows = read.first("weights"), [], []
    labels = (IN_DISTRIBUTION, "w_rotation=1/4", _SHOWN["weights"], "w_rotation=1")
    for place, label in enumerate(label for label in labels if label in found.families):
        scores, errors = zip(*found.families[label].sample, strict=True)
        clouds.append(Cloud(label, scores, [max(error, 1e-6) for error in errors], _style(place)))
        rows += [(label, *point) for point in found.families[label].sample]
    reading = found.readings[-2]
    return Panel(
        "score-error", "Signature score against error, one point per prompt: weights in a subspace",
        f"Spearman of 1 - score and error is {reading.pooled[0]:.2f} pooled over all shifts and "
        f"{reading.within[0]:.2f} inside families. Seed {read.seeds[0]}, after the last block.",
        clouds_figure(clouds, x="signature score (overlap)", y="squared error / E[y²]"),
        ("family", "score", "squared error / E[y²]"), rows,
    )  # fmt: skip


def _telling(read: Reader) -> Panel:
    sites, lines = [reading.site for reading in read.first("isotropic").readings], []
    rows: _Rows = []
    for place, kind in enumerate(KINDS):
        trained = [read.interval(lambda found: found.readings[n].within[0], kind) for n in range(len(sites))]
        means = [read.mean(lambda found: found.readings[n].control("within"), kind) for n in range(len(sites))]
        style = shift_style(place)
        lines += [
            Line(f"{NAMES[kind]}, untrained", sites, means, dotted(style)),
            band(NAMES[kind], sites, trained, style),
        ]
        rows += [(NAMES[kind], *row) for row in zip(sites, *zip(*map(tuple, trained), strict=True), means, strict=True)]
    best = max(rows, key=lambda row: -math.inf if math.isnan(row[2]) else row[2])
    return Panel(
        "telling", "Does the signature tell the error inside a family?",
        f"Spearman of 1 - score and log error is largest at {best[1]} ({best[2]:.2f}, {best[0]}; untrained "
        f"{best[5]:.2f}); {HIGHLY:g} would count as highly correlated. Mean over families; dotted: untrained networks; "
        "bands: 95 % intervals over seeds.",
        lines_figure(lines, x="site", y="Spearman inside families"),
        ("training distribution", "site", "Spearman", "low", "high", "untrained"), rows,
    )  # fmt: skip


_MEASURES = ("models that differ", "strongest cell", "contrast beyond untrained", "Spearman inside")
COLUMNS = (
    "tokens", "centring", "side", "variant", *(f"{NAMES[kind]}: {measure}" for kind in KINDS for measure in _MEASURES),
)  # fmt: skip
"""Of the table of conventions, the one table of the experiment."""


def _differing(read: Reader, number: int, kind: Kind) -> list[ConventionFound]:
    """List what a convention found in each model whose rank is beyond that of untrained networks."""
    found = [measured.conventions[number] for measured in read.all(kind)]
    return [one for one in found if one.p_value < LEVEL]


def _convention_cells(read: Reader, number: int, kind: Kind) -> tuple[str, str, str, str]:
    differ = _differing(read, number, kind)
    strongest = "none"
    if differ:
        (site, shift), times = Counter((one.site, one.shift) for one in differ).most_common(1)[0]
        there = [one for one in differ if (one.site, one.shift) == (site, shift)]
        value, untrained = (mean([getattr(one, name) for one in there]) for name in ("value", "untrained"))
        strongest = f"{site}, {shift} in {times}: {value:.2f}, untrained {untrained:.2f}"
    contrast = read.interval(lambda found: found.conventions[number].last.beyond("contrast"), kind)
    within = read.interval(lambda found: found.conventions[number].last.within[0], kind)
    return f"{len(differ)} of {len(read.seeds)}", strongest, str(contrast), str(within)


def _conventions(read: Reader) -> Panel:
    known = read.first("isotropic").conventions
    shares = {
        ", ".join(one.name): [len(_differing(read, n, kind)) / len(read.seeds) for kind in KINDS]
        for n, one in enumerate(known)
    }
    least, most = (chosen(shares, key=lambda name: mean(shares[name])) for chosen in (min, max))
    many, few = (f"{mean(shares[name]):.0%}" for name in (most, least))
    said = f"By every convention {many}" if many == few else f"By {most}, {many} and by {least}, {few}"
    return Panel(
        "conventions", "By which conventions does a model differ from untrained networks?",
        f"{said} of models do at some site and under some shift; by chance at most 5 % would. Each "
        "convention has an atlas of its own, corrected for its cells and not for the number of "
        "conventions. The table has the strongest cell of each: above the untrained AUROC shifted prompts leave the "
        "signature more often there, below it less often. Where prompts are rows, "
        "it has differences of agreement. Contrast and Spearman are averages over shifts after the last block.",
        matrix_figure([MatrixBlock("share", shares)], [NAMES[kind] for kind in KINDS], value="share of models",
                      value_range=(0.0, 1.0)),
        COLUMNS,
        tuple(
            (*one.name, *(cell for kind in KINDS for cell in _convention_cells(read, n, kind)))
            for n, one in enumerate(known)
        ),
        height=200 + 20 * len(shares),
    )  # fmt: skip


PANELS: tuple[Callable[[Reader], Panel], ...] = (
    *(partial(_curves, kind) for kind in KINDS), _failures, partial(_spectra, "isotropic"),
    partial(_spectra, "weights"), *(partial(_atlas, kind) for kind in KINDS), _scatter, _telling,    _conventions,
)  # fmt: skip
"""Errors first, then spectra, the atlas, score and error, conventions."""
