"""The figures of Carroll et al. (2025): along training, and over M."""

from collections.abc import Sequence

from icl_interp.experiments.carroll2025.measures import NUMBERS, Reader, crossover
from icl_interp.experiments.carroll2025.setting import INFINITE, size_name
from icl_interp.experiments.claims import mean, over_seeds
from icl_interp.experiments.experiment import Panel
from icl_interp.experiments.panels import band, dashed, flat, spread, thinned
from icl_interp.figures.lines import Line, StepMark, lines_figure, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style

_NETWORK, _RIDGE, _DMMSE = role_style("model"), role_style("ridge"), role_style("bayes")


def _ood(read: Reader) -> Panel:
    lines, marks, rows = [], [], []
    for m in read.every:
        runs, style, name = read.all(m), shift_style(read.every.index(m)), size_name(m)
        kept = thinned(runs[0].steps, runs[0].t_crit)
        steps, curves = [runs[0].steps[i] for i in kept], [[run.ood[i] for i in kept] for run in runs]
        line, found = spread(f"M = {name}", steps, curves, style)
        lines.append(line)
        for run in runs if m is not INFINITE else ():
            marks.append(StepMark("t_crit of each seed", run.steps[run.t_crit], min(run.ood), style.colour))
        rows += [(name, *row) for row in found]
    ridge = TraceStyle(_RIDGE.colour, "dot", "square")
    lines.append(flat("ridge", lines[0].x, read.first(INFINITE).ood_of.ridge, ridge))
    ups, noise = read.number("rise", "middle"), read.number("noise", INFINITE)
    beyond = sum(up > limit for up, limit in zip(ups, noise, strict=True))
    return Panel(
        "ood-loss", "Loss on fresh tasks along training (Figure 1 of the paper, top left)",
        f"Trained on M = {read.sizes.middle} tasks, the loss on tasks it never saw ends {mean(ups):.2g} above its "
        f"lowest point; in {beyond} of {len(ups)} seeds this is more than any rise of the network for M = ∞ "
        f"({mean(noise):.2g} on average), which we count as noise. Mean and range over seeds; circles: t_crit.",
        timeline_figure(lines, y="squared error on q_inf", marks=marks),
        ("M", "step", "loss on q_inf", "least over seeds", "largest"), rows,
    )  # fmt: skip


def _trajectories(read: Reader) -> Panel:
    plane, paths, rows = read.planes[0], [], []
    for m in read.every:
        run, name = read.first(m), f"M = {size_name(m)}"
        kept = thinned(run.steps, run.t_crit)
        steps, (xs, ys) = [run.steps[i] for i in kept], zip(*(run.place[i] for i in kept), strict=True)
        ring = None if m is INFINITE else kept.index(run.t_crit)
        paths.append(PlanePath(name, steps, xs, ys, shift_style(read.every.index(m)), ring))
        rows += [(name, *row) for row in zip(steps, xs, ys, strict=True)]
    landmarks = [
        Landmark("ridge", *at, "square") if m is INFINITE else Landmark(f"dMMSE {m}", *at)
        for m, at in plane.landmarks.items()
    ]
    explained, walks = (mean([sum(getattr(one, of)) for one in read.planes]) for of in ("explained", "null"))
    x, y = (f"PC{number} ({share:.0%})" for number, share in enumerate(plane.explained, start=1))
    return Panel(
        "trajectories", "All networks in the plane of two joint principal components (Figure 1 of the paper, right)",
        f"Two components hold {explained:.0%} of the variance of what the networks answer; for random walks with the "
        f"same steps it would be {walks:.0%} (means over seeds). Seed {read.seeds[0]} is drawn. Stars: ends; circles: "
        "t_crit; diamonds: dMMSE of each M; square: ridge; neither was fitted.",
        paths_figure(paths, x=x, y=y, landmarks=landmarks), ("run or predictor", "step", "PC1", "PC2"),
        [*rows, *((mark.name, None, mark.x, mark.y) for mark in landmarks)],
    )  # fmt: skip


def _distances(read: Reader) -> Panel:
    paths, rows = [], []
    for m in read.pools:
        for seed, run in zip(read.seeds, read.all(m), strict=True):
            at = [run.t_crit, len(run.steps) - 1]
            steps = [run.steps[i] for i in at]
            xs, ys = ([distances[i] for i in at] for distances in (run.to_dmmse, run.to_ridge))
            paths.append(PlanePath(f"M = {m}", steps, xs, ys, shift_style(read.every.index(m)), 0))
            rows += [(m, seed, *row) for row in zip(("t_crit", "end"), steps, xs, ys, strict=True)]
    figure = paths_figure(paths, x="distance to dMMSE", y="distance to ridge", diagonal=True)
    return Panel(
        "distances", "Where networks are at t_crit and at the end (Figure 1 of the paper, bottom left)",
        "Above the dotted line a network answers more like dMMSE, which knows its M tasks by heart, below it more "
        "like ridge, which serves any task. The largest M that ends above it is "
        f"{', '.join(f'{end:g}' for end in read.thresholds())} (seed by seed). Mean squared differences on q_M; "
        "circles: t_crit, stars: end.",
        figure, ("M", "seed", "when", "step", "distance to dMMSE", "distance to ridge"), rows,
    )  # fmt: skip


