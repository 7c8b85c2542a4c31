"""What is measured on the models of Zhang et al. (2024)."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from icl_interp.experiments.linear_risk import linear_risk
from icl_interp.experiments.monte_carlo import Risk, query_risks
from icl_interp.experiments.trained import checkpoints_of
from icl_interp.experiments.zhang2024.setting import FIGURE_NORM, N_DIMS, N_PAIRS, Run, Sizes, task_of
from icl_interp.models.effective import EffectiveParameters, effective_parameters
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors import gaussian_posterior_mean
from icl_interp.predictors.learned_init import optimal_learned_init
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.train_config import TrainConfig

__all__ = ["DISTANCES", "Measures", "count_laws", "measure", "weight_errors"]

DISTANCES = (1.0, 2.0, 4.0)
"""|delta|: how far b* is moved at test time (ours)."""
_TEST_SEED = 2024


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    risks: Mapping[Run, Risk]
    """Mean squared error on fresh tasks of the run's own law."""
    along: Mapping[Run, Mapping[int, float]]
    """Exact risk of Figure 1's models by training step."""
    weights: Mapping[Run, Mapping[str, float]]
    """Largest deviation from each optimality condition, of Figure 1's linear blocks."""
    moved: Mapping[tuple[Run, float], Risk]
    """Error of Figure 1's linear blocks where b* has moved by a distance."""
    bayes: Risk
    """Error of the centred ridge on the noisy tasks."""

    def __repr__(self) -> str:
        return f"Measures({len(self.risks)} runs)"


def measure(
    configs: Mapping[Run, TrainConfig],
    models: Mapping[Run, HookedModel],
    folder: Path,
    sizes: Sizes,
    on_done: Callable[[int], None],
) -> Measures:
    """Measure trained models.

    Args:
        configs: Of all runs.
        models: The same runs, trained.
        folder: Of the experiment; checkpoints along training are read from it.
        sizes: Number of test tasks.
        on_done: Called with 1 for each task law.

    Returns:
        All numbers.
    """
    risks: dict[Run, Risk] = {}
    for runs in _by_law(configs):
        n_tasks = sizes.transformer.eval_tasks if "gpt2" in runs[0].kind else sizes.eval_tasks
        risks |= query_risks({run: models[run] for run in runs}, configs[runs[0]].task, n_tasks, seed=_TEST_SEED)
        on_done(1)
    blocks = {run: models[run] for run in configs if run.part == "figure 1" and run.kind == "ltb"}
    moved: dict[tuple[Run, float], Risk] = {}
    for distance in DISTANCES:
        found = query_risks(blocks, _moved(distance), sizes.eval_tasks, seed=_TEST_SEED)
        moved |= {(run, distance): risk for run, risk in found.items()}
        on_done(1)
    noisy = next(task_of(run) for run in configs if run.part == "noise")
    return Measures(
        risks=risks,
        along={run: _along(folder, configs[run]) for run in configs if run.part == "figure 1"},
        weights={run: weight_errors(effective_parameters(model)) for run, model in blocks.items()},
        moved=moved,
        bayes=_bayes(noisy, sizes.eval_tasks),
    )


def count_laws(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done.

    Args:
        configs: Of all runs.

    Returns:
        Task laws that models are tested on.
    """
    return len(_by_law(configs)) + len(DISTANCES)


def _by_law(configs: Mapping[Run, TrainConfig]) -> list[list[Run]]:
    # Models of one law share their test tasks; GPT-2 takes fewer of them.
    groups: dict[str, list[Run]] = defaultdict(list)
    for run, config in configs.items():
        groups[config.task.model_dump_json() + str("gpt2" in run.kind)].append(run)
    return list(groups.values())


def _moved(distance: float) -> LinearRegression:
    return task_of(Run("moved", "ltb", FIGURE_NORM + distance, N_PAIRS, 0))


def _bayes(task: LinearRegression, n_tasks: int) -> Risk:
    ridge = gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
    return query_risks({"bayes": ridge}, task, n_tasks, seed=_TEST_SEED)["bayes"]


def _along(folder: Path, config: TrainConfig) -> dict[int, float]:
    mean, found = torch.full((N_DIMS,), 1.0, dtype=torch.float64), {}
    for step, model in checkpoints_of(folder, config).items():
        with torch.no_grad():
            found[step] = float(linear_risk(effective_parameters(model.double()), mean, N_PAIRS))
    return found


def weight_errors(found: EffectiveParameters) -> dict[str, float]:
    """Compare a block's weights with the conditions for a global minimiser of Figure 1's risk.

    Formula: largest absolute entry of gamma - b*, -v21 / v_minus1 - b*, v_minus1 v12 and v_minus1 V11^T - Gamma*.

    Args:
        found: Of a trained block.

    Returns:
        Four numbers by condition, each 0 at a minimiser.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, Theorem 5.3.
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
