"""Shifts of any task whose labels are functions of inputs: its own random numbers, with one thing changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from icl_interp.prompts import Prompts, PromptSource, derive_seed, stream
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear import LinearTask
from probes._core.reprs import short_repr

__all__ = [
    "LongerPrompts",
    "MixedWeights",
    "MovedInputs",
    "MovedWeights",
    "NoisyLabels",
    "RandomOrthants",
    "ScaledLabels",
    "estimate_label_second_moment",
    "student_scales",
]

_TAILS = 3
"""Degrees of freedom of heavy-tailed noise: the fewest whole number with a variance (ours)."""


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
    """Of the noise that is added."""
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
    """Prompts in which a share of the examples follows weights of another law: no weights fit all of a prompt."""

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
        """Give E[y^2], the mean of both laws by their shares."""
        task = self.task
        second = (1 - self.share) * task.weight_second_moment + self.share * self.other.weight_second_moment
        return float((second * task.input_second_moment).sum() + task.noise_std**2)


@dataclass(frozen=True, eq=False)
class LongerPrompts:
    """More pairs a prompt than the task has."""

    task: Task
    """Whose prompts."""
    factor: float
    """How many times as many, above 1."""
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

    Formula: x_k = s * |x_k|, with s uniform on {-1, 1}^dim, one s a prompt; labels are those that the same
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
