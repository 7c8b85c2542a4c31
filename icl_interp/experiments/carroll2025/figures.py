"""The figures of Carroll et al. (2025) that follow training; those over M are in sweeps.py."""

from collections.abc import Sequence

from icl_interp.experiments.carroll2025.measures import Measures, Trained
from icl_interp.experiments.carroll2025.reader import Reader, rise, t_crit_index
from icl_interp.experiments.carroll2025.setting import INFINITE, Sizes, size_name
from icl_interp.experiments.carroll2025.sweeps import complexity_panel, crossover_panel, losses_panel
from icl_interp.experiments.outcome import Panel
from icl_interp.figures.lines import Line, StepMark, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style

__all__ = ["panels"]

_MOST_POINTS = 60
"""Checkpoints of a curve that are drawn."""


def panels(found: Measures, sizes: Sizes) -> tuple[Panel, ...]:
    """Draw all figures."""
    read = Reader(found, sizes)
    return (
        _ood(read),
        _trajectories(read),
        _distances(read),
        losses_panel(read),
        complexity_panel(read),
        crossover_panel(read),
    )


def _kept_indices(run: Trained) -> list[int]:
    """Choose the checkpoints that are drawn."""
    n = len(run.steps)
    if n <= _MOST_POINTS:
        return list(range(n))
    last = run.steps[-1] + 1
    wanted = [last ** (j / (_MOST_POINTS - 2)) - 1 for j in range(_MOST_POINTS - 1)]
    kept, at = {0, n - 1, t_crit_index(run)}, 0
    for step in wanted:
        while at < n - 1 and run.steps[at] < step:
            at += 1
        kept.add(at)
    return sorted(kept)


def _style(read: Reader, n_tasks: int | None) -> TraceStyle:
    return shift_style((*read.sizes.pools, INFINITE).index(n_tasks))


def _ood(read: Reader) -> Panel:
    lines, marks, rows = [], [], []
    for m in (*read.sizes.pools, INFINITE):
        runs, style = [read.run(m, seed) for seed in read.sizes.seeds], _style(read, m)
        kept = _kept_indices(runs[0])
        spread = [[run.ood[i] for run in runs] for i in kept]
        means, steps = [sum(values) / len(values) for values in spread], [runs[0].steps[i] for i in kept]
        low, high = [min(values) for values in spread], [max(values) for values in spread]
        lines.append(Line(f"M = {size_name(m)}", steps, means, style, low, high))
        at = [(run.steps[t_crit_index(run)], min(run.ood)) for run in runs]
        marks += [] if m is INFINITE else [StepMark("t_crit of each seed", s, y, style.colour) for s, y in at]
        rows += [(size_name(m), *row) for row in zip(steps, means, low, high, strict=True)]
    ridge = read.run(INFINITE, read.sizes.seeds[0]).ood_of.ridge
    ends = [lines[0].x[0], lines[0].x[-1]]
    lines.append(Line("ridge", ends, [ridge, ridge], TraceStyle(role_style("ridge").colour, "dot", "square")))
    middle = read.sizes.middle
    ups, noise = read.each(middle, rise), read.noise()
    beyond = sum(up > limit for up, limit in zip(ups, noise, strict=True))
    return Panel(
        "ood-loss",
        "Loss on fresh tasks along training (Figure 1 of the paper, top left)",
        f"Trained on M = {middle} tasks, the loss on tasks it never saw ends {_mean(ups):.2g} above its lowest point; "
        f"in {beyond} of {len(ups)} seeds this is more than any rise of the network for M = ∞ "
        f"({_mean(noise):.2g} on average), which we count as noise. Mean and range over seeds; circles: t_crit.",
        timeline_figure(lines, y="squared error on q_inf", marks=marks),
        ("M", "step", "loss on q_inf", "least over seeds", "largest"),
        tuple(rows),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _trajectories(read: Reader) -> Panel:
    first, paths, rows = read.sizes.seeds[0], [], []
    plane = read.found.planes[first]
    for m in (*read.sizes.pools, INFINITE):
        run = read.run(m, first)
        kept = _kept_indices(run)
        xs, ys = zip(*(run.place[i] for i in kept), strict=True)
        steps = [run.steps[i] for i in kept]
        ring = None if m is INFINITE else kept.index(t_crit_index(run))
        paths.append(PlanePath(f"M = {size_name(m)}", steps, xs, ys, _style(read, m), ring))
        rows += [(f"M = {size_name(m)}", *row) for row in zip(steps, xs, ys, strict=True)]
    landmarks = [
        Landmark("ridge" if m is INFINITE else f"dMMSE {m}", *place, "square" if m is INFINITE else "diamond")
        for m, place in plane.landmarks.items()
    ]
    explained = [sum(each.explained) for each in read.found.planes.values()]
    walks = [sum(each.null) for each in read.found.planes.values()]
    return Panel(
        "trajectories",
        "All networks in the plane of two joint principal components (Figure 1 of the paper, right)",
        f"Two components hold {_mean(explained):.0%} of the variance of what the networks answer; for random walks "
        f"with the same steps it would be {_mean(walks):.0%} (means over seeds). Seed {first} is drawn. Stars: ends; "
        "circles: t_crit; diamonds: dMMSE of each M; square: ridge; neither was fitted.",
        paths_figure(
            paths, x=f"PC1 ({plane.explained[0]:.0%})", y=f"PC2 ({plane.explained[1]:.0%})", landmarks=landmarks
        ),
        ("run or predictor", "step", "PC1", "PC2"),
        (*rows, *((mark.name, None, mark.x, mark.y) for mark in landmarks)),
    )


def _distances(read: Reader) -> Panel:
    paths, rows = [], []
    for m in read.sizes.pools:
        for seed in read.sizes.seeds:
            run = read.run(m, seed)
            at = [t_crit_index(run), len(run.steps) - 1]
            steps, xs, ys = [run.steps[i] for i in at], [run.to_dmmse[i] for i in at], [run.to_ridge[i] for i in at]
            paths.append(PlanePath(f"M = {m}", steps, xs, ys, _style(read, m), 0))
            rows += [(m, seed, *row) for row in zip(("t_crit", "end"), steps, xs, ys, strict=True)]
    figure = paths_figure(paths, x="distance to dMMSE", y="distance to ridge", diagonal=True)
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.showlegend is not False and trace.name not in seen
        seen.add(trace.name)
    ends = read.thresholds()
    return Panel(
        "distances",
        "Where networks are at t_crit and at the end (Figure 1 of the paper, bottom left)",
        "Above the dotted line a network answers more like dMMSE, which knows its M tasks by heart, below it more "
        "like ridge, which serves any task. The largest M that ends above it is "
        f"{', '.join(f'{end:g}' for end in ends)} (seed by seed). Mean squared differences on q_M; circles: t_crit, "
        "stars: end.",
        figure,
        ("M", "seed", "when", "step", "distance to dMMSE", "distance to ridge"),
        tuple(rows),
    )
