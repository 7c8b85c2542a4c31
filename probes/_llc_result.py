"""From traces to an estimate: which chains count, what they say, and whether to believe it."""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float64
from torch import Tensor

from probes._init_loss import InitLoss
from probes._sgld import ChainTraces, SgldSettings
from probes.llc_health import HealthFlag, LlcEvidence, find_flag, health_flags
from probes.mixing import effective_sample_size

# A chain's own estimate beyond this many times its parameters has left every basin: a coefficient is at most half.
_RUNAWAY = 10


@dataclass(frozen=True, eq=False, repr=False)
class LearningCoefficient:
    """An estimate of a local learning coefficient, with everything to judge it by."""

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
    """Error that the chains have in common because they share batches: nbeta times the standard error, over draws, of
    their mean trace; 0 where each has its own batches or all use the whole data set."""
    init_loss: float
    """The loss at w*."""
    init_loss_error: float
    """Its standard error; times nbeta, it shifts all chains alike."""
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
    """One a question; see `probes.llc_health`."""

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
            name: A key of `probes.llc_health.FLAG_LIMITS`.

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
    """Turn traces into a result.

    Args:
        traces: Of all chains.
        settings: That made them.
        n_free: Parameters that may move.
        initial: The loss at w*.
        top_eigenvalue: Of the (preconditioned) Hessian.
        shared_noise: Whether the chains see the same minibatches.

    Returns:
        The estimate over healthy chains, with flags.
    """
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
