"""From traces and the loss at w* to an estimate and its flags."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from probes._core.errors import InputError, InputTypeError
from probes.learning_coefficient.batches import Batch, Batches, map_batch
from probes.learning_coefficient.chains import ChainTraces, Loss, SgldSettings, plain_attention
from probes.learning_coefficient.health import HealthFlag, LlcEvidence, effective_sample_size, find_flag, health_flags
from probes.learning_coefficient.parameters import ParameterRow

# A chain's own estimate beyond this many times its parameters has left every basin: a coefficient is at most half.
_RUNAWAY = 10


class NonFiniteLossError(InputError):
    """The loss at w* is NaN or infinite, so there is nothing to start from."""


@dataclass(frozen=True)
class InitLoss:
    """The loss at w*."""

    value: float
    error: float
    """Its standard error; 0 where the whole data set was evaluated, NaN for a single batch."""
    n_batches: int


def init_loss(who: str, loss: Loss, row: ParameterRow, batches: Batches, n_batches: int) -> InitLoss:
    """Evaluate the loss at w*.

    A data set of at most n_batches batches is evaluated once as a whole, batch by batch, which is exact for a loss that
    is a mean over samples; otherwise batches are drawn as for the chains.
    """
    named = {**row.frozen, **row.named(row.center)}
    size, total = batches.batch_size, batches.n_samples
    with torch.no_grad(), plain_attention():
        if size is None:
            return InitLoss(_one(who, loss(named, batches.data)), 0.0, 1)
        if total is not None and total <= n_batches * size:
            parts = [(start, min(start + size, total)) for start in range(0, total, size)]
            values = [_one(who, loss(named, _part(batches.data, *ends))) for ends in parts]
            weights = [(end - start) / total for start, end in parts]
            mean = sum(value * weight for value, weight in zip(values, weights, strict=True))
            return InitLoss(mean, 0.0, len(parts))
        drawn = (next(batches.block(block, 1, [0])) for block in range(n_batches))
        found = torch.tensor([_one(who, loss(named, batch)) for batch in drawn], dtype=torch.float64)
    error = float(found.std()) / math.sqrt(n_batches) if n_batches > 1 else math.nan
    return InitLoss(float(found.mean()), error, n_batches)


def _part(data: Batch, start: int, end: int) -> Batch:
    return map_batch(lambda tensor: tensor[start:end], data)


def _one(who: str, value: Any) -> float:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{who} needs loss(params, batch) to return a tensor, got {type(value).__name__}.")
    if value.ndim:
        raise InputError(
            f"{who} needs loss(params, batch) to return one number, got shape {tuple(value.shape)}; take the mean."
        )
    number = float(value)
    if not math.isfinite(number):
        raise NonFiniteLossError(f"{who} needs a finite loss at w*, got {number}; check the parameters and the data.")
    return number


@dataclass(frozen=True, eq=False, repr=False)
class LearningCoefficient:
    """An estimate of a local learning coefficient, with its traces, errors and flags."""

    estimate: float
    """nbeta (mean loss over draws of the healthy chains - loss at w*), burn-in excluded; NaN without such chains."""
    standard_error: float
    """Over healthy chains: their standard deviation / sqrt(their number), without the error of `init_loss`; NaN for
    fewer than two. Too small for shared batches, see `shared_error`."""
    chain_estimates: Float64[Tensor, " chain"]
    """The estimate of each chain alone, diverged ones included."""
    diverged: Bool[Tensor, " chain"]
    """Chains that are left out: a loss was not finite, or their own estimate exceeds 10 times the free parameters."""
    loss_trace: Float64[Tensor, "chain draw"]
    """Losses at the draws, on the gradient batch (or on `eval_data`)."""
    burnin_trace: Float64[Tensor, "chain burnin"]
    """Losses of the gradient batches before the first draw."""
    distance_trace: Float64[Tensor, "chain draw"]
    """|w - w*| at the draws, in parameter units."""
    acceptance: Float64[Tensor, " chain"]
    """Mean probability, chain by chain, that a Metropolis step on the same batch would accept."""
    shared_error: float
    """Common error of the chains if they share batches: nbeta times the standard error, over draws, of
    their mean trace; 0 where each has its own batches or all use the whole data set."""
    init_loss: float
    """The loss at w*."""
    init_loss_error: float
    """Standard error of `init_loss`; times nbeta, it shifts all chains by the same amount."""
    n_init_batches: int
    """Batches behind `init_loss`."""
    top_eigenvalue: float
    """Largest Hessian eigenvalue of the loss at w* (of G^(1/2) H G^(1/2) where the sampler is preconditioned)."""
    n_free: int
    """Parameters that may move."""
    nbeta: float
    """As given."""
    lr: float
    """As given."""
    localization: float
    """As given."""
    flags: tuple[HealthFlag, ...]
    """One flag per question; see `probes.learning_coefficient.health`."""

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the raised flags."""
        return tuple(flag.name for flag in self.flags if flag.raised)

    @property
    def total_error(self) -> float:
        """Standard error over chains, of what they share, and of the loss at w*, in quadrature."""
        return math.hypot(self.standard_error, self.shared_error, self.nbeta * self.init_loss_error)

    def flag(self, name: str) -> HealthFlag:
        """Look up a flag.

        Args:
            name: A key of `probes.learning_coefficient.health.FLAG_LIMITS`.

        Returns:
            Its verdict.
        """
        return find_flag(self.flags, name)

    def __repr__(self) -> str:
        flags = f", flags: {', '.join(self.raised)}" if self.raised else ""
        chains = int((~self.diverged).sum())
        return (
            f"LearningCoefficient({self.estimate:.3g} +- {self.standard_error:.2g}, "
            f"{chains} of {len(self.diverged)} chains{flags})"
        )


