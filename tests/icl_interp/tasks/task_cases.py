"""The tasks that laws are tested on: one line each."""

from collections import Counter
from collections.abc import Mapping

import torch

from icl_interp import (
    AffineRecurrence,
    CategoricalRegression,
    DecisionTreeRegression,
    IllConditionedRegression,
    LinearRegression,
    QuadraticRegression,
    ReluNetworkRegression,
    SineRegression,
    SparseLinearRegression,
    TaskPool,
    UniformRegression,
)
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts.select import ShiftedTask

SQUARE = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
PLANE = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])  # rank 2, no coordinate is zero

TASKS: dict[str, LinearRegression] = {
    "isotropic": LinearRegression(3),
    "noisy": LinearRegression(3, noise_std=0.5),
    "scaled": LinearRegression(3, x_cov=4.0, w_cov=0.25),
    "diagonal": LinearRegression(3, x_cov=[1.0, 4.0, 0.25], w_cov=[2.0, 1.0, 0.0]),
    "matrices": LinearRegression(3, x_cov=SQUARE, w_cov=PLANE, noise_std=0.1),
    "means": LinearRegression(3, x_mean=1.0, w_mean=[0.0, -1.0, 2.0], x_cov=SQUARE),
    "inputs in a plane": LinearRegression(3, x_cov=PLANE),
    "fixed weights": LinearRegression(3, w_mean=[1.0, 2.0, 3.0], w_cov=0.0),
    "nothing but noise": LinearRegression(3, w_cov=0.0, noise_std=2.0),
    "all zero": LinearRegression(3, x_cov=0.0, w_cov=0.0),
    "one dimension": LinearRegression(1, noise_std=0.2, x_cov=[[2.0]], w_cov=[3.0]),
    "own length": LinearRegression(3, n_points=2),
}

FAMILY_CASES: dict[str, Task] = {
    **TASKS,
    "pool": TaskPool(3, 5, noise_std=0.3),
    "pool of one": TaskPool(2, 1),
    "large pool": TaskPool(3, 3000, pool_seed=4),
    "sparse": SparseLinearRegression(n_dims=5, n_nonzero=2, noise_std=0.2),
    "sparse correlated": SparseLinearRegression(n_dims=4, x_correlation=0.7),
    "dense after all": SparseLinearRegression(n_dims=1, n_nonzero=1),
    "balanced features": CategoricalRegression(n_dims=4, noise_std=0.1),
    "dominant feature": CategoricalRegression(n_dims=4, n_features=3, dominant_share=0.6, basis_seed=1),
    "one feature": CategoricalRegression(n_dims=1),
    "recurrence": AffineRecurrence(),
    "noisy recurrence": AffineRecurrence(slope_bound=1.1, noise_std=0.5, n_points=6),
    "uniform": UniformRegression(n_dims=4),
    "uniform wide": UniformRegression(n_dims=2, half_width=1.0, noise_std=0.3),
    "ill-conditioned": IllConditionedRegression(n_dims=4),
    "ill-conditioned odd": IllConditionedRegression(n_dims=3, condition_number=10.0, noise_std=0.1),
    "ill-conditioned line": IllConditionedRegression(n_dims=1),
    "sine": SineRegression(),
    "loud sine": SineRegression(amplitude_high=5.0, noise_std=0.1),
    "network": ReluNetworkRegression(n_dims=3, n_hidden=20),
    "tree": DecisionTreeRegression(n_dims=3, noise_std=0.2),
    "stump": DecisionTreeRegression(n_dims=1, depth=1),
    "quadratic": QuadraticRegression(n_dims=3, noise_std=0.5),
}
"""At least one case of every family, edges included."""

Shifted = list[tuple[str, ShiftedTask]]
"""Names of tasks, each with a shift of it."""


def cover(cases: Shifted, tasks: Mapping[str, Task]) -> Shifted:
    """One case for each two of a class of tasks and a shift; every task and every strength is in one of them."""
    groups: dict[tuple[type[Task], str], Shifted] = {}
    for name, entry in cases:
        groups.setdefault((type(tasks[name]), entry.shift.name), []).append((name, entry))
    used: Counter[str] = Counter()
    chosen = []
    for group in groups.values():
        name, entry = min(group, key=lambda case: (used[case[1].label], used[case[0]]))
        used.update((name, entry.label))
        chosen.append((name, entry))
    for name, entry in cases:
        if not (used[name] and used[entry.label]):
            used.update((name, entry.label))
            chosen.append((name, entry))
    return chosen
