"""Finite task diversity: weights drawn from a fixed pool of M tasks, and pools that are nested."""

from collections import OrderedDict
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.base import GaussianInputs
from icl_interp.tasks.linear_regression import LinearTask

_LARGEST_POOL = 2**20  # the most tasks that Raventos et al. and the experiments after them use
_BLOCK = 1024  # rows of the root pool that are drawn at once; part of what a pool_seed means, so it never changes
_REMEMBERED_FLOATS = 2**24  # numbers of root lists that are kept (64 MB), but always those of the last pool


class TaskPool(GaussianInputs, LinearTask):
    """Linear regression whose weights are one of M tasks, each as likely: w ~ uniform on {t_1, ..., t_M}.

    Formula: y_k = w.x_k + noise_std * e_k with x_k ~ N(0, I), and t_1, t_2, ... ~ N(0, I) the rows of one endless root
    list that `pool_seed` decides. Pools are nested: the first M rows are the same for every larger pool, and t_1 is
    the root task that all share. (One `torch.randn(M, d)` per pool would not do: its first rows depend on M. The list
    is drawn in blocks of 1024 rows, each from its own stream.) M = infinity is `LinearRegression`.

    Args:
        n_tasks: Number of tasks M, up to 2^20.
        n_dims, noise_std, n_points: As in `LinearRegression`.
        pool_seed: Seed of the root list, independent of the seeds of prompts.

    Source:
        Raventos et al. (2023), arXiv 2306.15063, section 2; nested pools with a shared root task: arXiv 2501.17745,
        section 3.1 (n_dims 8, 16 examples, noise variance 0.125).

    Example:
        >>> small, large = TaskPool(4, 3), TaskPool(4, 2000)
        >>> torch.testing.assert_close(large.weights[:3], small.weights, rtol=0, atol=0)
        >>> w = small.sample(1, seed=0).ws
        >>> bool((small.weights == w).all(1).any())
        True
    """

    family: Literal["task_pool"] = "task_pool"
    n_tasks: int = Field(ge=1, le=_LARGEST_POOL)
    pool_seed: int = 0

    def __init__(self, n_dims: int, n_tasks: int, **fields: Any) -> None:
        super().__init__(**{"n_dims": n_dims, "n_tasks": n_tasks, **fields})

    @property
    def weights(self) -> Float[Tensor, "task dim"]:
        """The pool, float32; a copy, the root task first."""
        return _pool(self.n_dims, self.n_tasks, self.pool_seed).clone()

    @property
    def root(self) -> Float[Tensor, " dim"]:
        """The root task t_1, shared by every pool of this dimension and seed."""
        return _pool(self.n_dims, 1, self.pool_seed)[0].clone()

    @property
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        """(1/M) sum_m t_m t_m', float64."""
        pool = _pool(self.n_dims, self.n_tasks, self.pool_seed).double()
        return pool.T @ pool / self.n_tasks

    @property
    def weight_mean(self) -> Float[Tensor, " dim"]:
        """(1/M) sum_m t_m, float64."""
        return _pool(self.n_dims, self.n_tasks, self.pool_seed).double().mean(0)

    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        """Draw tasks of the pool, with replacement."""
        which = torch.randint(self.n_tasks, (n_prompts,), generator=stream(seed, "tasks"))
        return _pool(self.n_dims, self.n_tasks, self.pool_seed)[which]

    def describe(self) -> str:
        tasks = "one task" if self.n_tasks == 1 else f"a pool of {self.n_tasks} tasks"
        weights = f"weights from {tasks} (pool seed {self.pool_seed})"
        return self._in_words("linear regression", f"inputs standard Gaussian, {weights}")


_ROOTS: OrderedDict[tuple[int, int], Tensor] = OrderedDict()
# The beginnings of root lists by dimension and pool seed, the last used last: training asks at every step.


def _pool(n_dims: int, n_tasks: int, pool_seed: int) -> Tensor:
    # A view of the root list, which all pools of one dimension and seed share.
    root = _ROOTS.pop((n_dims, pool_seed), torch.empty(0, n_dims))
    if len(root) < n_tasks:
        blocks = [
            torch.randn(_BLOCK, n_dims, generator=stream(pool_seed, f"task pool, block {block}"))
            for block in range(len(root) // _BLOCK, -(-n_tasks // _BLOCK))
        ]
        root = torch.cat([root, *blocks])
    _ROOTS[n_dims, pool_seed] = root
    while len(_ROOTS) > 1 and sum(kept.numel() for kept in _ROOTS.values()) > _REMEMBERED_FLOATS:
        _ROOTS.popitem(last=False)
    return root[:n_tasks]
