"""The figures of Carroll et al. (2025) over M: losses, complexity, and the predicted crossover."""

from collections.abc import Sequence

from icl_interp.experiments.carroll2025.measures import Trained
from icl_interp.experiments.carroll2025.reader import Reader, crossover, t_crit_index
from icl_interp.experiments.carroll2025.setting import INFINITE, size_name
from icl_interp.experiments.claims import Check, Interval
from icl_interp.experiments.outcome import Panel
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, role_style

__all__ = ["complexity_panel", "crossover_panel", "losses_panel"]

_NETWORK, _RIDGE, _DMMSE = role_style("model"), role_style("ridge"), role_style("bayes")
_TASKS = "number of tasks M"


def losses_panel(read: Reader) -> Panel:
    """Draw final losses beside those of both predictors."""
    every = (*read.sizes.pools, INFINITE)
    names = [size_name(m) for m in every]
    dmmse, ridge, found = (
        [_interval(read.each(m, number)) for m in every]
        for number in (_dmmse, _ridge, lambda run: run.own[-1])
    )  # fmt: skip
    lines = [
        Line("dMMSE", names, [i.value for i in dmmse], _DMMSE, markers=True),
        Line("ridge", names, [i.value for i in ridge], _RIDGE, markers=True),
        _band("networks", names, found, _NETWORK),
    ]
    first, last = dmmse[0], dmmse[-2]
    return Panel(
        "losses",
        "Loss on the training tasks after training (Figure 3 of the paper, top)",
        f"From M = {names[0]} to {names[-2]} the gap between ridge and dMMSE goes from "
        f"{ridge[0].value - first.value:.2g} to {ridge[-2].value - last.value:.2g}; that between ridge and the "
        f"networks from {ridge[0].value - found[0].value:.2g} to {ridge[-2].value - found[-2].value:.2g}. Below zero "
        "a network is worse than ridge. Bands: 95 % intervals over seeds.",
        _over_tasks(lines, y="squared error on q_M"),
        ("M", "dMMSE", "ridge", "networks", "low", "high"),
        tuple(
            (name, d.value, r.value, f.value, f.low, f.high)
            for name, d, r, f in zip(names, dmmse, ridge, found, strict=True)
        ),
    )


def complexity_panel(read: Reader) -> Panel:
    """Draw learning coefficients of the last networks."""
    runs = {m: [read.run(m, seed) for seed in read.sizes.seeds] for m in (*read.sizes.pools, INFINITE)}
    known = {m: tuple(run.llc for run in of if run.llc is not None) for m, of in runs.items()}
    found = {m: _interval(values) for m, values in known.items() if values}
    pools = [m for m in read.sizes.pools if m in found]
    names, level = [size_name(m) for m in pools], found.get(INFINITE)
    lines = [_band("networks", names, [found[m] for m in pools], _NETWORK)]
    if level is not None:
        flat = [level] * len(names)
        lines.insert(0, _band("M = ∞", names, flat, TraceStyle(_RIDGE.colour, "dash", _RIDGE.symbol)))
    above = [name for m, name in zip(pools, names, strict=True) if level is not None and found[m].value > level.value]
    flagged = sum(bool(run.llc_flags) for of in runs.values() for run in of)
    rows = [
        (size_name(m), seed, run.llc, run.llc_error, ", ".join(run.llc_flags))
        for m, of in runs.items()
        for seed, run in zip(read.sizes.seeds, of, strict=True)
    ]
    return Panel(
        "complexity",
        "Complexity of the trained networks (Figure 3 of the paper, bottom)",
        f"The local learning coefficient is above that of M = ∞ for M = {', '.join(above) or 'none'} (means over "
        f"seeds). {flagged} of {len(rows)} estimates have a raised health flag. Bands: 95 % intervals over seeds; "
        "their height depends on the sampler's settings, so only their order is compared.",
        _over_tasks(lines, y="local learning coefficient"),
        ("M", "seed", "LLC", "sampler's standard error", "flags"),
        tuple(rows),
    )


