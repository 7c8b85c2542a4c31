"""Figures of the spectral signature: spectra, directions along layers, score and error, detectors, conventions."""

import math

from icl_interp.experiments.claims import Interval
from icl_interp.experiments.hill2025.claims import HIGHLY
from icl_interp.experiments.hill2025.measures import NORMS
from icl_interp.experiments.hill2025.reader import Reader, default_sites, over_seeds
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind, Run
from icl_interp.experiments.hill2025.table import COLUMNS, Convention, convention_rows, conventions, count_holding
from icl_interp.experiments.outcome import Panel
from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.families import IN_DISTRIBUTION

__all__ = ["conventions_panel", "detectors_panel", "layers_panel", "scatter_panel", "spectra_panel", "within_panel"]

_TINY = 1e-3

Row = tuple[str | float | int | None, ...]


def spectra_panel(read: Reader, kind: Kind, shift: str) -> Panel:
    """Draw singular values in and out of distribution."""
    lines, rows = [], []
    for place, label in enumerate((IN_DISTRIBUTION, shift, "x_scale=1/3")):
        for untrained in (False, True):
            spectra = [
                family.untrained_spectrum if untrained else family.spectrum
                for family in (read.found[Run(kind, seed)].families[label] for seed in read.seeds)
            ]
            mean = [sum(values) / len(values) for values in zip(*spectra, strict=True)]
            style = role_style("model") if place == 0 else shift_style(place - 1)
            drawn = TraceStyle(style.colour, "dot" if untrained else "solid", style.symbol)
            name = f"{label}, untrained" if untrained else label
            lines.append(Line(name, range(1, len(mean) + 1), [max(v, _TINY) for v in mean], drawn))
            rows += [(name, index, value) for index, value in enumerate(mean, start=1)]
    first = {line.name: line.y[0] for line in lines}
    return Panel(
        f"spectra-{kind}",
        f"Singular values in and out of distribution: {NAMES[kind]}",
        f"The leading singular value is {first[IN_DISTRIBUTION]:.3g} in distribution, {first[shift]:.3g} under {shift} "
        f"and {first['x_scale=1/3']:.3g} under x_scale=1/3. After the last block, mean over prompts and seeds.",
        lines_figure(lines, x="index", y="singular value", y_type="log"),
        ("family", "index", "singular value"),
        tuple(rows),
    )


def layers_panel(read: Reader) -> Panel:
    """Draw how much more alike prompts in distribution are than shifted ones, along the network."""
    sites = [layer.site for layer in read.first().layers]
    lines: list[Line] = []
    rows: list[Row] = []
    for place, kind in enumerate(KINDS):
        style = shift_style(place)
        trained = [_gap(read, kind, number, "overlap", trained=True) for number in range(len(sites))]
        untrained = [_gap(read, kind, number, "overlap", trained=False) for number in range(len(sites))]
        low, high = [i.low for i in trained], [i.high for i in trained]
        means = [i.value for i in untrained]
        lines.append(Line(f"{NAMES[kind]}, untrained", sites, means, TraceStyle(style.colour, "dot", style.symbol)))
        values, solid = [i.value for i in trained], TraceStyle(style.colour, "solid", style.symbol)
        lines.append(Line(NAMES[kind], sites, values, solid, low, high, markers=True))
        for number, site in enumerate(sites):
            by_index = [_gap(read, kind, number, name, trained=t).value for name in ("v1", "v2") for t in (True, False)]
            rows.append((NAMES[kind], site, values[number], low[number], high[number], means[number], *by_index))
    last = [f"{row[2]:.2f} ({row[0]}; untrained {row[5]:.2f})" for row in rows if row[1] == sites[-2]]
    return Panel(
        "layers",
        "Do prompts in distribution share the top two directions, and shifted ones not?",
        f"After the last block the difference of overlaps is {', '.join(last)}. Pairs of prompts, all tokens, "
        "uncentred, right singular vectors, k = 2; dotted: untrained networks; bands: 95 % intervals over seeds.",
        lines_figure(lines, x="site", y="overlap in distribution - under shift"),
        ("training law", "site", "overlap difference", "low", "high", "untrained", "|cos| of v1", "untrained v1",
         "|cos| of v2", "untrained v2"),
        tuple(rows),
    )  # fmt: skip


def _gap(read: Reader, kind: Kind, number: int, name: str, *, trained: bool) -> Interval:
    def value(run: Run) -> float:
        layer = read.found[run].layers[number]
        gaps = [a - b for a, b in zip(layer.inside[name], layer.shifted[name], strict=True)]
        return gaps[0] if trained else sum(gaps[1:]) / len(gaps[1:])

    found = over_seeds(tuple(value(Run(kind, seed)) for seed in read.seeds))
    return found or Interval(math.nan, math.nan, math.nan)


def scatter_panel(read: Reader, shift: str) -> Panel:
    """Draw the score against the error of single prompts."""
    found, clouds, rows = read.first("weights"), [], []
    labels = [label for label in (IN_DISTRIBUTION, "w_rotation=1/4", shift, "w_rotation=1") if label in found.families]
    for place, label in enumerate(labels):
        style = role_style("model") if place == 0 else shift_style(place - 1)
        points = found.families[label].sample
        clouds.append(Cloud(label, [score for score, _ in points], [max(error, 1e-6) for _, error in points], style))
        rows += [(label, score, error) for score, error in points]
    reading = found.reading(default_sites(found)[0])
    return Panel(
        "score-error",
        "Signature score against error, one point a prompt: weights in a subspace",
        f"Spearman of 1 - score and error is {reading.pooled[0]:.2f} pooled over all shifts and "
        f"{reading.within[0]:.2f} inside families. Seed {read.seeds[0]}, after the last block.",
        clouds_figure(clouds, x="signature score (overlap)", y="squared error / E[y²]"),
        ("family", "score", "squared error / E[y²]"),
        tuple(rows),
    )


