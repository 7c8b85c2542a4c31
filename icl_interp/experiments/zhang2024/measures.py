"""What is measured on the models of Zhang et al. (2024)."""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from icl_interp.experiments.linear_risk import linear_risk
from icl_interp.experiments.monte_carlo import Risk, query_risks
from icl_interp.experiments.trained import checkpoints_of
from icl_interp.experiments.zhang2024.setting import N_DIMS, N_PAIRS, Run, Sizes, task_of
from icl_interp.models.hooked import HookedModel
from icl_interp.models.linear.effective import EffectiveParameters, effective_parameters
from icl_interp.predictors import gaussian_posterior_mean
from icl_interp.predictors.learned_init import optimal_learned_init
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.train_config import TrainConfig

__all__ = [
    "DISTANCES",
    "Measures",
    "count_laws",
    "measure",
]

DISTANCES = (1.0, 2.0, 4.0)
"""|delta|: how far b* is moved at test time (ours)."""
_TEST_SEED = 2024


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    risks: Mapping[Run, Risk]
    """Squared error on the run's own law: exact for linear models, without standard error; of fresh tasks for GPT-2."""
    along: Mapping[Run, Mapping[int, float]]
    """Exact risk of Figure 1's models by training step, in squared units of y."""
    weights: Mapping[Run, Mapping[str, float]]
    """Largest deviation from each optimality condition, of Figure 1's linear blocks."""
    moved: Mapping[tuple[Run, float], float]
    """Exact error of Figure 1's linear blocks where b* has moved by a distance, in squared units of y."""
    bayes: Risk
    """Error of the centred ridge on fresh noisy tasks."""

    def __repr__(self) -> str:
        return f"Measures({len(self.risks)} runs)"


def measure(
    configs: Mapping[Run, TrainConfig],
    models: Mapping[Run, HookedModel],
    folder: Path,
    sizes: Sizes,
    on_done: Callable[[int], None],
) -> Measures:
    """Measure trained models."""
    linear = {run: _effective(models[run]) for run in configs if not _is_gpt2(run)}
    risks = {run: Risk(_exact(found, run), 0.0) for run, found in linear.items()}
    for runs in _gpt2_by_law(configs):
        asked, task = {run: models[run] for run in runs}, configs[runs[0]].task
        risks |= query_risks(asked, task, sizes.transformer.eval_tasks, seed=_TEST_SEED)
        on_done(1)
    noisy = next(task_of(run) for run in configs if run.part == "noise")
    bayes = _bayes(noisy, sizes.ridge_tasks)
    on_done(1)
    blocks = {run: found for run, found in linear.items() if run.part == "figure 1" and run.kind == "ltb"}
    return Measures(
        risks=risks,
        along={run: _along(folder, run, configs[run]) for run in configs if run.part == "figure 1"},
        weights={run: _weight_errors(found) for run, found in blocks.items()},
        moved={
            (run, distance): _exact(found, run, moved=distance)
            for distance in DISTANCES
            for run, found in blocks.items()
        },
        bayes=bayes,
    )


def count_laws(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done."""
    return len(_gpt2_by_law(configs)) + 1


def _is_gpt2(run: Run) -> bool:
    return "gpt2" in run.kind


def _gpt2_by_law(configs: Mapping[Run, TrainConfig]) -> list[list[Run]]:
    # Models of one law share their test tasks.
    groups: dict[str, list[Run]] = defaultdict(list)
    for run, config in configs.items():
        if _is_gpt2(run):
            groups[config.task.model_dump_json()].append(run)
    return list(groups.values())


def _effective(model: HookedModel) -> EffectiveParameters:
    # A copy: `double` would change the model itself.
    return effective_parameters(copy.deepcopy(model).double())


def _exact(found: EffectiveParameters, run: Run, *, moved: float = 0.0) -> float:
    # All entries of b* are equal, and it moves along itself.
    n_dims = len(found.gamma)
    mean = torch.full((n_dims,), (run.norm + moved) / n_dims**0.5, dtype=torch.float64)
    noise_std = task_of(run, n_dims).noise_std
    with torch.no_grad():
        return float(linear_risk(found, mean, run.n_pairs, noise_std=noise_std))


def _bayes(task: LinearRegression, n_tasks: int) -> Risk:
    ridge = gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
    return query_risks({"bayes": ridge}, task, n_tasks, seed=_TEST_SEED)["bayes"]


def _along(folder: Path, run: Run, config: TrainConfig) -> dict[int, float]:
    kept = checkpoints_of(folder, config).items()
    return {step: _exact(_effective(model), run) for step, model in kept}


def _weight_errors(found: EffectiveParameters) -> dict[str, float]:
    """Compare a block's weights with the conditions for a global minimiser of Figure 1's risk.

    Formula: largest absolute entry of gamma - b*, -v21 / v_minus1 - b*, v_minus1 v12 and v_minus1 V11^T - Gamma*.
    """
    eye = torch.eye(N_DIMS, dtype=torch.float64)
    best = optimal_learned_init(eye, eye, torch.ones(N_DIMS, dtype=torch.float64), 0.0, N_PAIRS)
    deviations = {
        "|gamma - b*|": found.gamma - best.init,
        "|-v21 / v_-1 - b*|": found.start - best.init,
        "|v_-1 v12|": found.v_minus1 * found.v12,
        "|v_-1 V11 - Gamma*|": found.preconditioner - best.preconditioner,
    }
    return {name: float(values.detach().abs().max()) for name, values in deviations.items()}