def crossover_panel(read: Reader) -> Panel:
    """Draw the predicted crossover beside t_crit."""
    pools, seeds = read.sizes.pools, read.sampled_seeds()
    names = [size_name(m) for m in pools]
    logs = {seed: read.log_crossovers(seed) for seed in seeds}
    crit = [_interval(read.each(m, lambda run: float(run.steps[t_crit_index(run)] + 1))) for m in pools]
    lines = [Line("t_crit + 1, training steps", names, [i.value for i in crit], _NETWORK, markers=True)]
    ridge_first: list[str] = []
    why = _reasons(read, seeds)
    if seeds:
        means = [sum(values) / len(seeds) for values in zip(*logs.values(), strict=True)]
        style = TraceStyle(_DMMSE.colour, "dash", "diamond")
        lines.append(Line("predicted crossover, samples n", names, [10**mean for mean in means], style, markers=True))
        ridge_first = [n for n, values in zip(names, zip(*logs.values(), strict=True), strict=True) if min(values) > 0]
    first = f"M = {', '.join(ridge_first)}" if ridge_first else "no M"
    return Panel(
        "crossover",
        "Loss against complexity: when should ridge be left? (equation 8 of the paper)",
        f"In every seed ridge is predicted to be preferred first for {first}. {why}"
        "n counts samples of a Bayesian and is only an analogue of training time: compare the order along M, not the "
        "height. Where there is no crossing, 1 is drawn.",
        _over_tasks(lines, y="samples or steps", log=True),
        ("M", "seed", "ridge's loss - dMMSE's", "LLC of M - LLC of ∞", "n at the crossover", "t_crit"),
        tuple(row for seed in seeds for row in _crossover_rows(read, seed, logs[seed])),
    )


def _reasons(read: Reader, seeds: Sequence[int]) -> str:
    # Which M have no crossing, and why, in how many seeds; for the caption.
    found: dict[str, dict[str, int]] = {}
    for seed in seeds:
        for m in read.sizes.pools:
            one = crossover(read.run(m, seed), read.llc(INFINITE, seed) or 0.0)
            if one is not None and one.reason:
                by_pool = found.setdefault(one.reason, {})
                by_pool[size_name(m)] = by_pool.get(size_name(m), 0) + 1
    said = [
        f"{reason} (M = {', '.join(f'{name} in {n} of {len(seeds)} seeds' for name, n in by_pool.items())})"
        for reason, by_pool in found.items()
    ]
    return f"There is no crossing where {'; or where '.join(said)}. " if said else ""


def _crossover_rows(read: Reader, seed: int, logs: Sequence[float]) -> list[tuple[str | float | int | None, ...]]:
    rows: list[tuple[str | float | int | None, ...]] = []
    infinite = read.llc(INFINITE, seed) or 0.0
    for m, log in zip(read.sizes.pools, logs, strict=True):
        run = read.run(m, seed)
        gap, llc_gap = run.own_of.ridge - run.own_of.dmmse, (run.llc or 0.0) - infinite
        n = 10**log if log > 0 else None
        rows.append((size_name(m), seed, gap, llc_gap, n, run.steps[t_crit_index(run)]))
    return rows


def _dmmse(run: Trained) -> float:
    return run.own_of.dmmse


def _ridge(run: Trained) -> float:
    return run.own_of.ridge


def _interval(values: Sequence[float]) -> Interval:
    return Check("mean", tuple(values)).interval


def _band(name: str, names: Sequence[str], found: Sequence[Interval], style: TraceStyle) -> Line:
    low, high = [i.low for i in found], [i.high for i in found]
    return Line(name, names, [i.value for i in found], style, low, high, markers=True)


def _over_tasks(lines: Sequence[Line], *, y: str, log: bool = False) -> object:
    return lines_figure(lines, x=_TASKS, y=y, y_type="log" if log else "linear").update_xaxes(type="category")
