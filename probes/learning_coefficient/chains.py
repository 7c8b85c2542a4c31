"""Stochastic gradient Langevin dynamics (SGLD) of many chains at once.

One step of a chain at w, with gradient g of the batch's loss and displacement d = w - w*:

    w <- w - (lr / 2) G (nbeta g + localization d) + sqrt(lr G) xi,    xi ~ N(0, I),

G = 1 for SGLD, and G = 1 / (sqrt(v) + rmsprop_eps) with v <- rmsprop_alpha v + (1 - rmsprop_alpha) g^2 for its
RMSprop-preconditioned form. The loss of a draw is that of the batch at w, before the step.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from probes._core.results import short_repr, widened
from probes.learning_coefficient.batches import Batch, Batches, Purpose, generator_for, map_batch
from probes.learning_coefficient.parameters import ParameterRow

Loss: TypeAlias = Callable[[dict[str, Tensor], Batch], Tensor]
SamplingMethod = Literal["sgld", "rmsprop_sgld"]

# Above this many parameters a step is bound by arithmetic, and chains one after another are faster on a CPU.
_SEQUENTIAL_FROM = 10_000
# Random numbers come in blocks of at most this many steps, and of about this many entries per chain.
_BLOCK_STEPS, _BLOCK_ENTRIES = 64, 2**16


@dataclass(frozen=True)
class SgldSettings:
    """The settings of a run, by devinterp's names; `estimate_learning_coefficient` says what they are."""

    nbeta: float
    lr: float
    localization: float
    num_chains: int
    num_draws: int
    num_burnin_steps: int
    num_steps_bw_draws: int
    sampling_method: SamplingMethod
    rmsprop_alpha: float
    rmsprop_eps: float
    chains_at_once: int | None
    num_mala_checks: int
    seed: int

    @property
    def num_steps(self) -> int:
        """Burn-in and draws together."""
        return self.num_burnin_steps + self.num_draws * self.num_steps_bw_draws

    @property
    def draw_steps(self) -> slice:
        """Which steps are draws."""
        return slice(self.num_burnin_steps, None, self.num_steps_bw_draws)

    @property
    def mala_steps(self) -> frozenset[int]:
        """Which steps are checked: evenly spread over those after burn-in."""
        after = self.num_steps - self.num_burnin_steps
        count = min(self.num_mala_checks, after)
        return frozenset(self.num_burnin_steps + (i * after) // count for i in range(count))


@dataclass(frozen=True, eq=False)
class ChainTraces:
    """What the chains leave behind, chains in order."""

    losses: Tensor
    """[chain step], float64: the batch's loss at each step, burn-in included."""
    distances: Tensor
    """[chain step], float64: |w - w*|."""
    acceptance: Tensor
    """[chain check], float64: probability that MALA accepts the step."""
    evaluated: Tensor | None
    """[chain draw], float64: loss on the evaluation data; None without such data."""
    preconditioner: Tensor | None
    """[chain entry]: G at the end; None for plain SGLD."""

    __repr__ = short_repr


def run_chains(
    loss: Loss, row: ParameterRow, batches: Batches, settings: SgldSettings, evaluation: Batches | None = None
) -> ChainTraces:
    """Run all chains."""
    at_once = settings.chains_at_once
    if at_once is None:
        sequential = row.center.device.type == "cpu" and row.center.numel() >= _SEQUENTIAL_FROM
        at_once = 1 if sequential else settings.num_chains
    firsts = range(0, settings.num_chains, at_once)
    groups = [range(first, min(first + at_once, settings.num_chains)) for first in firsts]
    # One chain at a time runs without vmap, for which the fused kernels are fine and a few percent faster.
    with plain_attention() if at_once > 1 else nullcontext():
        parts = [_Walk(loss, row, batches, settings, evaluation, chains).run() for chains in groups]
    return ChainTraces(
        losses=torch.cat([part.losses for part in parts]),
        distances=torch.cat([part.distances for part in parts]),
        acceptance=torch.cat([part.acceptance for part in parts]),
        evaluated=_cat([part.evaluated for part in parts]),
        preconditioner=_cat([part.preconditioner for part in parts]),
    )


def at_least_single(loss: Loss) -> Loss:
    """Let a loss read batches of 16 bits in float32, as the rows of 16-bit parameters are."""

    def wide(params: dict[str, Tensor], batch: Batch) -> Any:  # checked where it is used
        return loss(params, None if batch is None else map_batch(_wide, batch))

    return wide


def _wide(tensor: Tensor) -> Tensor:
    return widened(tensor) if tensor.is_floating_point() else tensor


def plain_attention() -> AbstractContextManager[None]:
    """Ask for the plain kernel of scaled_dot_product_attention.

    The fused kernels have no rule for vmap and no second derivative; on the short sequences of in-context regression
    the plain one is as fast.
    """
    return sdpa_kernel(SDPBackend.MATH)


class ChainLoss:
    """The loss of several chains at once, and its gradient."""

    def __init__(self, loss: Loss, row: ParameterRow, *, common: bool) -> None:
        self.loss, self.row, self.common = loss, row, common
        self.mapped = vmap(self._one, in_dims=(0, None if common else 0), randomness="different")

    def values(self, points: Tensor, batch: Batch) -> Tensor:
        """Evaluate the loss of each chain."""
        if len(points) > 1:
            return self.mapped(self.row.named(points), batch)
        own = batch if self.common else map_batch(_only, batch)
        return self._one(self.row.named(points[0]), own).reshape(1)

    def gradients(self, offsets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate the loss and its gradient for each chain."""
        points = (self.row.center + offsets).requires_grad_()
        values = self.values(points, batch)
        (gradients,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), self.row.held(gradients)

    def _one(self, named: dict[str, Tensor], own: Batch) -> Tensor:
        return self.loss({**self.row.frozen, **named}, own)


def _only(tensor: Tensor) -> Tensor:
    return tensor[0]


class _Walk:
    """The walk of some chains side by side."""

    def __init__(
        self,
        loss: Loss,
        row: ParameterRow,
        batches: Batches,
        settings: SgldSettings,
        evaluation: Batches | None,
        chains: range,
    ) -> None:
        self.row, self.batches, self.settings = row, batches, settings
        self.objective = ChainLoss(loss, row, common=batches.common)
        self.judge = None if evaluation is None else ChainLoss(loss, row, common=evaluation.common)
        self.evaluation, self.chains = evaluation, chains
        self.offsets = row.center.new_zeros(len(chains), row.center.numel())
        self.squares = torch.zeros_like(self.offsets) if settings.sampling_method == "rmsprop_sgld" else None
        self.checks = settings.mala_steps
        self.scale: Tensor | None = None  # G of the current step
        self.acceptance: list[Tensor] = []
        self.evaluated: list[Tensor] = []

    def run(self) -> ChainTraces:
        losses, distances = [], []
        for step, (batch, noise) in enumerate(self._inputs()):
            distances.append(torch.linalg.vector_norm(self.offsets, dim=1))
            if self.evaluation is not None and self.judge is not None and self._is_draw(step):
                (judged,) = self.evaluation.block(step, 1, self.chains)
                with torch.no_grad():
                    self.evaluated.append(self.judge.values(self.row.center + self.offsets, judged))
            losses.append(self._step(step, batch, noise))
        return ChainTraces(
            losses=torch.stack(losses, dim=1).double(),
            distances=torch.stack(distances, dim=1).double(),
            acceptance=torch.stack(self.acceptance, dim=1)
            if self.acceptance
            else self.offsets.new_zeros(len(self.chains), 0).double(),
            evaluated=torch.stack(self.evaluated, dim=1).double() if self.evaluated else None,
            preconditioner=self.scale,
        )

    def _inputs(self) -> Iterator[tuple[Batch, Tensor]]:
        # The size of a block depends on one chain alone, and with it all random numbers.
        row, settings = self.row, self.settings
        length = _BLOCK_ENTRIES // max(row.center.numel(), self.batches.batch_size or 1)
        length = max(1, min(_BLOCK_STEPS, length))
        device, size = row.center.device, (length, row.center.numel())
        for block, start in enumerate(range(0, settings.num_steps, length)):
            drawn = []
            for chain in self.chains:
                generator = generator_for(device, settings.seed, Purpose.NOISE, chain, block)
                drawn.append(torch.randn(size, generator=generator, dtype=row.center.dtype, device=device))
            noise = row.held(torch.stack(drawn, dim=1)) * settings.lr**0.5
            batches = self.batches.block(block, length, self.chains)
            steps = min(length, settings.num_steps - start)
            yield from zip(_take(batches, steps), noise[:steps], strict=True)

    def _step(self, step: int, batch: Batch, noise: Tensor) -> Tensor:
        settings = self.settings
        half = settings.lr / 2
        values, gradients = self.objective.gradients(self.offsets, batch)
        checked = step in self.checks
        before = self.offsets.clone() if checked else self.offsets
        if self.squares is None:
            self.offsets.mul_(1 - half * settings.localization).add_(gradients, alpha=-half * settings.nbeta).add_(
                noise
            )
        else:
            self.squares.mul_(settings.rmsprop_alpha).addcmul_(gradients, gradients, value=1 - settings.rmsprop_alpha)
            self.scale = 1 / (self.squares.sqrt() + settings.rmsprop_eps)
            force = gradients * settings.nbeta + self.offsets * settings.localization
            self.offsets.addcmul_(self.scale, force, value=-half).addcmul_(self.scale.sqrt(), noise)
        if checked:
            self.acceptance.append(self._accepts(before, values, noise, batch))
        return values

    def _accepts(self, before: Tensor, values: Tensor, noise: Tensor, batch: Batch) -> Tensor:
        # Metropolis and Hastings on the same batch, with G as it was at this step.
        nbeta, gamma, lr = self.settings.nbeta, self.settings.localization, self.settings.lr
        after, (new_values, new_gradients) = self.offsets.double(), self.objective.gradients(self.offsets, batch)
        before = before.double()
        energy = nbeta * (new_values.double() - values.double())
        energy = energy + gamma / 2 * (after.square().sum(1) - before.square().sum(1))
        scale = torch.ones_like(after) if self.scale is None else self.scale.double()
        back = before - after + lr / 2 * scale * (nbeta * new_gradients.double() + gamma * after)
        there = noise.double().square() if self.scale is None else noise.double().square() * scale
        log_ratio = -energy + ((there - back.square()) / scale).sum(1) / (2 * lr)
        return log_ratio.clamp_max(0.0).exp().nan_to_num(0.0)

    def _is_draw(self, step: int) -> bool:
        since = step - self.settings.num_burnin_steps
        return since >= 0 and since % self.settings.num_steps_bw_draws == 0


def _take(batches: Iterator[Batch], n: int) -> Iterator[Batch]:
    for _ in range(n):
        yield next(batches)


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None
