"""Linear probes: what can a ridge regression decode from features, beyond its control?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import cast_like, in_dtype
from probes._core.ridge import assign_folds, cross_validate, group_codes, resampled_r2, shuffled_rows, target_columns
from probes.bootstrap import percentile_interval

__all__ = ["LinearProbe", "fit_linear_probe"]


@dataclass(frozen=True, eq=False, repr=False)
class LinearProbe:
    """A linear read-out with its held-out score and its control."""

    r2: Float[Tensor, " target"]
    """Held-out R², at most 1; 0 is what the training folds' mean achieves, and below 0 is worse than it."""
    r2_interval: Float[Tensor, "target 2"]
    """Bootstrap interval of `r2` over groups of held-out predictions; the fits are not repeated."""
    r2_shuffled: Float[Tensor, " target"] | None
    """Held-out R² with targets exchanged between groups; None without controls."""
    weight: Float[Tensor, "feature target"]
    """Refitted on all samples; target units per feature unit."""
    bias: Float[Tensor, " target"]
    """Refitted on all samples; target units."""
    penalty: Float[Tensor, " target"]
    """The refit's a in ||y - X w - b||^2 + a ||w||^2, chosen by leave-one-out; squared feature units."""
    n_groups: int
    """Number of groups (prompts) that the samples came from."""
    r2_replicates: Float64[Tensor, "bootstrap target"]
    """`r2` on each resample of groups; another probe of the same groups and seed pairs up with it."""
    r2_shuffled_replicates: Float64[Tensor, "bootstrap target"] | None
    """`r2_shuffled` on the same resamples; None without controls."""

    @property
    def selectivity(self) -> Float[Tensor, " target"]:
        """Excess of R² over the control, r2 - r2_shuffled: what a probe shows.

        Raises:
            InputError: If the probe was fitted without controls.
        """
        if self.r2_shuffled is None:
            raise InputError("selectivity needs the shuffled control, got a probe without; pass controls=True.")
        return self.r2 - self.r2_shuffled

    @takes_arrays
    def predict(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample target"]:
        """Predict targets from features of any samples.

        Formula: X w + b. For samples that were fitted it is no held-out prediction.

        Args:
            features: In the units of the fit.

        Returns:
            Predictions in target units; one column even for a single target.
        """
        checks.activations("predict", "features", features, "sample feature")
        checks.same_length("predict", ("features", "weights"), features.shape[1], len(self.weight))
        return in_dtype(features.double() @ self.weight.double() + self.bias.double(), features.dtype)

    def __repr__(self) -> str:
        scores = ", ".join(f"{value:.3f}" for value in self.r2.tolist())
        return f"LinearProbe(r2=[{scores}], n_features={len(self.weight)}, n_groups={self.n_groups})"


@takes_arrays
def fit_linear_probe(
    features: Float[Tensor, "sample feature"],
    targets: Float[Tensor, "sample target"] | Float[Tensor, " sample"],
    *,
    groups: Int[Tensor, " sample"] | None = None,
    penalties: Sequence[float] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    controls: bool = True,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> LinearProbe:
    """Measure how well targets can be read linearly out of features.

    Formula: R² = 1 - sum_i (y_i - f_i)^2 / sum_i (y_i - m_i)^2, where prediction f_i and mean m_i come from
    the folds that do not hold sample i's group. Samples of one prompt are not independent: without groups
    they leak between folds. Within a training fold leave-one-out chooses a penalty for each target.
    Decodable does not mean used: R² needs its control, and a causal check.

    Args:
        features: Activations, any unit; not standardised.
        targets: What to read out, any unit; one column or several.
        groups: Which prompt each sample belongs to; without it each sample is its own group.
        penalties: Candidates for a in ||y - X w - b||^2 + a ||w||^2, in squared feature units; by default 15
            from 1e-10 to 1e4 times n times the mean squared centred feature.
        n_folds: Number of folds that the groups are divided into.
        seed: Seed of folds, shuffle and bootstrap.
        controls: Also score shuffled targets: each group gets another one's, position for position, so that what merely
            depends on the position in the prompt stays and is not mistaken for a finding. Groups of unequal sizes have
            no common positions; there the shuffle is over samples, and such an effect is lost.
        n_bootstrap: Number of bootstrap resamples of groups.
        confidence: The share of replicates inside the interval.

    Returns:
        Scores and the refitted read-out, computed in float64, in the features' dtype.

    Raises:
        InputError: If a target does not vary, there are fewer groups than folds, or a penalty is not positive.

    Source:
        Hoerl and Kennard (1970) for ridge; Allen (1974) for the leave-one-out formula (PRESS); Hewitt and
        Liang (2019) for controls and selectivity. The shuffle that keeps positions is our choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.randn(200, 4, generator=generator)
        >>> probe = fit_linear_probe(features, features[:, 0] - 2 * features[:, 1] + 3)
        >>> torch.testing.assert_close(probe.weight[:, 0], torch.tensor([1.0, -2.0, 0.0, 0.0]))
        >>> assert probe.r2 > 0.99 and probe.r2_shuffled < 0.1
    """
    who = "fit_linear_probe"
    columns = target_columns(features, targets)
    codes = group_codes(groups, len(features), features)
    checks.folds(who, "groups", int(codes.max()) + 1, n_folds)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    checks.penalties(who, penalties)
    exact, wanted = features.double(), columns.double()
    n_targets = wanted.shape[1]
    if controls:  # the same decompositions serve the control
        wanted = torch.cat([wanted, wanted[shuffled_rows(codes, seed)]], dim=1)
    grid = None if penalties is None else exact.new_tensor(list(penalties))
    squares, refit = cross_validate(exact, wanted, assign_folds(codes, n_folds, seed), grid)
    r2 = 1.0 - squares[0].sum(dim=0) / squares[1].sum(dim=0)
    replicates = resampled_r2(squares, codes, seed=seed, n_bootstrap=n_bootstrap)
    intervals = [percentile_interval(column, confidence) for column in replicates[:, :n_targets].T]
    interval = torch.tensor([list(ends) for ends in intervals])
    dtype = features.dtype
    return LinearProbe(
        r2=in_dtype(r2[:n_targets], dtype),
        r2_interval=cast_like(interval, features),
        r2_shuffled=in_dtype(r2[n_targets:], dtype) if controls else None,
        weight=in_dtype(refit.weight[:, :n_targets], dtype),
        bias=in_dtype(refit.bias[:n_targets], dtype),
        penalty=in_dtype(refit.penalty[:n_targets], dtype),
        n_groups=int(codes.max()) + 1,
        r2_replicates=replicates[:, :n_targets],
        r2_shuffled_replicates=replicates[:, n_targets:] if controls else None,
    )
