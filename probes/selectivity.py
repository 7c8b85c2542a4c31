"""Is a read-out a finding? Probes beside control tasks, features that cannot know, and collinear targets.

The controls' features come from the caller: an untrained network, the embedding layer, raw prompts. Decodable
is not used: a probe that passes them all still needs a causal check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.ridge import assign_folds, fit_ridge, group_codes, moments_of, resampled_r2, target_columns
from probes.bootstrap import Estimate, estimate_difference, percentile_interval
from probes.linear import LinearProbe, fit_linear_probe

__all__ = ["ControlledProbe", "PartialR2", "control_task_targets", "fit_controlled_probe", "partial_r2"]


@dataclass(frozen=True, eq=False, repr=False)
class ControlledProbe:
    """A linear probe beside its controls, all on the same folds and resamples."""

    probe: LinearProbe
    """Probe of the features in question."""
    controls: Mapping[str, LinearProbe]
    """Probes of the same targets from other features, and of the "control task" from the same features."""
    excess: Mapping[str, tuple[Estimate, ...]]
    """R² beyond each control's, one per target, with paired intervals; "shuffled" is always there."""

    @property
    def selectivity(self) -> tuple[Estimate, ...]:
        """Least excess over any control, one per target."""
        columns = zip(*self.excess.values(), strict=True)
        return tuple(min(column, key=lambda estimate: estimate.value) for column in columns)

    def __repr__(self) -> str:
        return f"ControlledProbe(probe={self.probe}, controls={list(self.excess)})"


@takes_arrays
def control_task_targets(
    types: Int[Tensor, " sample"], targets: Float[Tensor, "sample target"], *, seed: int = 0
) -> Float[Tensor, "sample target"]:
    """Make targets that can only be memorised: a random one for each type of sample.

    Formula: t_i = targets[r(type_i)] with r(type) uniform over samples. A probe finds them if it can store a table
    of types, whatever the features represent. Meaningless where each type occurs once: then it is a shuffle.

    Args:
        types: What a probe could memorise, as a number: the position, the pool task, a bin of the inputs.
        targets: The real targets, whose distribution the control keeps.
        seed: Seed of the random targets.

    Returns:
        One row per sample, equal for equal types, in target units.

    Raises:
        InputTypeError: If types are no integers.

    Source:
        Hewitt and Liang (2019), "Designing and Interpreting Probes with Control Tasks", section 2.

    Example:
        >>> control = control_task_targets(torch.tensor([3, 8, 3]), torch.tensor([[1.0], [2.0], [4.0]]))
        >>> torch.testing.assert_close(control[0], control[2])
    """
    who = "control_task_targets"
    checks.activations(who, "targets", targets, "sample target")
    checks.ids(who, "types", types, len(targets))
    checks.count(who, "a seed", seed, 0)
    codes = torch.unique(types, return_inverse=True)[1].to(targets.device)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(targets), (int(codes.max()) + 1,), generator=generator).to(targets.device)
    return targets[rows[codes]]


@takes_arrays
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
        seed: Seed of folds, shuffle and bootstrap, shared by all probes.
        confidence: The share of replicates inside each interval.
        **options: `n_folds` and `n_bootstrap` of `fit_linear_probe`.

    Returns:
        All probes and the excess over each control.

    Raises:
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
        checks.same_length(who, ("samples", f"samples of control {name!r}"), len(features), len(other))
        controls[name] = fit_linear_probe(other, targets, controls=False, **shared)
    if control_targets is not None:
        checks.same_length(who, ("targets", "control targets"), targets.shape[1], control_targets.shape[1])
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


@dataclass(frozen=True, repr=False)
class PartialR2:
    """How well targets are decodable from features once other targets are known."""

    partial: tuple[Estimate, ...]
    """Share of the variance left by the given targets that features explain, one per target, at most 1; NaN with a
    reason where nothing is left."""
    r2_given: tuple[float, ...]
    """Held-out R² of the given targets alone."""
    n_groups: int
    """Number of groups (prompts) that the samples came from."""

    def __repr__(self) -> str:
        return f"PartialR2(partial={list(self.partial)}, n_groups={self.n_groups})"


