"""Where are targets decodable? One linear probe for each layer and position, with one factorisation for all targets.

Many cells are many tests. The layer is chosen on one half of the prompts and scored on the other; adjust the p-values
of many claims with `probes.permutation.holm`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.results import cast_like
from probes._core.ridge import assign_folds, cross_validate, resampled_r2, shuffled_rows
from probes.bootstrap import percentile_interval

__all__ = ["ProbeGrid", "fit_probe_grid"]


@dataclass(frozen=True, eq=False, repr=False)
class ProbeGrid:
    """Held-out R² by layer, position and target; NaN where `undefined` says why."""

    r2: Float[Tensor, "layer pos target"]
    """Held-out R², at most 1."""
    low: Float[Tensor, "layer pos target"]
    """Lower ends of bootstrap intervals over prompts, each for its cell alone."""
    high: Float[Tensor, "layer pos target"]
    """Upper ends."""
    r2_shuffled: Float[Tensor, "layer pos target"] | None
    """Held-out R² with targets exchanged between prompts; None without controls."""
    penalty: Float[Tensor, "layer pos target"]
    """Penalty of the refit on all prompts, chosen by leave-one-out; squared feature units."""
    best_layer: Int64[Tensor, "pos target"]
    """The layer with the largest R² on one half of the prompts."""
    best_r2: Float[Tensor, "pos target"]
    """R² of the best layer on the other half, so that the choice does not inflate it."""
    undefined: Mapping[tuple[int, int], str]
    """Reason why (position, target) has no R²."""
    n_prompts: int
    """Number of prompts, the units of hold-out."""

    def __repr__(self) -> str:
        n_layers, n_pos, n_targets = self.r2.shape
        return (
            f"ProbeGrid(n_layers={n_layers}, n_pos={n_pos}, n_targets={n_targets}, "
            f"best_r2={float(self.best_r2.nan_to_num(-torch.inf).max()):.3f}, n_prompts={self.n_prompts})"
        )


@takes_arrays
def fit_probe_grid(
    features: Float[Tensor, "layer batch pos feature"],
    targets: Float[Tensor, "batch pos target"],
    *,
    penalties: Sequence[float] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    controls: bool = True,
    n_bootstrap: int = 400,
    confidence: float = 0.95,
) -> ProbeGrid:
    """Measure how well targets can be read out of each layer at each position, by a probe of its own.

    Formula: as `fit_linear_probe` in each cell, with whole prompts held out; folds, shuffle and resamples are the
    same in all cells. Meaningless at a position with fewer prompts than it takes to learn its features.

    Args:
        features: Activations of all layers.
        targets: What to read out at each position, such as prefix-wise predictions or weights.
        penalties: Candidates for the ridge penalty, as in `fit_linear_probe`.
        n_folds: Number of folds that the prompts are divided into.
        seed: Seed of folds, shuffle, bootstrap and the halves on which a layer is chosen and scored.
        controls: Also score targets of other prompts.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        The grid, computed in float64, in the features' dtype.

    Raises:
        InputError: If there are fewer prompts than folds, or a penalty is not positive.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, appendix E, for a probe per layer, target and prefix; ridge and
        the choice on another half are ours.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.randn(2, 100, 3, 4, generator=generator)
        >>> targets = features[1, :, :, :1].clone()
        >>> targets[:, 0] = 5.0
        >>> grid = fit_probe_grid(features, targets)
        >>> assert grid.best_layer[1, 0] == 1 and grid.best_r2[1, 0] > 0.99
        >>> print(grid.undefined[0, 0])
        target 0 is constant at position 0
    """
    who, n_prompts = "fit_probe_grid", len(targets)
    checks.activations(who, "features", features, "layer batch pos feature")
    checks.activations(who, "targets", targets, "batch pos target")
    checks.same_length(who, ("prompts of features", "of targets"), features.shape[1], n_prompts)
    checks.same_length(who, ("positions of features", "of targets"), features.shape[2], targets.shape[1])
    checks.folds(who, "prompts", n_prompts, n_folds)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    checks.penalties(who, penalties)
    undefined = {
        (pos, target): f"target {target} is constant at position {pos}"
        for pos, target in checks.is_constant(targets).nonzero().tolist()
    }
    codes = torch.arange(n_prompts, device=features.device)
    folds = assign_folds(codes, n_folds, seed)
    source = shuffled_rows(codes, seed) if controls else None
    grid = None if penalties is None else torch.tensor(penalties, dtype=torch.float64, device=features.device)
    layers = []
    for layer in features:
        cells = [_cell(layer[:, pos], targets[:, pos], folds, source, grid) for pos in range(features.shape[2])]
        layers.append([torch.stack(parts) for parts in zip(*cells, strict=True)])
    squares, shuffled, penalty = (torch.stack(parts) for parts in zip(*layers, strict=True))
    known = ~checks.is_constant(targets)
    r2, (low, high) = _r2(squares), _intervals(squares, codes, seed, n_bootstrap, confidence)
    best_layer, best_r2 = _choose(squares, seed)
    tensors = (r2, low, high, _r2(shuffled), penalty, best_r2)
    r2, low, high, shuffled, penalty, best_r2 = (
        cast_like(torch.where(known.to(t.device), t, torch.nan), features) for t in tensors
    )
    return ProbeGrid(
        r2=r2,
        low=low,
        high=high,
        r2_shuffled=shuffled if controls else None,
        penalty=penalty,
        best_layer=best_layer,
        best_r2=best_r2,
        undefined=undefined,
        n_prompts=n_prompts,
    )


# Held-out squares of the targets and of the shuffled ones (of the targets again without controls), and penalties.
def _cell(
    features: Float[Tensor, "batch feature"],
    targets: Float[Tensor, "batch target"],
    folds: Int64[Tensor, " batch"],
    source: Int64[Tensor, " batch"] | None,
    grid: Float64[Tensor, " penalty"] | None,
) -> tuple[Float64[Tensor, "2 batch target"], Float64[Tensor, "2 batch target"], Float64[Tensor, " target"]]:
    wanted, n_targets = targets.double(), targets.shape[1]
    if source is not None:
        wanted = torch.cat([wanted, wanted[source]], dim=1)
    squares, refit = cross_validate(features.double(), wanted, folds, grid)
    return squares[..., :n_targets], squares[..., -n_targets:], refit.penalty[:n_targets]


def _r2(squares: Float64[Tensor, "*cell 2 batch target"]) -> Float64[Tensor, "*cell target"]:
    errors, spread = squares.sum(dim=-2).unbind(dim=-2)
    return 1.0 - errors / spread


def _intervals(
    squares: Float64[Tensor, "layer pos 2 batch target"],
    codes: Int64[Tensor, " batch"],
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> tuple[Float64[Tensor, "layer pos target"], Float64[Tensor, "layer pos target"]]:
    n_layers, n_pos, _, n_prompts, n_targets = squares.shape
    flat = squares.permute(2, 3, 0, 1, 4).reshape(2, n_prompts, -1)
    replicates = resampled_r2(flat, codes, seed=seed, n_bootstrap=n_bootstrap)
    ends = torch.tensor([list(percentile_interval(column, confidence)) for column in replicates.T])
    low, high = ends.double().T.reshape(2, n_layers, n_pos, n_targets)
    return low, high


# The best layer on a random half of the prompts, and its R² on the others.
def _choose(
    squares: Float64[Tensor, "layer pos 2 batch target"], seed: int
) -> tuple[Int64[Tensor, "pos target"], Float64[Tensor, "pos target"]]:
    n_prompts = squares.shape[3]
    order = torch.randperm(n_prompts, generator=torch.Generator().manual_seed(seed)).to(squares.device)
    chosen = _r2(squares[:, :, :, order[: n_prompts // 2]]).nan_to_num(-torch.inf).argmax(dim=0)
    scores = _r2(squares[:, :, :, order[n_prompts // 2 :]])
    return chosen, scores.gather(0, chosen[None])[0]
