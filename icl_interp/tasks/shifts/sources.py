"""Shifts of any task whose labels are functions of inputs: its own random numbers, with one thing changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from icl_interp.prompts import Prompts, PromptSource, derive_seed, stream
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear_regression import LinearTask
from probes._core.results import short_repr

_TAILS = 3
"""Degrees of freedom of heavy-tailed noise: the fewest whole number with a variance (our choice)."""


def estimate_label_second_moment(source: PromptSource) -> float:
    """Estimate E[y^2] of the labels that are asked for, where no formula is known."""
    seeds = [derive_seed(i, "label second moment") for i in range(64)]
    return float(torch.stack([source.sample(512, seed=s).targets.double().square().mean() for s in seeds]).mean())


@dataclass(frozen=True, eq=False)
class MovedInputs:
    """Inputs moved, with the labels that the same functions give them."""

    task: FunctionTask
    """Whose inputs."""
    name: str
    """For `Prompts.source`."""
    move: Callable[[Tensor, int], Tensor]
    """From the task's inputs and the seed to other inputs."""
    second_moment: Tensor | None = None
    """E[x x'] of the moved inputs, where it is known."""

    __repr__ = short_repr

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`."""  # the protocol's docstring
        base = self.task.sample(n_prompts, n_points, seed=seed)
        moved = self.task.prompts_at(self.move(base.xs, seed), seed=seed)
        return replace(moved, source=f"{base.source}, {self.name}")

    def label_second_moment(self) -> float:
        """Give E[y^2]: exactly where E[x x'] decides it (see `label_second_moment_at`), else an estimate."""
        known = None if self.second_moment is None else self.task.label_second_moment_at(self.second_moment)
        return estimate_label_second_moment(self) if known is None else known


@dataclass(frozen=True, eq=False)
class MovedWeights:
    """Weights multiplied by a number and moved."""

    task: LinearTask
    """Whose weights."""
    factor: float = 1.0
    """Multiplies."""
    offset: float = 0.0
    """Added to every coordinate afterwards."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`."""  # the protocol's docstring
        base = self.task.sample(n_prompts, n_points, seed=seed)
        old = self.task.draw_weights(n_prompts, seed=seed)
        ws = self.factor * old + self.offset
        ys = base.ys + torch.einsum("bpd,bd->bp", base.xs, ws - old)
        return replace(base, ys=ys, ws=ws, source=f"{base.source}, moved weights")

    def label_second_moment(self) -> float:
        """Give E[y^2] = tr(E[x x'] E[w' w'']) + noise_std^2, with w' the moved weights."""
        move = torch.full((self.task.n_dims,), self.offset, dtype=torch.float64)
        cross = self.factor * torch.outer(self.task.weight_mean, move)
        second = self.factor**2 * self.task.weight_second_moment + cross + cross.T + torch.outer(move, move)
        return float((second * self.task.input_second_moment).sum() + self.task.noise_std**2)


@dataclass(frozen=True, eq=False)
class ScaledLabels:
    """Noiseless labels multiplied by a number: for functions without weights, what scaling the weights is."""

    task: FunctionTask
    """Whose labels."""
    factor: float
    """Multiplies."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`."""  # the protocol's docstring
        base = self.task.sample(n_prompts, n_points, seed=seed)
        clean = self.task.draw_labels(base.xs, seed=seed).ys
        return replace(base, ys=base.ys + (self.factor - 1) * clean, source=f"{base.source}, scaled labels")

    def label_second_moment(self) -> float:
        """Give E[y^2]: the noiseless part times factor^2, and the noise."""
        noise = self.task.noise_std**2
        return self.factor**2 * (self.task.label_second_moment() - noise) + noise


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Label noise added, and labels rescaled by the population's standard deviation, so that E[y^2] stays."""

    task: FunctionTask
    """Whose labels."""
    std: float
    """Standard deviation of the added noise."""
    heavy_tailed: bool = False
    """Whether it follows Student's t with 3 degrees of freedom; else it is Gaussian."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`."""  # the protocol's docstring
        base = self.task.sample(n_prompts, n_points, seed=seed)
        noise = torch.randn(base.ys.shape, generator=stream(seed, "added noise"))
        if self.heavy_tailed:
            noise = noise * student_scales(base.ys.shape, _TAILS, seed)
        factor = self._factor()
        ws = None if base.ws is None else factor * base.ws
        return replace(base, ys=factor * (base.ys + self.std * noise), ws=ws, source=f"{base.source}, added noise")

    def label_second_moment(self) -> float:
        """Give E[y^2], which is the task's."""
        return self.task.label_second_moment()

    def _factor(self) -> float:
        clean = self.task.label_second_moment()
        return (clean / (clean + self.std**2)) ** 0.5 if clean else 0.0