@takes_arrays
def partial_r2(
    features: Float[Tensor, "sample feature"],
    targets: Float[Tensor, "sample target"] | Float[Tensor, " sample"],
    given: Float[Tensor, "sample rival"],
    *,
    groups: Int[Tensor, " sample"] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PartialR2:
    """Measure how well targets can be read out of features once other targets are known.

    Formula: partial R² = 1 - SSE(t | given, features) / SSE(t | given) on held-out groups: features and targets are
    first regressed on the given ones in the training folds, then a ridge probe reads the rest of t out of the rest
    of the features. Undefined where the given targets determine t.

    Args:
        features: Activations, any unit.
        targets: What to read out; one column or several.
        given: Rivals that may be collinear with the targets, such as another algorithm's predictions.
        groups: Which prompt each sample belongs to; without it each sample is its own group.
        n_folds: Number of folds that the groups are divided into.
        seed: Seed of folds and bootstrap.
        n_bootstrap: Number of bootstrap resamples of groups.
        confidence: The share of replicates inside each interval.

    Returns:
        Shares with intervals, computed in float64.

    Raises:
        InputError: If a target does not vary, or a training fold has no more samples than given targets.

    Source:
        Frisch and Waugh (1933) and Lovell (1963) for the regression of residuals; holding out is our choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> a, b = torch.randn(2, 300, 1, generator=generator)
        >>> target = a + 0.1 * b
        >>> assert partial_r2(a, target, a).partial[0].value < 0.05  # a predicts it well, and nothing beyond a
        >>> assert partial_r2(b, target, a).partial[0].value > 0.99
    """
    who = "partial_r2"
    columns = target_columns(features, targets)
    checks.activations(who, "given", given, "sample rival")
    checks.same_length(who, ("samples", "rows of given"), len(features), len(given))
    codes = group_codes(groups, len(features), features)
    checks.folds(who, "groups", int(codes.max()) + 1, n_folds)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    exact, wanted, rivals = features.double(), columns.double(), given.double()
    squares = _partial_squares(exact, wanted, rivals, assign_folds(codes, n_folds, seed))
    errors, left, spread = squares.sum(dim=1)
    replicates = resampled_r2(squares[:2], codes, seed=seed, n_bootstrap=n_bootstrap)
    least = ((8 if columns.dtype.itemsize == 2 else 1e3) * torch.finfo(columns.dtype).eps) ** 2
    r2_given = tuple((1.0 - left / spread).tolist())
    estimates = []
    for i, share in enumerate((1.0 - errors / left).tolist()):
        # Below this share of the variance, what is left is the rounding of the regression on the rivals.
        if 1.0 - r2_given[i] <= least:
            nan = float("nan")
            estimates.append(Estimate(nan, nan, nan, "the given targets determine it"))
        else:
            estimates.append(Estimate(share, *percentile_interval(replicates[:, i], confidence)))
    return PartialR2(tuple(estimates), r2_given, int(codes.max()) + 1)


# Squared held-out errors given both [0], given the rivals [1] and given the training mean [2].
def _partial_squares(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    given: Float64[Tensor, "sample rival"],
    folds: Tensor,
) -> Float64[Tensor, "3 sample target"]:
    n_features = features.shape[1]
    both = torch.cat([features, targets], dim=1)
    squares = torch.zeros(3, *targets.shape, dtype=torch.float64, device=targets.device)
    for fold in range(int(folds.max()) + 1):
        test, train = folds == fold, folds != fold
        n_train = int(train.sum())
        n_unknowns = given.shape[1] + 1
        if n_train <= n_unknowns:
            raise InputError(
                f"partial_r2 needs more training samples than given targets and intercept, got {n_train} for "
                f"{n_unknowns}; give fewer rivals or more samples."
            )
        # Centred and to unit deviation, so that no unit decides which column counts as rounding.
        centre, level = given[train].mean(dim=0), both[train].mean(dim=0)
        width = given[train].std(dim=0)
        constant = checks.is_constant(given[train])
        rivals = torch.where(constant, 0.0, (given - centre) / torch.where(constant, 1.0, width))
        rest = both - level - rivals @ (torch.linalg.pinv(rivals[train]) @ (both[train] - level))
        x, y = rest[:, :n_features], rest[:, n_features:]
        ridge = fit_ridge(x[train], y[train], moments_of(x[train], y[train]), None)
        squares[0, test] = (y[test] - x[test] @ ridge.weight - ridge.bias).square()
        squares[1, test] = y[test].square()
        squares[2, test] = (targets[test] - targets[train].mean(dim=0)).square()
    return squares
