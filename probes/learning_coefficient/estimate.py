"""The local learning coefficient of one solution, from the settings to the result."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes.learning_coefficient.batches import Batches, Purpose, open_batches
from probes.learning_coefficient.chains import (
    ChainTraces,
    Loss,
    SamplingMethod,
    SgldSettings,
    at_least_single,
    run_chains,
)
from probes.learning_coefficient.hessian import top_eigenvalue
from probes.learning_coefficient.parameters import ParameterRow, parameter_row
from probes.learning_coefficient.result import LearningCoefficient, NonFiniteLossError, assemble, init_loss

__all__ = ["LearningCoefficient", "NonFiniteLossError", "estimate_learning_coefficient"]

# The Hessian is taken on one batch of this many times the chains' samples.
_HESSIAN_BATCHES = 4


@takes_arrays
def estimate_learning_coefficient(
    loss: Callable[[dict[str, Tensor], Any], Tensor],
    params: Mapping[str, Float[Tensor, "..."]],
    data: Any,
    *,
    nbeta: float,
    lr: float,
    localization: float = 1.0,
    num_chains: int = 8,
    num_draws: int = 400,
    num_burnin_steps: int = 200,
    num_steps_bw_draws: int = 1,
    batch_size: int | None = None,
    shared_batches: bool = False,
    eval_data: Any = None,
    param_masks: Any = None,
    sampling_method: SamplingMethod = "sgld",
    rmsprop_alpha: float = 0.99,
    rmsprop_eps: float = 0.1,
    num_init_loss_batches: int = 32,
    num_mala_checks: int = 16,
    chains_at_once: int | None = None,
    top_eigenvalue_at_init: float | None = None,
    seed: int = 0,
) -> LearningCoefficient:
    """Estimate the local learning coefficient of a solution.

    Formula: nbeta (E[l(w)] - l(w*)), E over the chains' draws; `probes.learning_coefficient` says exactly what they
    sample. Meaningless where w* is no minimum of this loss (negative values), where the chains have not settled, and as
    an absolute number across different nbeta or localization; the flags say so. At finite nbeta it lies below the
    theoretical coefficient of a singular loss, by a fifth in small examples.

    The loss runs under vmap, so it may not branch on values, and under the plain kernel of
    scaled_dot_product_attention, which alone has rules for vmap and second derivatives. From 10,000 parameters on, a
    CPU runs chains one after another, since that is faster there. Parameters and data of 16 bits reach the loss in
    float32: a chain in bfloat16 would round its steps away.

    Args:
        loss: One number, a mean over samples, for (parameters by name, batch), such as
            `lambda p, b: (functional_call(model, p, b) - b[1]).square().mean()`.
        params: w* by name, such as `dict(model.named_parameters())`.
        data: A fixed data set (a tensor, or a tuple or dict of tensors, samples first), or a stream: a function
            `(n_samples, *, seed)` that returns such a batch. For a data-restricted coefficient give the restricted
            data: they define the posterior and the loss.
        nbeta: Inverse temperature times number of samples; multiplies the loss.
        lr: Step size epsilon.
        localization: Coefficient gamma of the force towards w*.
        num_chains: Independent walks.
        num_draws: Losses that enter the mean, for each chain.
        num_burnin_steps: Steps before the first draw; they never enter the mean.
        num_steps_bw_draws: Steps from one draw to the next.
        batch_size: Samples in each gradient batch, drawn with replacement; None for the whole data set.
        shared_batches: Whether all chains see the same batches; faster, but their errors are then not independent.
        eval_data: Other data whose loss is averaged (here and at w*) while `data` drive the chains.
        param_masks: For a weight-restricted coefficient: name patterns such as `["blocks.0.attn.*"]`, or a mapping
            from patterns to boolean masks that broadcast over the parameter; None moves all.
        sampling_method: "sgld", or "rmsprop_sgld" for the RMSprop-preconditioned form (without the term that corrects
            for the preconditioner's change, so its stationary law is approximate).
        rmsprop_alpha: Memory of the mean squared gradient; devinterp's default.
        rmsprop_eps: Added to its root; devinterp's default.
        num_init_loss_batches: Batches for the loss at w*; a smaller data set is evaluated exactly.
        num_mala_checks: Steps at which MALA's acceptance is computed; each costs one more gradient.
        chains_at_once: Chains in one vmap, for memory; None decides. The result does not depend on it.
        top_eigenvalue_at_init: That of the Hessian, if known (of G^(1/2) H G^(1/2) for "rmsprop_sgld"); None computes
            it.
        seed: Seed of noise and batches.

    Returns:
        The estimate, dimensionless, with its traces and flags, in float64 whatever the parameters' dtype.

    Raises:
        InputTypeError: If parameters, masks, data or the loss are of the wrong kind.
        InputError: If a pattern matches nothing, data do not align, or the loss at w* is not one number.
        NonFiniteLossError: A ValueError as well, if that number is NaN or infinite.

    Source:
        Lau et al. (2024), "The local learning coefficient"; settings named as in devinterp. Weight and data
        restriction: Wang et al. (2024), "Differentiation and specialization of attention heads via the refined local
        learning coefficient". Defaults are ours; `calibrate` finds better ones.

    Example:
        >>> import torch
        >>> bowl = lambda params, batch: params["w"].square().sum() + 0 * batch.sum()
        >>> result = estimate_learning_coefficient(
        ...     bowl, {"w": torch.zeros(10)}, torch.zeros(1), nbeta=100.0, lr=1e-3, localization=0.0
        ... )
        >>> abs(result.estimate - 5.26) < 4 * result.standard_error  # 10 / 2, times 1 / (1 - 0.05)
        True
    """
    who = "estimate_learning_coefficient"
    settings = SgldSettings(
        nbeta, lr, localization, num_chains, num_draws, num_burnin_steps, num_steps_bw_draws, sampling_method,
        rmsprop_alpha, rmsprop_eps, chains_at_once, num_mala_checks, seed,
    )  # fmt: skip
    _check_settings(who, settings)
    checks.count(who, "num_init_loss_batches", num_init_loss_batches, 1)

    def source(purpose: Purpose, *, shared: bool) -> Batches:
        chosen = data if eval_data is None or purpose == Purpose.BATCHES else eval_data
        return open_batches(who, chosen, batch_size=batch_size, shared=shared, seed=seed, purpose=purpose)

    row = parameter_row(who, params, param_masks)
    loss = at_least_single(loss)
    batches = source(Purpose.BATCHES, shared=shared_batches)
    initial = init_loss(who, loss, row, source(Purpose.INITIAL_LOSS, shared=True), num_init_loss_batches)
    evaluation = None if eval_data is None else source(Purpose.EVALUATION, shared=shared_batches)
    traces = run_chains(loss, row, batches, settings, evaluation)
    top = top_eigenvalue_at_init
    if top is None:
        top = _stiffness(loss, row, source(Purpose.HESSIAN, shared=True), traces, seed)
    noisy = shared_batches and batch_size is not None
    return assemble(traces, settings, row.n_free, initial, top, shared_noise=noisy)


def _stiffness(loss: Loss, row: ParameterRow, batches: Batches, traces: ChainTraces, seed: int) -> float:
    # On one batch that is larger than the chains', at w*, with the preconditioner that the chains ended with.
    if batches.batch_size is not None:
        batches = replace(batches, batch_size=_HESSIAN_BATCHES * batches.batch_size)
    (batch,) = batches.block(0, 1, [0])
    scale = traces.preconditioner
    if scale is not None:
        sound = scale[scale.isfinite().all(dim=1)]
        scale = sound.mean(dim=0).sqrt() if len(sound) else None
    return top_eigenvalue(loss, row, batch, seed=seed, scale=scale)


def _check_settings(who: str, settings: SgldSettings) -> None:
    for name in ("nbeta", "lr", "rmsprop_eps"):
        value = getattr(settings, name)
        if not 0.0 < value < math.inf:
            raise InputError(f"{who} needs a positive finite {name}, got {value}; see calibrate for a choice.")
    if not 0.0 <= settings.localization < math.inf:
        raise InputError(f"{who} needs a finite localization from 0, got {settings.localization}; 0 means none.")
    if not 0.0 <= settings.rmsprop_alpha < 1.0:
        raise InputError(f"{who} needs 0 <= rmsprop_alpha < 1, got {settings.rmsprop_alpha}; 0.99 is usual.")
    checks.option(who, "sampling_method", settings.sampling_method, get_args(SamplingMethod))
    for name, least in {"num_chains": 1, "num_draws": 1, "num_burnin_steps": 0, "num_steps_bw_draws": 1}.items():
        checks.count(who, name, getattr(settings, name), least)
    checks.count(who, "num_mala_checks", settings.num_mala_checks, 1)
    checks.count(who, "seed", settings.seed, 0)
    if settings.chains_at_once is not None:
        checks.count(who, "chains_at_once", settings.chains_at_once, 1)