def assemble(
    traces: ChainTraces,
    settings: SgldSettings,
    n_free: int,
    initial: InitLoss,
    top_eigenvalue: float,
    *,
    shared_noise: bool,
) -> LearningCoefficient:
    """Turn traces into a result."""
    draws = settings.draw_steps
    losses = traces.losses[:, draws] if traces.evaluated is None else traces.evaluated
    own = settings.nbeta * (losses.mean(dim=1) - initial.value)
    finite = traces.losses.isfinite().all(dim=1) & losses.isfinite().all(dim=1) & traces.distances.isfinite().all(dim=1)
    diverged = ~(finite & (own <= _RUNAWAY * max(n_free, _RUNAWAY)))
    healthy = ~diverged
    distances = traces.distances[:, draws]
    n_healthy = int(healthy.sum())
    estimate = float(own[healthy].mean()) if n_healthy else math.nan
    # G is at most 1 / rmsprop_eps, so this bounds what the localisation adds to the stiffness.
    scale = 1.0 if traces.preconditioner is None else 1.0 / settings.rmsprop_eps
    evidence = LlcEvidence(
        estimate=estimate,
        nbeta=settings.nbeta,
        losses=losses[healthy],
        distances=distances[healthy],
        acceptance=float(traces.acceptance[healthy].mean()) if n_healthy else math.nan,
        step_ratio=settings.lr * (settings.nbeta * top_eigenvalue + scale * settings.localization),
        init_loss_error=initial.error,
        n_diverged=len(own) - n_healthy,
        n_chains=len(own),
    )
    return LearningCoefficient(
        estimate=estimate,
        standard_error=float(own[healthy].std()) / math.sqrt(n_healthy) if n_healthy > 1 else math.nan,
        shared_error=settings.nbeta * _mean_error(losses[healthy]) if shared_noise else 0.0,
        chain_estimates=own,
        diverged=diverged,
        loss_trace=losses,
        burnin_trace=traces.losses[:, : settings.num_burnin_steps],
        distance_trace=distances,
        acceptance=traces.acceptance.mean(dim=1),
        init_loss=initial.value,
        init_loss_error=initial.error,
        n_init_batches=initial.n_batches,
        top_eigenvalue=top_eigenvalue,
        n_free=n_free,
        nbeta=settings.nbeta,
        lr=settings.lr,
        localization=settings.localization,
        flags=health_flags(evidence),
    )


def _mean_error(losses: Tensor) -> float:
    if losses.shape[0] == 0 or losses.shape[1] < 4:
        return math.nan
    trace = losses.mean(dim=0, keepdim=True)
    return math.sqrt(float(trace.var()) / effective_sample_size(trace))
