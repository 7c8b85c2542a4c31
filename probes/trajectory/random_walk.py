"""What would PCA show if the runs were random walks? The null beside every trajectory plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from probes._core.results import short_repr

__all__ = ["RandomWalkNull", "random_walk_null"]

# Eigenvectors of more rows than this cost more than they tell: long runs are thinned evenly.
_MOST_ROWS = 1500


@dataclass(frozen=True, eq=False)
class WalkMoments:
    """The runs' starts, step lengths and weights, which the null keeps."""

    names: Sequence[str]
    lengths: Mapping[str, int]
    square_steps: Mapping[str, Tensor]
    """Squared distance from each checkpoint to the next."""
    starts: Tensor
    """[run output]: first rows, centred."""
    weights: Mapping[str, Tensor]

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, repr=False)
class RandomWalkNull:
    """Joint PCA of isotropic random walks with the runs' starts and step lengths, in many dimensions."""

    explained: Float64[Tensor, " component"]
    """Share of the total variance along each component; what the runs must exceed to be more than walks."""
    scores: Mapping[str, Float64[Tensor, "_kept component"]]
    """Coordinates of the walks; a component's sign is that of its largest entry, made positive."""
    kept: Mapping[str, Int64[Tensor, " _kept"]]
    """Checkpoints that were kept."""

    def __repr__(self) -> str:
        return f"RandomWalkNull(explained {', '.join(f'{float(share):.1%}' for share in self.explained)})"


def random_walk_null(moments: WalkMoments, n_components: int) -> RandomWalkNull:
    """Decompose random walks that start where the runs start and step as far as they do.

    Formula: eigenvectors of the centred, weighted expected Gram matrix, whose entry for checkpoints i of run a and j of
    run b is s_a . s_b + [a = b] sum of the squared steps before min(i, j). In many dimensions walks have this Gram
    matrix almost surely, so nothing is drawn. One walk with equal steps explains about 61 %, 15 %, 7 %, ... of its
    variance, 6 / (pi k)^2, along cosines: a first component that explains less than that is no finding.

    Args:
        moments: Moments of the runs.
        n_components: Number of components.

    Returns:
        Shares and curves; long runs are thinned evenly to 1,500 rows in all, their weights gathered in what is kept.

    Source:
        Antognini and Sohl-Dickstein (2018), "PCA of high dimensional random walks with comparison to neural network
        training"; joint form and step lengths ours.

    Example:
        >>> steps = {"walk": torch.ones(399).double()}
        >>> weights = {"walk": torch.full((400,), 1 / 400).double()}
        >>> moments = WalkMoments(["walk"], {"walk": 400}, steps, torch.zeros(1, 5).double(), weights)
        >>> [round(float(share), 2) for share in random_walk_null(moments, 3).explained]
        [0.61, 0.15, 0.07]
    """
    total = sum(moments.lengths.values())
    kept, weights, clocks, owners = {}, [], [], []
    for run, name in enumerate(moments.names):
        n = moments.lengths[name]
        some = max(2, n * _MOST_ROWS // total) if total > _MOST_ROWS else n
        places = torch.linspace(0, n - 1, min(some, n), dtype=torch.float64).round().long()
        kept[name] = places
        weights.append(_gather(moments.weights[name].cpu(), places))
        squares = moments.square_steps[name].cpu()
        clocks.append(torch.cat([squares.new_zeros(1), squares.cumsum(0)])[places])
        owners.append(torch.full_like(places, run))
    clock, owner, weight = torch.cat(clocks), torch.cat(owners), torch.cat(weights)
    starts = moments.starts.cpu()
    gram = (starts @ starts.mT)[owner][:, owner]
    gram = gram + torch.minimum(clock[:, None], clock) * (owner[:, None] == owner)
    shares, scores = _decompose(gram, weight, min(n_components, len(weight)))
    split = torch.split(scores, [len(places) for places in kept.values()])
    return RandomWalkNull(shares, dict(zip(moments.names, split, strict=True)), kept)


def _gather(weights: Tensor, kept: Tensor) -> Tensor:
    # Each checkpoint lends its weight to the nearest one that is kept.
    edges = (kept[1:] + kept[:-1] + 1) // 2
    nearest = torch.bucketize(torch.arange(len(weights)), edges, right=True)
    return torch.zeros(len(kept), dtype=weights.dtype).index_add_(0, nearest, weights)


def _decompose(gram: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    means = weights @ gram
    centred = gram - means - means[:, None] + means @ weights
    roots = weights.sqrt()
    values, vectors = torch.linalg.eigh(roots[:, None] * centred * roots)
    values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
    trace = values.sum()
    # Scores of all rows, those of weight zero too: K W^(1/2) u / sqrt(value); 0 along directions that walks do not use.
    used = values[:k] > torch.finfo(values.dtype).eps * len(values) * values[0]
    lengths = torch.where(used, values[:k], torch.inf).sqrt()
    scores = centred @ (roots[:, None] * vectors[:, :k]) / lengths
    largest = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True))
    return values[:k] / trace, scores * torch.where(largest < 0, -1.0, 1.0)