def _losses(read: Reader) -> Panel:
    names = [size_name(m) for m in read.every]
    numbers = (lambda run: run.own_of.dmmse, lambda run: run.own_of.ridge, lambda run: run.own[-1])
    dmmse, ridge, found = ([read.interval(number, m) for m in read.every] for number in numbers)
    solutions = (("dMMSE", dmmse, _DMMSE), ("ridge", ridge, _RIDGE))
    lines = [Line(name, names, [one.value for one in of], style, markers=True) for name, of, style in solutions]
    of_dmmse, of_networks = ([f"{ridge[i].value - other[i].value:.2g}" for i in (0, -2)] for other in (dmmse, found))
    return Panel(
        "losses", "Loss on the training tasks after training (Figure 3 of the paper, top)",
        f"From M = {names[0]} to {names[-2]} the gap between ridge and dMMSE goes from {' to '.join(of_dmmse)}; that "
        f"between ridge and the networks from {' to '.join(of_networks)}. Below zero a network is worse than ridge. "
        "Bands: 95 % intervals over seeds.",
        _over_tasks([*lines, band("networks", names, found, _NETWORK)], y="squared error on q_M"),
        ("M", "dMMSE", "ridge", "networks", "low", "high"),
        [(n, d.value, r.value, *f) for n, d, r, f in zip(names, dmmse, ridge, found, strict=True)],
    )  # fmt: skip


def _complexity(read: Reader) -> Panel:
    known = {m: [run.llc for run in read.all(m) if run.llc == run.llc] for m in read.every}
    found = {m: over_seeds(values) for m, values in known.items() if values}
    pools, level = [m for m in read.pools if m in found], found.get(INFINITE)
    names = [size_name(m) for m in pools]
    lines = [] if level is None else [band("M = ∞", names, [level] * len(names), dashed(_RIDGE))]
    lines.append(band("networks", names, [found[m] for m in pools], _NETWORK))
    above = [size_name(m) for m in pools if level is not None and found[m].value > level.value]
    rows = [
        (size_name(m), seed, run.llc, run.llc_error, ", ".join(run.llc_flags))
        for m in read.every
        for seed, run in zip(read.seeds, read.all(m), strict=True)
    ]
    return Panel(
        "complexity", "Complexity of the trained networks (Figure 3 of the paper, bottom)",
        f"The local learning coefficient is above that of M = ∞ for M = {', '.join(above) or 'none'} (means over "
        f"seeds). {sum(bool(row[-1]) for row in rows)} of {len(rows)} estimates have a raised health flag. Bands: "
        "95 % intervals over seeds; their height depends on the sampler's settings, so only their order is compared.",
        _over_tasks(lines, y="local learning coefficient"),
        ("M", "seed", "LLC", "sampler's standard error", "flags"), rows,
    )  # fmt: skip


def _crossover(read: Reader) -> Panel:
    logs, names = {m: read.log_crossovers(m) for m in read.pools}, [size_name(m) for m in read.pools]
    crit = [read.mean(lambda run: run.steps[run.t_crit] + 1, m) for m in read.pools]
    expected, crossing = [10 ** mean(values) for values in logs.values()], TraceStyle(_DMMSE.colour, "dash", "diamond")
    lines = [
        Line("t_crit + 1, training steps", names, crit, _NETWORK, markers=True),
        Line("predicted crossover, samples n", names, expected, crossing, markers=True),
    ]
    ridge_first = ", ".join(size_name(m) for m, values in logs.items() if all(value > 0 for value in values))
    rows = []
    for place, (seed, infinite) in enumerate(zip(read.seeds, read.all(INFINITE), strict=True)):
        for m in read.pools:
            run, log = read.all(m)[place], logs[m][place]
            gaps = NUMBERS["ridge - dMMSE"](run), run.llc - infinite.llc
            rows.append((size_name(m), seed, *gaps, 10**log if log > 0 else None, run.steps[run.t_crit]))
    first = "For no M is ridge preferred first in all seeds."
    if ridge_first:
        first = f"In all seeds ridge is predicted to be preferred first for M = {ridge_first}."
    return Panel(
        "crossover", "Loss against complexity: when should ridge be left? (equation 8 of the paper)",
        f"{first} {_reasons(read)}n counts samples of a Bayesian and is only an analogue of training time: compare the "
        "order along M, not the height. Where there is no crossing, 1 is drawn.",
        _over_tasks(lines, y="samples or steps", log=True),
        ("M", "seed", "ridge's loss - dMMSE's", "LLC of M - LLC of ∞", "n at the crossover", "t_crit"), rows,
    )  # fmt: skip


def _reasons(read: Reader) -> str:
    # Which M have no crossing, and why, in how many seeds; for the caption.
    found: dict[str, list[str]] = {}
    for m in read.pools:
        all_seeds = [crossover(*both) for both in zip(read.all(m), read.all(INFINITE), strict=True)]
        reasons = [one.reason for one in all_seeds if one is not None and one.reason]
        for reason in dict.fromkeys(reasons):
            some = f"{size_name(m)} in {reasons.count(reason)} of {len(read.seeds)} seeds"
            found.setdefault(reason, []).append(some)
    said = [f"{reason} (M = {', '.join(of)})" for reason, of in found.items()]
    return f"There is no crossing where {'; or where '.join(said)}. " if said else ""


def _over_tasks(lines: Sequence[Line], *, y: str, log: bool = False) -> object:
    figure = lines_figure(lines, x="number of tasks M", y=y, y_type="log" if log else "linear")
    return figure.update_xaxes(type="category")


PANELS = (_ood, _trajectories, _distances, _losses, _complexity, _crossover)
