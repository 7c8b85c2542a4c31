"""Query shifts: the context as it is or folded, and each entry asked at an input of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from icl_interp.prompts import Prompts, stream
from icl_interp.tasks.base import FunctionTask
from icl_interp.tasks.linear import LinearTask
from icl_interp.tasks.shifts.sources import estimate_label_second_moment
from probes._core.reprs import short_repr

__all__ = ["QueryShift", "fold_context", "orthogonal_queries", "repeated_queries"]


@dataclass(frozen=True, eq=False)
class QueryShift:
    """A task whose entry k is asked elsewhere than at xs[:, k], after the pairs before k."""

    task: FunctionTask
    """Whose functions answer."""
    name: str
    """For `Prompts.source`."""
    split: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    """From the task's inputs and the seed to the inputs of the pairs and the queries."""
    most_points: int | None = None
    """Points after which queries mean nothing; prompts are cut there."""
    keeps_energy: bool = True
    """Whether queries have the inputs' own second moment."""

    __repr__ = short_repr

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts as a pure function of the arguments."""
        base = self.task.sample(n_prompts, n_points, seed=seed)
        if self.most_points is not None:
            base = base.first_points(self.most_points)
        pairs, queries = self.split(base.xs, seed)
        answers = self.task.draw_labels(queries, seed=seed).ys
        if self.task.noise_std:
            noise = torch.randn(answers.shape, generator=stream(seed, "query noise"))
            answers = answers + self.task.noise_std * noise
        prompts = self.task.prompts_at(pairs, seed=seed)
        return replace(prompts, query_xs=queries, query_ys=answers, source=f"{base.source}, {self.name}")

    def label_second_moment(self) -> float:
        """Give E[y^2] of the queries' labels."""
        if self.keeps_energy or _energy_decides(self.task):
            return self.task.label_second_moment()
        return estimate_label_second_moment(self)


def fold_context(xs: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Force the inputs of the pairs into one random orthant a prompt, and leave the query free."""
    coins = torch.randint(0, 2, (xs.shape[0], 1, xs.shape[2]), generator=stream(seed, "orthants"))
    return xs.abs() * (2 * coins - 1), xs


def orthogonal_queries(xs: Tensor, _seed: int) -> tuple[Tensor, Tensor]:
    """Ask at the part of each input that is orthogonal to the inputs before it, with the norm of the whole."""
    directions, triangle = torch.linalg.qr(xs.double().mT)  # column k of Q is what is new in x_k
    signs = torch.where(triangle.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)
    queries = directions.mT * (signs * xs.double().norm(dim=2))[..., None]
    return xs, queries.float()


def repeated_queries(xs: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Ask at one of the inputs before, each as likely; at point 0, where there is none, at its own."""
    places = torch.arange(xs.shape[1])
    coins = torch.rand(xs.shape[:2], generator=stream(seed, "repeated"))
    which = torch.minimum((coins * places).long(), (places - 1).clamp(min=0))
    return xs, xs.gather(1, which[..., None].expand_as(xs))


def _energy_decides(task: FunctionTask) -> bool:
    # Whether E[y^2] depends on E|x|^2 alone, or not even on that.
    if isinstance(task, LinearTask):
        return _isotropic(task.weight_second_moment)
    second = task.input_second_moment
    return second is not None and task.label_second_moment_at(second) is not None


def _isotropic(matrix: Tensor) -> bool:
    scale = matrix.diagonal().mean()
    return torch.allclose(matrix, scale * torch.eye(len(matrix), dtype=matrix.dtype), rtol=0, atol=1e-9 * float(scale))
