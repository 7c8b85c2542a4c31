"""Measures of Zhang et al.'s experiment as theory has them, without training anything."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from icl_interp.experiments.linear_risk import Risk, shifted_risk
from icl_interp.experiments.zhang2024.measures import DISTANCES, Measured, Measures, optimum
from icl_interp.experiments.zhang2024.setting import N_DIMS, N_PAIRS, NOISE_STD, SIZES, Run, Sizes, plan

THREE: Sizes = replace(SIZES["smoke"], seeds=(0, 1, 2), n_gpt2_seeds=3, lengths=(2, 10))
"""Small, with seeds enough for verdicts."""
CONDITIONS = ("|gamma - b*|", "|-v21 / v_-1 - b*|", "|v_-1 v12|", "|v_-1 V11 - Gamma*|")


def ideal_measures(sizes: Sizes = THREE) -> Measures:
    noisy = optimum("ltb", 0.0, N_PAIRS, noise_std=NOISE_STD)
    return Measures({run: _measured(run, sizes) for run in plan(sizes)}, Risk(noisy - 0.3, 0.0))


def _measured(run: Run, sizes: Sizes) -> Measured:
    risk = _ideal(run)
    along = {0: 10.0, 1: 9.0, sizes.steps: risk} if run.part == "figure 1" else {}
    if run.part != "figure 1" or run.kind != "ltb":
        return Measured(Risk(risk, 0.0), along)
    moved = {d: shifted_risk(N_DIMS, N_PAIRS, d) for d in DISTANCES}
    return Measured(Risk(risk, 0.0), along, dict.fromkeys(CONDITIONS, 0.001), moved)


def _ideal(run: Run) -> float:
    if "gpt2" in run.kind:
        return 0.1 if run.norm == 0 or "no MLP" not in run.kind else 3.0
    kind, noise_std = "ltb" if run.kind == "ltb" else "lsa", NOISE_STD if run.part == "noise" else 0.0
    n_dims = THREE.transformer.n_dims if run.part == "table 1" else N_DIMS
    return optimum(kind, run.norm, run.n_pairs, n_dims=n_dims, noise_std=noise_std)


def with_risks(found: Measures, factor: float, **fields: object) -> Measures:
    """The same, but the risks of runs with these fields are multiplied."""
    chosen = {run for run in found.runs if all(getattr(run, name) == value for name, value in fields.items())}
    assert chosen
    return with_all(found, lambda run, one: {"risk": Risk(one.risk.value * (factor if run in chosen else 1.0), 0.0)})


def with_all(found: Measures, change: Callable[[Run, Measured], dict[str, Any]]) -> Measures:
    """The same, but these fields of all runs are others."""
    return replace(found, runs={run: replace(one, **change(run, one)) for run, one in found.runs.items()})


FIGURE_NORM = math.sqrt(N_DIMS)
