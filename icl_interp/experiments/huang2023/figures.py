"""The figures of Huang et al. (2024): attention, scores and phases along training, and times over K."""

from icl_interp.experiments.claims import over_seeds
from icl_interp.experiments.experiment import Panel
from icl_interp.experiments.huang2023.measures import HALF, LEARNED, PHASES, Curve, Curves, Reader, average
from icl_interp.experiments.panels import band, dashed, dotted, spread, thinned
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, shift_style

_Row = tuple[str, int, float, float, float, float]
_STEP = "training step"
_ATTENTION = "attention to the own feature"


def _pair(
    name: str, trained: list[Curve], exact: Curve, at: Curves, style: TraceStyle
) -> tuple[list[Line], list[_Row]]:
    """Trained curves with their range over seeds, and the exact updates dashed; the same as rows."""
    kept = thinned(at.steps)
    steps = [at.steps[i] for i in kept]
    line, rows = spread(name, steps, [[curve[i] for i in kept] for curve in trained], style)
    updates = [exact[i] for i in kept]
    both = [line, Line(f"{name}, exact updates", steps, updates, dashed(style))]
    return both, [(name, *row, update) for row, update in zip(rows, updates, strict=True)]


_COLUMNS = ("curve", "step", "mean over seeds", "least", "largest", "exact updates")


def _balanced(read: Reader) -> Panel:
    lines, rows = [], []
    for n, k in enumerate(read.sizes.steps):
        trained, exact = read.curves("balanced", k)[""]
        more, found = _pair(f"K = {k}", [one.attention for one in trained], exact.attention, exact, shift_style(n))
        lines += more
        rows += found
    ends = ", ".join(f"{line.y[-1]:.2f} for {line.name}" for line in lines[::2])
    return Panel(
        "balanced", "Balanced features: attention to the query's own feature along training",
        f"Mean over features, mean and range over {len(read.seeds)} seeds; dashed: the exact updates. A layer that "
        f"learns rises to 1. At the end it is {ends}.",
        lines_figure(lines, x=_STEP, y=_ATTENTION, y_range=(0.0, 1.0)), _COLUMNS, rows,
    )  # fmt: skip


def _imbalanced(read: Reader) -> Panel:
    lines, rows = [], []
    for n, (name, (trained, exact)) in enumerate(read.curves("imbalanced", read.sizes.imbalanced).items()):
        said = "dominant feature" if name == "dominant" else "rare features"
        more, found = _pair(said, [one.attention for one in trained], exact.attention, exact, shift_style(n))
        lines += more
        rows += found
    when = [over_seeds([one.time(LEARNED) for one in trained]).value for trained, _ in _classes(read)]
    return Panel(
        "imbalanced", "One dominant feature: attention to the query's own feature along training",
        f"K = {read.sizes.imbalanced}; mean and range over {len(read.seeds)} seeds; dashed: the exact updates. "
        f"Attention reaches {LEARNED:g} after {when[0]:,.0f} steps for the dominant feature and after {when[1]:,.0f} "
        "for rare ones.",
        lines_figure(lines, x=_STEP, y=_ATTENTION, y_range=(0.0, 1.0)), _COLUMNS, rows,
    )  # fmt: skip


def _classes(read: Reader) -> list[tuple[list[Curves], Curves]]:
    return list(read.curves("imbalanced", read.sizes.imbalanced).values())


def _phases(read: Reader) -> Panel:
    trained, exact = _classes(read)[1]
    lines, rows = [], []
    names = (("A_k", "own"), ("B_k1", "first"), ("B_kn, other n", "others"))
    for n, (name, field) in enumerate(names):
        curves = [getattr(one, field) for one in trained]
        more, found = _pair(name, curves, getattr(exact, field), exact, shift_style(n))
        lines += more
        rows += found
    ends = average([one.ends for one in trained])
    figure = lines_figure(lines, x=_STEP, y="score")
    for end in ends:
        if end == end:  # a phase that did not end has no line
            figure.add_vline(x=end, line={"width": 1, "dash": "dot"})
    said = "; ".join(f"{name} until {end:,.0f}" for name, end in zip(PHASES, ends, strict=True))
    return Panel(
        "phases", "The scores of rare features, and their four phases",
        f"K = {read.sizes.imbalanced}; means over rare features, mean and range over {len(read.seeds)} seeds; dashed: "
        f"the exact updates; vertical lines: ends of the phases, by our rule. In steps: {said}.",
        figure, _COLUMNS, rows,
    )  # fmt: skip


def _times(read: Reader) -> Panel:
    sizes, style = list(read.sizes.steps), shift_style(0)
    found = [over_seeds(read.half_times(k)) for k in sizes]
    exact = [read.curves("balanced", k)[""][1].time(HALF) for k in sizes]
    bound = [found[0].value * at / read.bound_at[0] for at in read.bound_at]
    lines = [
        band("trained", sizes, found, style, tenth=True),
        Line("exact updates", sizes, exact, dashed(style)),
        Line("K² log K, through the first point", sizes, bound, dotted(shift_style(1))),
    ]
    exponent = read.exponent([one.value for one in found])
    return Panel(
        "times", "Time to learn against the number of features",
        f"Steps until attention is {HALF:g}, with 95 % intervals over seeds. Times that grow like the bound follow the "
        f"dotted line. They grow like K to the power {exponent:.2f} here, the bound like {read.bound:.2f} at these K.",
        lines_figure(lines, x="number of features K", y="steps", y_type="log"),
        ("K", "steps", "low", "high", "exact updates"),
        [(k, *interval, update) for k, interval, update in zip(sizes, found, exact, strict=True)],
    )  # fmt: skip


PANELS = (_balanced, _imbalanced, _phases, _times)
"""In the order of the page."""
