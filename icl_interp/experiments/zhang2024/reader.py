"""The measured risks by what was run, and the least risk beside them."""

import functools
import math

import torch

from icl_interp.errors import InputError
from icl_interp.experiments.linear_risk import optimal_lsa_risk
from icl_interp.experiments.zhang2024.measures import Measures
from icl_interp.experiments.zhang2024.setting import N_DIMS
from icl_interp.predictors.learned_init import optimal_learned_init

__all__ = ["EXACT", "NEAR", "THEORY", "Reader", "named", "optimum"]

NEAR = 0.02
"""A trained model counts as at its optimum if its risk is within this share of it (ours)."""
THEORY = "the exact optimum; the tolerance is ours"
"""Where such an expectation comes from."""
EXACT = "Errors are exact expectations for the trained weights, by formula."
"""How linear models are measured."""


class Reader:
    """Looks risks up, one a seed."""

    def __init__(self, found: Measures, seeds: tuple[int, ...]) -> None:
        self.found, self.seeds = found, seeds

    def values(self, part: str, kind: str, norm: float, n_pairs: int) -> tuple[float, ...]:
        """Give the risks of one kind of model."""
        by_name = {tuple(run): risk.value for run, risk in self.found.risks.items()}
        return tuple(by_name[part, kind, norm, n_pairs, seed] for seed in self.seeds)

    def gpt2_tested_on(self, n_tasks: int) -> str:
        """Say what the intervals of GPT-2's errors leave out."""
        risks = [risk for run, risk in self.found.risks.items() if "gpt2" in run.kind and risk.value > 0]
        largest = max(risk.standard_error / risk.value for risk in risks)
        return (
            f"Networks with one b* are tested on the same {n_tasks:,} tasks, whose standard error, up to "
            f"{100 * largest:.2g} % of an error, is in no interval."
        )


@functools.cache
def optimum(kind: str, norm: float, n_pairs: int, *, n_dims: int = N_DIMS, noise_std: float = 0.0) -> float:
    """Give the least risk of a kind of linear model."""
    mean = torch.full((n_dims,), norm / math.sqrt(n_dims), dtype=torch.float64)
    if kind != "ltb":
        if noise_std:
            raise InputError(f"optimum of attention alone needs labels without noise, got noise_std={noise_std:g}.")
        return optimal_lsa_risk(mean, n_pairs)
    eye = torch.eye(n_dims, dtype=torch.float64)
    return optimal_learned_init(eye, eye, mean, noise_std, n_pairs).risk


def named(kind: str) -> str:
    """Write out a kind of model."""
    names = {"ltb": "LTB", "lsa": "LSA"}
    end = ", pinned read-out" if "pinned" in kind else ", free read-out"
    return names.get(kind) or f"GPT-2{' without MLP' if 'no MLP' in kind else ''}{end}"