def within_panel(read: Reader) -> Panel:
    """Draw the correlation of score and error inside each family."""
    labels = list(dict.fromkeys(label for kind in KINDS for label in read.first(kind).families))
    blocks, rows = {}, []
    for kind in KINDS:
        found = {
            label: over_seeds(read.each(kind, lambda m, label=label: m.families[label].within))  # type: ignore[misc]
            for label in read.first(kind).families
        }
        blocks[NAMES[kind]] = [i.value if (i := found.get(label)) else math.nan for label in labels]
        rows += [(NAMES[kind], label, i.value, i.low, i.high) for label, i in found.items() if i]
    figure = matrix_figure(
        [MatrixBlock("Spearman", blocks)], labels, value="Spearman", value_range=(-1.0, 1.0), middle=0.0
    )
    above = sum(row[2] >= HIGHLY for row in rows)
    return Panel(
        "within",
        "Does the signature tell the error inside a family?",
        f"In {above} of {len(rows)} families Spearman of 1 - score and log error reaches {HIGHLY:g}; the largest is "
        f"{max(row[2] for row in rows):.2f}. Mean over seeds, after the last block, default conventions.",
        figure,
        ("training law", "family", "Spearman", "low", "high"),
        tuple(rows),
    )


def detectors_panel(read: Reader) -> Panel:
    """Draw all detectors beside the signature."""
    detectors = read.first().detectors
    groups = {
        f"{what}{end}": [name for name, found in detectors.items() if found.reads == what]
        for end in ("", ", untrained")
        for what in ("hidden states", "predictions", "raw inputs")
        if not (end and what == "raw inputs")
    }
    blocks: list[MatrixBlock] = []
    rows: list[Row] = []
    for group, names in groups.items():
        field, end = ("untrained", ", untrained") if group.endswith("untrained") else ("auroc", "")
        cells = {f"{name}{end}": [_auroc(read, kind, name, field) for kind in KINDS] for name in names}
        blocks.append(MatrixBlock(group, cells))
        rows += [(name, *values) for name, values in cells.items()]
    figure = matrix_figure(blocks, [NAMES[kind] for kind in KINDS], value="AUROC", value_range=(0.0, 1.0), middle=0.5)
    ours, norms = ([_auroc(read, kind, name, "auroc") for kind in KINDS] for name in ("signature C (overlap)", NORMS))
    return Panel(
        "detectors",
        "Which detectors see the shifts?",
        f"The signature's mean AUROC over shifts is {min(ours):.2f} to {max(ours):.2f} over training laws; the norms "
        f"of a prompt alone reach {min(norms):.2f} to {max(norms):.2f}. Hidden states are read after the last block.",
        figure,
        ("detector", *(NAMES[kind] for kind in KINDS)),
        tuple(rows),
        height=230 + 25 * len(rows),
    )


def _auroc(read: Reader, kind: Kind, name: str, field: str) -> float:
    if any(name not in read.found[Run(kind, seed)].detectors for seed in read.seeds):
        return math.nan
    return read.mean(kind, lambda found: float(getattr(found.detectors[name], field)))


def conventions_panel(read: Reader) -> Panel:
    """Draw where the claims hold, one point a convention; its rows are the table of conventions."""
    clouds, judged = [], conventions(read)
    for place, kind in enumerate(KINDS):
        # Where prompts are rows, single prompts have no score that could follow their errors.
        readings = [n for n, reading in enumerate(read.first().readings) if "prompts" not in reading.tokens]
        xs = [read.mean(kind, lambda found, n=n: found.readings[n].beyond("contrast")) for n in readings]  # type: ignore[misc]
        ys = [read.mean(kind, lambda found, n=n: found.readings[n].within[0]) for n in readings]  # type: ignore[misc]
        clouds.append(Cloud(NAMES[kind], xs, ys, shift_style(place)))
    held = "; ".join(f"{name}: {some} of {total}" for name, (some, total) in count_holding(read).items())
    rule = (
        f"A contrast holds if its interval over seeds lies above untrained networks, a correlation if it lies above "
        f"{HIGHLY:g} and above untrained ones, an AUROC if it lies above 0.5, untrained networks and norms; with so "
        "many cells about one in forty would pass a bound of no effect by chance."
    )
    return Panel(
        "conventions",
        "Which conventions make the claims hold",
        f"{_everywhere(judged)} Cells of the table that hold, conventions times training laws: {held}. {rule}",
        clouds_figure(clouds, x="contrast beyond untrained", y="Spearman inside families", y_type="linear"),
        COLUMNS,
        convention_rows(judged),
    )


def _everywhere(judged: tuple[Convention, ...]) -> str:
    counts = {how: sum(one.holds == how for one in judged) for how in ("yes", "no", "undecided")}
    where = f"In {counts['yes'] or 'none'} of {len(judged)} conventions"
    return (
        f"{where} the contrast is beyond untrained networks for every training law; in {counts['no']} it is below them "
        f"for a law or more, and {counts['undecided']} are undecided. The best convention has {judged[0]}, the worst "
        f"{judged[-1]}: contrast beyond untrained networks, mean over training laws. The table has the best first."
    )
