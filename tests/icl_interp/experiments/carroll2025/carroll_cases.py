"""Measures of Carroll et al.'s experiment as the paper has them, planted without training anything."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from icl_interp.experiments.carroll2025.measures import Measures, Pair, Plane, Trained
from icl_interp.experiments.carroll2025.setting import INFINITE, SIZES, Run, Sizes

THREE: Sizes = replace(SIZES["laptop"], seeds=(0, 1, 2), pools=(4, 8, 16, 32, 64), threshold=(4, 64))
"""Three seeds, M = 4, 8, 16, 32, 64 and infinity."""
STEPS = (0, 10, 100, 300, 1000, 3000, 10_000)
RIDGE = 1.6
"""Loss of ridge on q_inf, and on every q_M."""
CURVES = {
    4: (4.1, 3.9, 4.0, 4.05, 4.1, 4.1, 4.1),
    8: (4.1, 3.9, 3.6, 3.7, 3.7, 3.7, 3.7),
    16: (4.1, 3.7, 2.4, 1.8, 2.4, 3.0, 3.3),
    32: (4.1, 3.7, 2.4, 1.9, 1.7, 2.2, 2.5),
    64: (4.1, 3.7, 2.4, 2.0, 1.8, 1.7, 1.65),
    INFINITE: (4.1, 3.7, 2.4, 2.02, 1.8, 1.82, 1.62),
}
"""Losses on q_inf: straight, straight, by way of ridge twice, to ridge twice."""
OOD_OF_DMMSE = {4: 4.2, 8: 3.8, 16: 3.4, 32: 3.0, 64: 2.5, INFINITE: RIDGE}
GAPS = {4: 0.55, 8: 0.5, 16: 0.45, 32: 0.4, 64: 0.3, INFINITE: 0.0}
"""Ridge's loss minus dMMSE's on q_M."""
END_RATIOS = {4: 0.01, 8: 0.05, 16: 0.3, 32: 0.9, 64: 5.0, INFINITE: 1.0}
LLC = {4: 20.0, 8: 35.0, 16: 50.0, 32: 60.0, 64: 65.0, INFINITE: 40.0}


def ideal_measures(sizes: Sizes = THREE) -> Measures:
    every = list(itertools.product((*sizes.pools, INFINITE), sizes.seeds))
    landmarks = {m: (0.0, -loss) for m, loss in OOD_OF_DMMSE.items()}
    plane = Plane((0.5, 0.3), (0.4, 0.1), landmarks)
    return Measures(
        {Run(m, seed): ideal_run(m) for m, seed in every}, dict.fromkeys(sizes.seeds, plane), (0.7, 0.6, 0.5)
    )


def ideal_run(m: int | None) -> Trained:
    curve, dmmse, target = CURVES[m], RIDGE - GAPS[m], GAPS[m] if m in (4, 8, 16, 32) else 0.0
    return Trained(
        steps=STEPS,
        ood=curve,
        own=(*curve[:-1], 1.02 * (RIDGE - target)),
        to_dmmse=(*(2.0 for _ in STEPS[1:]), END_RATIOS[m]),
        to_ridge=tuple(1.0 for _ in STEPS),
        place=tuple((float(i), -loss) for i, loss in enumerate(curve)),
        ood_of=Pair(OOD_OF_DMMSE[m], RIDGE),
        own_of=Pair(dmmse, RIDGE),
        llc=LLC[m],
        llc_error=1.0,
        llc_flags=(),
    )


def spoil(found: Measures, m: int | None, change: Callable[[Trained], dict[str, Any]]) -> Measures:
    """The same, but fields of all runs of an M are others."""
    return replace(
        found,
        runs={run: replace(one, **change(one)) if run.n_tasks == m else one for run, one in found.runs.items()},
    )


def spoil_all(found: Measures, change: Callable[[Trained], dict[str, Any]]) -> Measures:
    """Likewise for all runs."""
    return replace(found, runs={run: replace(one, **change(one)) for run, one in found.runs.items()})
