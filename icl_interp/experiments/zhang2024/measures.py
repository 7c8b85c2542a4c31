"""Measures on the models of Zhang et al. (2024), and the least possible risks."""

import copy
import functools
import math
import operator
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from icl_interp.errors import InputError
from icl_interp.experiments.experiment import PerSeed, TrainedRuns, combine
from icl_interp.experiments.linear_risk import Risk, linear_risk, optimal_lsa_risk, query_risks
from icl_interp.experiments.trained import checkpoints_of
from icl_interp.experiments.zhang2024.setting import FIGURE_NORM, GPT2, N_DIMS, N_PAIRS, NOISE_STD, Run, Sizes, task_of
from icl_interp.models.hooked import HookedModel
from icl_interp.models.linear.constructions import EffectiveParameters, effective_parameters
from icl_interp.predictors import gaussian_posterior_mean
from icl_interp.predictors.learned_init import optimal_learned_init
from icl_interp.training.train_config import TrainConfig

DISTANCES = (1.0, 2.0, 4.0)  # |delta|: how far b* is moved at test time (our choice)
BLOCK = ("figure 1", "ltb", FIGURE_NORM, N_PAIRS)  # the block of Figure 1
_TEST_SEED = 2024


@dataclass(frozen=True, slots=True)
class Measured:
    """One model; of Figure 1's also along training, and of its blocks the weights and where b* has moved."""

    risk: Risk  # squared error on its own distribution: exact for linear models; of fresh tasks for GPT-2
    along: Mapping[int, float] = field(default_factory=dict)  # exact risk by training step
    weights: Mapping[str, float] = field(default_factory=dict)  # largest deviation from each optimality condition
    moved: Mapping[float, float] = field(default_factory=dict)  # exact risk by how far b* has moved


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    runs: Mapping[Run, Measured]
    bayes: Risk  # error of the centred ridge on fresh noisy tasks


def measure(runs: TrainedRuns, sizes: Sizes) -> Measures:
    """Measure trained models; progress is counted in task distributions."""
    found = {run: _linear(runs, run) for run in runs.configs if run.kind not in GPT2}
    for group in _gpt2_by_task(runs.configs):
        asked, task = {run: runs.models[run] for run in group}, runs.configs[group[0]].task
        risks = query_risks(asked, task, sizes.transformer.eval_tasks, seed=_TEST_SEED)
        found |= {run: Measured(risk) for run, risk in risks.items()}
        runs.on_done(1)
    task = next(task_of(run) for run in runs.configs if run.part == "noise")
    ridge = gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
    bayes = query_risks({"bayes": ridge}, task, sizes.ridge_tasks, seed=_TEST_SEED)["bayes"]
    runs.on_done(1)
    return Measures(found, bayes)


