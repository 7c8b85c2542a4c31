"""Is a read-out a finding? The same probe on control tasks and on features that cannot know the answer.

The controls' features come from the caller: an untrained network, the embedding layer, raw prompts. Decodable
is not used: a probe that passes them all still needs a causal check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_ids, _check_same_length
from probes._errors import InputError
from probes.bootstrap import Estimate, estimate_difference
from probes.linear import LinearProbe, fit_linear_probe

__all__ = ["ControlledProbe", "control_task_targets", "fit_controlled_probe"]


@dataclass(frozen=True, eq=False, repr=False)
class ControlledProbe:
    """A linear probe beside its controls, all on the same folds and resamples."""

    probe: LinearProbe
    """Of the features in question."""
    controls: Mapping[str, LinearProbe]
    """Of the same targets from other features, and "control task" from the same features."""
    excess: Mapping[str, tuple[Estimate, ...]]
    """R² beyond each control's, one a target, with paired intervals; "shuffled" is always there."""

    @property
    def selectivity(self) -> tuple[Estimate, ...]:
        """The least excess over any control, one a target: what remains to be claimed."""
        columns = zip(*self.excess.values(), strict=True)
        return tuple(min(column, key=lambda estimate: estimate.value) for column in columns)

    def __repr__(self) -> str:
        return f"ControlledProbe(probe={self.probe}, controls={list(self.excess)})"


def control_task_targets(
    types: Int[Tensor, " sample"], targets: Float[Tensor, "sample target"], *, seed: int = 0
) -> Float[Tensor, "sample target"]:
    """Make targets that can only be memorised: a random one for each type of sample.

    Formula: t_i = targets[r(type_i)] with r(type) uniform over samples. A probe finds them if it can store a table
    of types, whatever the features represent. Meaningless where each type occurs once: then it is a shuffle.

    Args:
        types: What a probe could memorise, as a number: the position, the pool task, a bin of the inputs.
        targets: The real ones, whose law the control keeps.
        seed: Of the draw.

    Returns:
        One row a sample, equal for equal types, in target units.

    Raises:
        InputTypeError: If types are no integers or targets no floating-point tensor.
        InputError: If lengths differ, something is empty or not finite, or the seed is negative.

    Source:
        Hewitt and Liang (2019), "Designing and Interpreting Probes with Control Tasks", section 2.

    Example:
        >>> control = control_task_targets(torch.tensor([3, 8, 3]), torch.tensor([[1.0], [2.0], [4.0]]))
        >>> torch.testing.assert_close(control[0], control[2])
    """
    who = "control_task_targets"
    _check_activations(who, "targets", targets, "sample target")
    _check_ids(who, "types", types, len(targets))
    _check_count(who, "a seed", seed, 0)
    codes = torch.unique(types, return_inverse=True)[1].to(targets.device)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(targets), (int(codes.max()) + 1,), generator=generator).to(targets.device)
    return targets[rows[codes]]


def fit_controlled_probe(
    features: Float[Tensor, "sample feature"],
    targets: Float[Tensor, "sample target"],
    *,
    control_features: Mapping[str, Float[Tensor, "_sample _feature"]],
    control_targets: Float[Tensor, "sample target"] | None = None,
    groups: Int[Tensor, " sample"] | None = None,
    penalties: Sequence[float] | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    **options: Any,
) -> ControlledProbe:
    """Measure how well targets can be read out of features, beyond every control.

    Formula: excess = R²(features) - R²(control), held out, with the interval of paired bootstrap differences over
    groups; selectivity is the least of them.

    Args:
        features: Activations of the network in question.
        targets: What to read out.
        control_features: By name, features of the same samples that cannot know more than a trivial rival: an
            untrained network of the same configuration, the embedding layer, raw prompt statistics. Any width.
        control_targets: From `control_task_targets`; None leaves that control out.
        groups: Which prompt each sample belongs to; without it each sample is its own group.
        penalties: Candidates, as in `fit_linear_probe`.
        seed: Of folds, shuffle and bootstrap, shared by all probes.
        confidence: The share of replicates inside each interval.
        **options: `n_folds` and `n_bootstrap` of `fit_linear_probe`.

    Returns:
        All probes and the excess over each control.

    Raises:
        InputTypeError: If features or targets are no floating-point tensors.
        InputError: As in `fit_linear_probe`, or if a control has another number of samples or a reserved name.

    Source:
        Hewitt and Liang (2019) for selectivity; the least over several controls is our choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> raw = torch.randn(300, 3, generator=generator)
        >>> found = fit_controlled_probe(raw.square(), raw[:, :1].square(), control_features={"raw": raw})
        >>> assert found.selectivity[0].low > 0.9  # the square is not linear in the raw input
    """
    who = "fit_controlled_probe"
    reserved = [name for name in control_features if name in ("shuffled", "control task")]
    if reserved:
        raise InputError(f"{who} needs other names for control features than {reserved[0]!r}; rename it.")
    shared: dict[str, Any] = {
        "groups": groups,
        "penalties": penalties,
        "seed": seed,
        "confidence": confidence,
        **options,
    }
    probe = fit_linear_probe(features, targets, **shared)
    controls = {}
    for name, other in control_features.items():
        _check_same_length(who, ("samples", f"samples of control {name!r}"), len(features), len(other))
        controls[name] = fit_linear_probe(other, targets, controls=False, **shared)
    if control_targets is not None:
        _check_same_length(who, ("targets", "control targets"), targets.shape[1], control_targets.shape[1])
        controls["control task"] = fit_linear_probe(features, control_targets, controls=False, **shared)
    rivals = {name: (other.r2, other.r2_replicates) for name, other in controls.items()}
    if probe.r2_shuffled is not None and probe.r2_shuffled_replicates is not None:
        rivals = {"shuffled": (probe.r2_shuffled, probe.r2_shuffled_replicates), **rivals}
    excess = {
        name: tuple(
            estimate_difference(float(a), float(b), column, rival, confidence=confidence)
            for a, b, column, rival in zip(probe.r2, r2, probe.r2_replicates.T, replicates.T, strict=True)
        )
        for name, (r2, replicates) in rivals.items()
    }
    return ControlledProbe(probe, controls, excess)
