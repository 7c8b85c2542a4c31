"""The figures of Hill et al. (2025) as the abstract lets us guess them, and our controls."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from icl_interp.experiments.claims import Interval, mean
from icl_interp.experiments.experiment import Panel
from icl_interp.experiments.hill2025.claims import HIGHLY
from icl_interp.experiments.hill2025.measures import NORMS, Measured, Reader
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind
from icl_interp.experiments.panels import band, dashed, dotted
from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.errors import MODEL
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.signature_conventions import Reading

_SHOWN: Mapping[Kind, str] = {
    "isotropic": "x_scale=3", "weights": "w_rotation=1/2", "inputs": "x_complement", "scale": "x_scale=3",
}  # fmt: skip
"""The shift whose curves are drawn for each training law."""
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
        (f"Bayes of its training law, {shift}", shift, "Bayes", role_style("bayes")),
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
        f"under {shift}, where least squares has {squares} and the Bayes predictor of its training law {bayes}. Mean "
        "over prompts and seeds.",
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
        ("training law", "shift", "model", *_COMPARED, "share of models that fail"), rows,
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


def _layers(read: Reader) -> Panel:
    sites, lines = [layer.site for layer in read.first("isotropic").layers], []
    rows: _Rows = []
    for place, kind in enumerate(KINDS):
        trained, untrained, *by_index = (
            [read.interval(lambda found: found.layers[n].gap(name, trained=own), kind) for n in range(len(sites))]
            for name in ("overlap", "v1", "v2")
            for own in (True, False)
        )  # fmt: skip
        means, style = [one.value for one in untrained], shift_style(place)
        lines.append(Line(f"{NAMES[kind]}, untrained", sites, means, dotted(style)))
        lines.append(band(NAMES[kind], sites, trained, style))
        for n, site in enumerate(sites):
            rows.append((NAMES[kind], site, *trained[n], means[n], *(found[n].value for found in by_index)))
    last = [f"{row[2]:.2f} ({row[0]}; untrained {row[5]:.2f})" for row in rows if row[1] == sites[-2]]
    return Panel(
        "layers", "Do prompts in distribution share the top two directions, and shifted ones not?",
        f"After the last block the difference of overlaps is {', '.join(last)}. Pairs of prompts, all tokens, "
        "uncentred, right singular vectors, k = 2; dotted: untrained networks; bands: 95 % intervals over seeds.",
        lines_figure(lines, x="site", y="overlap in distribution - under shift"),
        ("training law", "site", "overlap difference", "low", "high", "untrained", "|cos| of v1", "untrained v1",
         "|cos| of v2", "untrained v2"), rows,
    )  # fmt: skip


def _scatter(read: Reader) -> Panel:
    found, clouds, rows = read.first("weights"), [], []
    labels = (IN_DISTRIBUTION, "w_rotation=1/4", _SHOWN["weights"], "w_rotation=1")
    for place, label in enumerate(label for label in labels if label in found.families):
        scores, errors = zip(*found.families[label].sample, strict=True)
        clouds.append(Cloud(label, scores, [max(error, 1e-6) for error in errors], _style(place)))
        rows += [(label, *point) for point in found.families[label].sample]
    reading = found.reading(found.layers[-2].site)
    return Panel(
        "score-error", "Signature score against error, one point per prompt: weights in a subspace",
        f"Spearman of 1 - score and error is {reading.pooled[0]:.2f} pooled over all shifts and "
        f"{reading.within[0]:.2f} inside families. Seed {read.seeds[0]}, after the last block.",
        clouds_figure(clouds, x="signature score (overlap)", y="squared error / E[y²]"),
        ("family", "score", "squared error / E[y²]"), rows,
    )  # fmt: skip


def _within(read: Reader) -> Panel:
    labels, blocks, rows = _labels(read), {}, []
    for kind in KINDS:
        found = {label: read.interval(lambda m: m.families[label].within, kind) for label in read.first(kind).families}
        blocks[NAMES[kind]] = [found[label].value if label in found else math.nan for label in labels]
        rows += [(NAMES[kind], label, *i) for label, i in found.items() if math.isfinite(i.value)]
    above, largest = sum(row[2] >= HIGHLY for row in rows), max((row[2] for row in rows), default=math.nan)
    return Panel(
        "within", "Does the signature tell the error inside a family?",
        f"In {above} of {len(rows)} families Spearman of 1 - score and log error reaches {HIGHLY:g}; the largest is "
        f"{largest:.2f}. Mean over seeds, after the last block, default conventions.",
        matrix_figure([MatrixBlock("Spearman", blocks)], labels, value="Spearman", value_range=(-1.0, 1.0), middle=0.0),
        ("training law", "family", "Spearman", "low", "high"), rows,
    )  # fmt: skip


def _detectors(read: Reader) -> Panel:
    def aurocs(name: str, field: str = "auroc") -> list[float]:
        known = {kind: all(name in found.detectors for found in read.all(kind)) for kind in KINDS}
        value = lambda found: getattr(found.detectors[name], field)  # noqa: E731
        return [read.mean(value, kind) if known[kind] else math.nan for kind in KINDS]

    blocks, detectors = [], read.first("isotropic").detectors
    for field, end in (("auroc", ""), ("untrained", ", untrained")):
        for what in ("hidden states", "predictions", "raw inputs")[: 2 if end else 3]:
            names = [name for name, found in detectors.items() if found.reads == what]
            blocks.append(MatrixBlock(f"{what}{end}", {f"{name}{end}": aurocs(name, field) for name in names}))
    rows: _Rows = [(name, *cells) for block in blocks for name, cells in block.rows.items()]
    ours, norms, laws = aurocs("signature C (overlap)"), aurocs(NORMS), [NAMES[kind] for kind in KINDS]
    return Panel(
        "detectors", "Which detectors see the shifts?",
        f"The signature's mean AUROC over shifts is {min(ours):.2f} to {max(ours):.2f} over training laws; the norms "
        f"of a prompt alone reach {min(norms):.2f} to {max(norms):.2f}. Hidden states are read after the last block.",
        matrix_figure(blocks, laws, value="AUROC", value_range=(0.0, 1.0), middle=0.5), ("detector", *laws), rows,
        height=230 + 25 * len(rows),
    )  # fmt: skip


_MEASURES = ("contrast beyond untrained", "Spearman inside", "Spearman pooled", "AUROC")
COLUMNS = (
    "site", "tokens", "centring", "side", "variant", "holds",
    *(f"{NAMES[kind]}: {measure}" for kind in KINDS for measure in _MEASURES),
)  # fmt: skip
"""Of the table of conventions, the one table of the experiment."""


@dataclass(frozen=True, slots=True)
class Convention:
    """One convention, and where the claims hold by it."""

    name: tuple[str, str, str, str, str]  # site, tokens, centring, side and variant
    judged: tuple[tuple[Interval, bool], ...]  # by training law and measure: NaN where undefined; whether a claim holds
    holds: str  # "yes" if the contrasts of all laws lie above untrained networks, "no" if one lies below
    beyond: float  # contrast beyond untrained networks, mean over training laws and seeds

    @property
    def row(self) -> tuple[str, ...]:
        """With cells such as "0.31 [0.12, 0.50] ✓"."""
        return (*self.name, self.holds, *(f"{found} ✓" if held else str(found) for found, held in self.judged))

    def __str__(self) -> str:
        site, tokens, centring, side, variant = self.name
        return f"{self.beyond:.2f} ({site}, tokens: {tokens}, {centring}, {side} vectors, {variant}; {self.holds})"


def _convention(read: Reader, number: int) -> Convention:
    def over(value: Callable[[Reading, Measured], float]) -> list[Interval]:
        return [read.interval(lambda found: value(found.readings[number], found), kind) for kind in KINDS]

    contrasts = over(lambda by, _: by.beyond("contrast"))
    judged = [[(one, one.above()) for one in contrasts]]
    for name in ("within", "pooled"):
        plain, beyond = over(lambda by, _: getattr(by, name)[0]), over(lambda by, _: by.beyond(name))
        judged.append([(one, one.above(HIGHLY) and b.above()) for one, b in zip(plain, beyond, strict=True)])
    beyond = over(lambda by, found: by.beyond("auroc", max(0.5, found.detectors[NORMS].auroc)))
    judged.append([(one, b.above()) for one, b in zip(over(lambda by, _: by.auroc[0]), beyond, strict=True)])
    below = any(one.low < one.high < 0.0 for one in contrasts)
    holds = "yes" if all(one.above() for one in contrasts) else "no" if below else "undecided"
    of = read.first("isotropic").readings[number]
    named = (of.site, of.tokens, "centred" if of.centred else "uncentred", of.side, of.variant)
    by_law = tuple(cell for row in zip(*judged, strict=True) for cell in row)
    return Convention(named, by_law, holds, mean([one.value for one in contrasts]))


def conventions(read: Reader) -> list[Convention]:
    """Judge all conventions: those that hold first, then the undecided ones; the largest contrast first in each."""

    def place(one: Convention) -> tuple[int, float]:
        # What is undefined comes last.
        return ("yes", "undecided", "no").index(one.holds), -one.beyond if math.isfinite(one.beyond) else math.inf

    numbers = range(len(read.first("isotropic").readings))
    return sorted((_convention(read, number) for number in numbers), key=place)


def _count_holding(judged: list[Convention]) -> dict[str, tuple[int, int]]:
    """Count, by measure, the cells where the claims hold and all that are defined: conventions times laws."""
    cells = {
        name: [held for one in judged for found, held in one.judged[n :: len(_MEASURES)] if not math.isnan(found.value)]
        for n, name in enumerate(_MEASURES)
    }
    return {name: (sum(held), len(held)) for name, held in cells.items()}


def _conventions(read: Reader) -> Panel:
    judged, clouds = conventions(read), []
    # Where prompts are rows, single prompts have no score that could follow their errors.
    scored = [n for n, one in enumerate(read.first("isotropic").readings) if "prompts" not in one.tokens]
    for place, kind in enumerate(KINDS):
        xs = [read.mean(lambda found: found.readings[n].beyond("contrast"), kind) for n in scored]
        ys = [read.mean(lambda found: found.readings[n].within[0], kind) for n in scored]
        clouds.append(Cloud(NAMES[kind], xs, ys, shift_style(place)))
    counts = {how: sum(one.holds == how for one in judged) for how in ("yes", "no", "undecided")}
    held = "; ".join(f"{name}: {some} of {total}" for name, (some, total) in _count_holding(judged).items())
    return Panel(
        "conventions", "Which conventions make the claims hold",
        f"In {counts['yes'] or 'none'} of {len(judged)} conventions the contrast is beyond untrained networks for "
        f"every training law; in {counts['no']} it is below them for a law or more, and {counts['undecided']} are "
        f"undecided. The best convention has {judged[0]}, the worst {judged[-1]}: contrast beyond untrained networks, "
        "mean over training laws. The table has the best first. Cells of the table that hold, conventions times "
        f"training laws: {held}. A contrast holds if its interval over seeds lies above untrained networks, a "
        f"correlation if it lies above {HIGHLY:g} and above untrained ones, an AUROC if it lies above 0.5, untrained "
        "networks and norms; with so many cells about one in forty would pass a bound of no effect by chance.",
        clouds_figure(clouds, x="contrast beyond untrained", y="Spearman inside families", y_type="linear"),
        COLUMNS, tuple(one.row for one in judged),
    )  # fmt: skip


PANELS: tuple[Callable[[Reader], Panel], ...] = (
    *(partial(_curves, kind) for kind in KINDS), _failures, partial(_spectra, "isotropic"),
    partial(_spectra, "weights"), _layers, _scatter, _within, _detectors, _conventions,
)  # fmt: skip
"""Errors first, then spectra, directions, score and error, detectors, conventions."""