def count(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done: GPT-2's task distributions, and the noisy one for the centred ridge."""
    return len(_gpt2_by_task(configs)) + 1


def _gpt2_by_task(configs: Mapping[Run, TrainConfig]) -> list[list[Run]]:
    # Models of one distribution share their test tasks.
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in (run for run in configs if run.kind in GPT2):
        groups[configs[run].task.model_dump_json()].append(run)
    return list(groups.values())


def _linear(runs: TrainedRuns, run: Run) -> Measured:
    def effective(model: HookedModel) -> EffectiveParameters:
        return effective_parameters(copy.deepcopy(model).double())  # a copy: `double` would change the model itself

    found = effective(runs.models[run])
    risk = Risk(_exact(found, run), 0.0)
    if run.part != "figure 1":
        return Measured(risk)
    kept = checkpoints_of(runs.folder, runs.configs[run])
    along = {step: _exact(effective(model), run) for step, model in kept.items()}
    if run.kind != "ltb":
        return Measured(risk, along)
    return Measured(risk, along, _weight_errors(found), {far: _exact(found, run, moved=far) for far in DISTANCES})


def _exact(found: EffectiveParameters, run: Run, *, moved: float = 0.0) -> float:
    # All entries of b* are equal, and it moves along itself.
    n_dims = len(found.gamma)
    mean = torch.full((n_dims,), (run.norm + moved) / n_dims**0.5, dtype=torch.float64)
    with torch.no_grad():
        return float(linear_risk(found, mean, run.n_pairs, noise_std=task_of(run, n_dims).noise_std))


def _weight_errors(found: EffectiveParameters) -> dict[str, float]:
    """Give the largest entry of each condition for a global minimiser of Figure 1's risk (Theorem 5.3)."""
    eye = torch.eye(N_DIMS, dtype=torch.float64)
    best = optimal_learned_init(eye, eye, torch.ones(N_DIMS, dtype=torch.float64), 0.0, N_PAIRS)
    deviations = {
        "|gamma - b*|": found.gamma - best.init,
        "|-v21 / v_-1 - b*|": found.start - best.init,
        "|v_-1 v12|": found.v_minus1 * found.v12,
        "|v_-1 V11 - Gamma*|": found.preconditioner - best.preconditioner,
    }
    return {name: float(values.detach().abs().max()) for name, values in deviations.items()}


class Reader(PerSeed[Measured]):
    """The numbers of each kind of run, one per seed."""

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.bayes, self.sizes, self.of, of = found.bayes, sizes, sizes.transformer, sizes.transformer
        # Standard errors that no interval contains, in percent of what they are of.
        gpt2 = [one.risk for run, one in found.runs.items() if run.kind in GPT2]
        shares = combine(lambda risk: 100 * risk.standard_error / risk.value, gpt2)
        (ridge,) = combine(lambda risk: 100 * risk.standard_error / (risk.value - NOISE_STD**2), [found.bayes])
        words = {**asdict(of), "d": of.n_dims, "M": of.n_pairs, "ridge_tasks": sizes.ridge_tasks, "ridge_error": ridge}
        words["gpt2_error"] = max((share for share in shares if share >= 0), default=math.nan)
        super().__init__(found.runs, sizes.seeds, words)

    def seeds_of(self, *run: Any) -> tuple[int, ...]:
        kind = run[1]
        return self.seeds[: self.sizes.n_gpt2_seeds] if kind in GPT2 else self.seeds

    def risk(
        self, part: str, kind: str, norm: float = FIGURE_NORM, n_pairs: int = N_PAIRS, *, unit: float | int = 1.0
    ) -> tuple[float, ...]:
        return self.each(lambda found: found.risk.value / unit, part, kind, norm, n_pairs)

    def gap(self, part: str, norm: float = FIGURE_NORM, n_pairs: int = N_PAIRS) -> tuple[float, ...]:
        return combine(operator.sub, *(self.risk(part, kind, norm, n_pairs) for kind in ("lsa", "ltb")))

    def in_table(self, kind: str, entry: float, *, unit: float | int = 1.0) -> tuple[float, ...]:
        return self.risk("table 1", kind, self.table_norm(entry), self.of.n_pairs, unit=unit)

    def table_norm(self, entry: float) -> float:
        return entry * math.sqrt(self.of.n_dims)


@functools.cache
def optimum(
    kind: str, norm: float = FIGURE_NORM, n_pairs: int = N_PAIRS, *, n_dims: int = N_DIMS, noise_std: float = 0.0
) -> float:
    """Give the least risk of a linear model: "ltb", or anything else for attention alone, without noise only.

    >>> round(optimum("ltb", 5**0.5, 5), 4), round(optimum("lsa", 5**0.5, 5), 4)
    (2.7273, 4.5566)
    """
    mean = torch.full((n_dims,), norm / math.sqrt(n_dims), dtype=torch.float64)
    if kind != "ltb":
        if noise_std:
            raise InputError(f"optimum of attention alone needs labels without noise, got noise_std={noise_std:g}.")
        return optimal_lsa_risk(mean, n_pairs)
    eye = torch.eye(n_dims, dtype=torch.float64)
    return optimal_learned_init(eye, eye, mean, noise_std, n_pairs).risk
