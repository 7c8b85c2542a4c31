"""Is a subspace used by a model, or only there?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.interventions import exchange_for_random, project_out
from icl_interp.interventions.record import Positions
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.intervention_effects import InterventionEffect, intervention_effect
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.signature import fit_signature

__all__ = ["N_RANDOM", "SubspaceUse", "signature_use", "subspace_use"]

N_RANDOM = 20
"""Random subspaces beside the one that is asked about."""


@dataclass(frozen=True, slots=True, eq=False)
class SubspaceUse:
    """What taking a subspace away does, beside taking as much away along random ones."""

    effect: InterventionEffect
    """Of projecting the subspace out."""
    random: tuple[InterventionEffect, ...]
    """Of taking the same length along random subspaces of equal rank, at every position of every prompt."""
    untrained: tuple[InterventionEffect, ...]
    """Of projecting each untrained network's own subspace out of it; empty where controls were switched off."""
    hook: str
    """Where."""
    rank: int
    """Directions taken away."""
    energy: float
    """Share of the activation's mean square that lies in the subspace."""

    @property
    def p_value(self) -> float:
        """(1 + number of random subspaces that harm at least as much) / (1 + number of random subspaces)."""
        worse = sum(other.change.value >= self.effect.change.value for other in self.random)
        return (1 + worse) / (1 + len(self.random))

    @property
    def verdict(self) -> str:
        """Say whether the model uses the subspace.

        Returns:
            "evidence" if taking it away harms, with its whole interval, and more than at least 19 of 20 random
            subspaces and every untrained network; "unknown" without random subspaces; else "none".
        """
        if not self.random:
            return "unknown"
        beyond = all(self.effect.change.value > other.change.value for other in self.untrained)
        return "evidence" if self.effect.change.low > 0 and self.p_value <= 0.05 and beyond else "none"

    def to_frame(self) -> pd.DataFrame:
        """Lay all effects out, one a row.

        Returns:
            Columns subspace, error before, error after, change, low, high.
        """
        named = [("this subspace", self.effect)]
        named += [(f"random {i + 1}", effect) for i, effect in enumerate(self.random)]
        named += [(f"untrained network {i + 1}", effect) for i, effect in enumerate(self.untrained)]
        rows = [(n, e.before.value, e.after.value, e.change.value, e.change.low, e.change.high) for n, e in named]
        return pd.DataFrame(rows, columns=["subspace", "error before", "error after", "change", "low", "high"])

    def __repr__(self) -> str:
        median = _median([effect.change.value for effect in self.random])
        return (
            f"SubspaceUse({self.verdict}: rank {self.rank} at {self.hook}, error change "
            f"{self.effect.change.value:.3g}, random subspaces {median:.3g}, p = {self.p_value:.2g})"
        )


def subspace_use(
    model: HookedModel,
    task: Task,
    subspace: Float[Tensor, "d_model rank"],
    hook: str,
    *,
    positions: Positions = "all",
    prompts: Prompts | None = None,
    references: Mapping[str, Predictor] | None = None,
    n_prompts: int = 256,
    n_random: int = N_RANDOM,
    seed: int = 0,
) -> SubspaceUse:
    """Measure whether a model needs a subspace.

    The subspace is projected out (to zero) and the change of the error compared with that of taking exactly as much
    away along random subspaces. Decodable is not used: only such a change speaks of use. For the last block's output,
    whatever the read-out reads is needed trivially; earlier sites say more.

    Args:
        model: Any family.
        task: What is in distribution.
        subspace: Orthonormal columns.
        hook: Hook of width d_model.
        positions: Which positions.
        prompts: What to measure on; None draws from the task.
        references: Predictors by name; None takes the task's.
        n_prompts: How many are drawn.
        n_random: Random subspaces; fewer than 19 can never give evidence.
        seed: Of prompts, bootstrap and random subspaces.

    Returns:
        The effect beside its controls, untrained networks not among them (see `signature_use`).

    Raises:
        ValueError: If the columns are not orthonormal or the model lacks the hook.
    """
    known = reference_predictors(task) if references is None else references
    given = task.sample(n_prompts, seed=seed) if prompts is None else prompts

    def effect(what: Any) -> InterventionEffect:
        return intervention_effect(model, task, what, prompts=given, references=known, seed=seed)

    held = collect(model, given, hook)[hook].double()
    return SubspaceUse(
        effect=effect(project_out(subspace, hook, positions=positions)),
        random=tuple(
            effect(
                exchange_for_random(subspace, hook, seed=derive_seed(seed, f"random subspace {i}"), positions=positions)
            )
            for i in range(n_random)
        ),
        untrained=(),
        hook=hook,
        rank=subspace.shape[1],
        energy=float((held @ subspace.double().to(held.device)).square().sum() / held.square().sum()),
    )


def signature_use(
    model: HookedModel,
    task: Task,
    hook: str,
    *,
    conventions: Conventions | None = None,
    fit_prompts: Prompts | None = None,
    prompts: Prompts | None = None,
    references: Mapping[str, Predictor] | None = None,
    n_prompts: int = 256,
    n_random: int = N_RANDOM,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> SubspaceUse:
    """Measure whether a model uses the directions of its spectral signature.

    The signature is fitted on prompts of its own, then `subspace_use` is asked of it. Each untrained network has its
    own signature fitted and projected out.

    Args:
        model: Any family.
        task: What is in distribution.
        hook: Where.
        conventions: Tokens, centring and k; None takes the defaults. The side is "right".
        fit_prompts: For the signature; None draws from the task, by another stream than `prompts`.
        prompts: For the effect; None draws from the task.
        references: Predictors by name; None takes the task's.
        n_prompts: How many are drawn of each.
        n_random: Random subspaces.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        The effect beside both controls.

    Raises:
        ValueError: If the signature's side is "left": positions are no directions of the residual stream.

    Source:
        The question is ours: Hill et al. (2025) observe the signature and do not intervene on it.
    """
    chosen = Conventions(tokens="all", center=False, side="right", k=2) if conventions is None else conventions
    if chosen.side != "right":
        raise ValueError("signature_use needs directions of the residual stream, got side 'left'; take side='right'.")
    fit = task.sample(n_prompts, seed=derive_seed(seed, "evaluation: fit")) if fit_prompts is None else fit_prompts
    given = task.sample(n_prompts, seed=derive_seed(seed, "evaluation: score")) if prompts is None else prompts
    known = reference_predictors(task) if references is None else references

    def directions(network: HookedModel) -> Tensor:
        rows = chosen.rows(collect(network, fit, hook)[hook])
        return fit_signature(rows, k=chosen.k, center=chosen.center).reference.T.contiguous()

    use = subspace_use(
        model, task, directions(model), hook, prompts=given, references=known, n_random=n_random, seed=seed
    )
    untrained = tuple(
        intervention_effect(
            network, task, project_out(directions(network), hook), prompts=given, references=known, seed=seed
        )
        for network in untrained_networks(model.cfg, n_controls, seed=seed)
    )
    return SubspaceUse(use.effect, use.random, untrained, use.hook, use.rank, use.energy)


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median()) if values else math.nan