@dataclass(frozen=True, eq=False)
class MixedWeights:
    """Prompts in which a share of the examples follows other weights: no weights fit the whole prompt."""

    task: LinearTask
    """Whose prompts."""
    other: LinearTask
    """Where the other weights come from."""
    share: float
    """Probability of an example to follow them."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`."""  # the protocol's docstring
        base = self.task.sample(n_prompts, n_points, seed=seed)
        ws = self.other.draw_weights(n_prompts, seed=derive_seed(seed, "other weights"))
        change = torch.einsum("bpd,bd->bp", base.xs, ws - self.task.draw_weights(n_prompts, seed=seed))
        mixed = torch.rand(base.ys.shape, generator=stream(seed, "mix")) < self.share
        return replace(base, ys=base.ys + mixed * change, ws=None, source=f"{base.source}, mixed weights")

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean of both distributions by their shares."""
        task = self.task
        second = (1 - self.share) * task.weight_second_moment + self.share * self.other.weight_second_moment
        return float((second * task.input_second_moment).sum() + task.noise_std**2)


@dataclass(frozen=True, eq=False)
class LongerPrompts:
    """More examples per prompt than the task has."""

    task: Task
    """Whose prompts."""
    factor: float
    """Factor of the number of examples, above 1."""
    most_points: int | None = None
    """Points that a model has positions for; prompts are cut there."""

    def count(self, n_points: int | None = None) -> int:
        """Give the number of points."""
        usual = self.task.default_points if n_points is None else n_points
        return max(usual + 1, round(self.factor * usual))

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """See `PromptSource`; `n_points` is the usual number, and more are drawn."""
        prompts = self.task.sample(n_prompts, self._kept(n_points), seed=seed)
        return replace(prompts, source=f"{prompts.source}, longer prompts")

    def label_second_moment(self) -> float:
        """Give E[y^2] of the longer prompts of a task of its usual length, as they are cut."""
        return self.task.model_copy(update={"n_points": self._kept()}).label_second_moment()

    def _kept(self, n_points: int | None = None) -> int:
        count = self.count(n_points)
        return count if self.most_points is None else min(count, self.most_points)


def student_scales(shape: tuple[int, ...], degrees: int, seed: int) -> Tensor:
    """Draw the factors that turn Gaussian numbers into Student's t of unit variance.

    Formula: sqrt((v - 2) / chi^2_v), whose square has mean 1.
    """
    chi2 = np.random.default_rng(derive_seed(seed, "tails")).chisquare(degrees, shape)  # torch has no seeded one
    return torch.from_numpy(np.sqrt((degrees - 2) / chi2)).float()


@dataclass(frozen=True, slots=True)
class RandomOrthants:
    """A task whose inputs have, prompt by prompt, the signs of one random orthant.

    Formula: x_k = s * |x_k|, with s uniform on {-1, 1}^dim, one s per prompt; labels are those that the same
    functions give the new inputs, with the same noise. Garg et al. leave the query free, which is the shift
    `random_quadrants`; here it shares the orthant, so that one pass of the model answers all points (our choice).
    """

    task: FunctionTask
    """Whose inputs are folded."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts as a pure function of the arguments."""
        base = self.task.sample(n_prompts, n_points, seed=seed)
        coins = torch.randint(0, 2, (n_prompts, 1, base.n_dims), generator=stream(seed, "orthants"))
        folded = self.task.prompts_at(base.xs.abs() * (2 * coins - 1), seed=seed)
        return replace(folded, source=f"{base.source}, random orthants")

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero.

        Formula: that of inputs whose E[x x'] keeps the diagonal of the task's own and loses the rest, since the
        signs are independent and fair. An estimate for quadratic functions, where E[x x'] does not decide it.
        """
        task = self.task
        second = task.input_second_moment
        known = None if second is None else task.label_second_moment_at(torch.diag(second.diagonal()))
        return estimate_label_second_moment(self) if known is None else known


@dataclass(frozen=True, eq=False)
class QueryShift:
    """A task whose entry k is asked elsewhere than at xs[:, k], after the examples before k."""

    task: FunctionTask
    """Whose functions answer."""
    name: str
    """For `Prompts.source`."""
    split: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    """From the task's inputs and the seed to the inputs of the examples and the queries."""
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
    """Force the inputs of the examples into one random orthant per prompt, and leave the query free."""
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
