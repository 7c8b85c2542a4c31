"""Measures of Zhang et al.'s experiment as theory has them, without training anything."""

import math
from dataclasses import replace

from icl_interp.experiments.linear_risk import shifted_risk
from icl_interp.experiments.monte_carlo import Risk
from icl_interp.experiments.zhang2024.measures import DISTANCES, Measures
from icl_interp.experiments.zhang2024.reader import optimum
from icl_interp.experiments.zhang2024.setting import N_DIMS, N_PAIRS, NOISE_STD, SIZES, Run, Sizes, plan

THREE: Sizes = replace(SIZES["smoke"], seeds=(0, 1, 2), lengths=(2, 10))
"""Small, with seeds enough for verdicts."""
CONDITIONS = ("|gamma - b*|", "|-v21 / v_-1 - b*|", "|v_-1 v12|", "|v_-1 V11 - Gamma*|")


def ideal_measures(sizes: Sizes = THREE) -> Measures:
    configs = plan(sizes)
    blocks = [run for run in configs if run.part == "figure 1" and run.kind == "ltb"]
    noisy = optimum("ltb", 0.0, N_PAIRS, noise_std=NOISE_STD)
    return Measures(
        risks={run: Risk(_ideal(run), 0.0) for run in configs},
        along={run: {0: 10.0, 1: 9.0, sizes.steps: _ideal(run)} for run in configs if run.part == "figure 1"},
        weights={run: dict.fromkeys(CONDITIONS, 0.001) for run in blocks},
        moved={(run, d): shifted_risk(N_DIMS, N_PAIRS, d) for run in blocks for d in DISTANCES},
        bayes=Risk(noisy - 0.3, 0.0),
    )


def _ideal(run: Run) -> float:
    if "gpt2" in run.kind:
        return 0.1 if run.norm == 0 or "no MLP" not in run.kind else 3.0
    kind, noise_std = "ltb" if run.kind == "ltb" else "lsa", NOISE_STD if run.part == "noise" else 0.0
    n_dims = THREE.transformer.n_dims if run.part == "table 1" else N_DIMS
    return optimum(kind, run.norm, run.n_pairs, n_dims=n_dims, noise_std=noise_std)


def with_risks(found: Measures, factor: float, **fields: object) -> Measures:
    """The same, but the risks of runs with these fields are multiplied."""
    chosen = {run for run in found.risks if all(getattr(run, name) == value for name, value in fields.items())}
    assert chosen
    risks = {run: Risk(risk.value * (factor if run in chosen else 1.0), 0.0) for run, risk in found.risks.items()}
    return replace(found, risks=risks)


FIGURE_NORM = math.sqrt(N_DIMS)
