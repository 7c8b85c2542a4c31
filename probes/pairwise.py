"""Agreement of samples with each other, over all pairs of leading directions or subspaces."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype

__all__ = ["mean_pairwise_overlap", "mean_projector", "overlap_between", "overlap_within", "pairwise_alignment"]


@takes_arrays
def mean_projector(directions: Float[Tensor, "sample k dim"]) -> Float[Tensor, "dim dim"]:
    """Average the projectors onto many subspaces.

    Formula: P = (1/n) sum_p V_p^T V_p. An average of the directions themselves would depend on their arbitrary signs.

    Args:
        directions: Orthonormal rows for each sample.

    Returns:
        A symmetric matrix with trace k and eigenvalues in [0, 1], dimensionless, always float64.

    Raises:
        InputError: If rows are not orthonormal.

    Example:
        >>> both_axes = torch.eye(2)[:, None]
        >>> torch.testing.assert_close(mean_projector(both_axes), torch.eye(2).double() / 2)
    """
    checks.activations("mean_projector", "directions", directions, "sample k dim")
    checks.orthonormal("mean_projector", "directions", directions)
    exact = directions.double()
    if directions.dtype.itemsize == 2:  # rounded rows are orthonormal again in float64, so that the trace is k
        exact = torch.linalg.qr(exact.mT).Q.mT
    rows = rearrange(exact, "sample k dim -> (sample k) dim")
    return rows.mT @ rows / len(directions)


@takes_arrays
def mean_pairwise_overlap(
    directions: Float[Tensor, "sample k dim"],
    others: Float[Tensor, "other k dim"] | None = None,
    *,
    paired: bool = False,
) -> Float[Tensor, ""]:
    """Measure how much two sets of subspaces, or the members of one set, overlap on average.

    Formula: mean over pairs p, q of ||V_p V_q^T||_F^2 / k, where no subspace within one set is compared with
    itself. Exact, though no pair is ever formed: see `overlap_within` and `overlap_between`. Random subspaces
    of d dimensions have k / d.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the pairs within `directions`.
        paired: Whether sample i of both sets was built from the same random numbers. The pairs (i, i), which
            agree for that reason, are then left out, as a sample with itself is within one set.

    Returns:
        A number in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If rows are not orthonormal, a lone set or paired ones have fewer than two samples, or one is to be
            paired alone.

    Source:
        Our choice: the exact mean of variant C over all pairs.

    Example:
        >>> eye = torch.eye(3)
        >>> pair = torch.stack([eye[[0, 1]], eye[[0, 2]]])
        >>> torch.testing.assert_close(mean_pairwise_overlap(pair), torch.tensor(0.5))
        >>> torch.testing.assert_close(mean_pairwise_overlap(pair, pair), torch.tensor(0.75))
        >>> torch.testing.assert_close(mean_pairwise_overlap(pair, pair, paired=True), torch.tensor(0.5))
    """
    who = "mean_pairwise_overlap"
    projector = mean_projector(directions)
    _check_paired(who, directions, others, paired=paired)
    k, n = directions.shape[1], len(directions)
    if others is None:
        checks.count(who, "a number of samples", n, 2)
        return in_dtype(mean_overlap(projector.square().sum() / k, n, 1.0), directions.dtype)
    other_projector = mean_projector(others)
    _check_same_space(who, directions, others)
    share = (projector * other_projector).sum() / k
    if not paired:
        return in_dtype(share.clamp(0.0, 1.0), directions.dtype)
    same_index = torch.einsum("pid,pjd->pij", directions.double(), others.double()).square().sum() / (n * k)
    return in_dtype(mean_overlap(share, n, same_index), directions.dtype)


@takes_arrays
def overlap_within(projector: Float[Tensor, "dim dim"], *, n_samples: int, k: int) -> Float[Tensor, ""]:
    """Measure how much the members of a set of subspaces overlap, given no more than their mean projector.

    Formula: (n^2 tr(P^2) - n k) / (n (n-1) k): of the n^2 ordered pairs in tr(P^2), the n pairs of a subspace
    with itself count k each and are left out.

    Args:
        projector: P = (1/n) sum_p V_p^T V_p, as `mean_projector` returns it, or a sum over batches divided by n.
        n_samples: Number of samples that P is the mean of.
        k: Number of directions per sample.

    Returns:
        A number in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If the projector's trace is not k, or there are fewer than two samples.

    Source:
        Our choice: equals `mean_pairwise_overlap` of the samples.

    Example:
        >>> half_and_half = torch.eye(2) / 2  # one sample along each axis: the only pair does not overlap
        >>> torch.testing.assert_close(overlap_within(half_and_half, n_samples=2, k=1), torch.tensor(0.0))
    """
    _check_mean_projector("overlap_within", "projector", projector, k)
    checks.count("overlap_within", "a number of samples", n_samples, 2)
    return in_dtype(mean_overlap(projector.double().square().sum() / k, n_samples, 1.0), projector.dtype)


@takes_arrays
def overlap_between(
    projector: Float[Tensor, "dim dim"],
    other: Float[Tensor, "dim dim"],
    *,
    k: int,
    n_samples: int | None = None,
    same_index_overlap: float | None = None,
) -> Float[Tensor, ""]:
    """Measure how much two sets of subspaces overlap, given no more than their mean projectors.

    Formula: tr(P_a P_b) / k over all pairs; (n tr(P_a P_b) / k - o) / (n - 1) without the pairs (i, i), where
    o = (1/n) sum_i ||V_i W_i^T||_F^2 / k is their own mean overlap.

    Args:
        projector: P_a = (1/n) sum_p V_p^T V_p, as `mean_projector` returns it, or a sum over batches divided by n.
        other: P_b of the other set, with rows W_p.
        k: Number of directions per sample, in both sets.
        n_samples: n, the same in both sets; only to leave out the pairs (i, i), which is right where sample i
            of both sets was built from the same random numbers.
        same_index_overlap: o, the mean of `subspace_overlap` of the pairs (i, i); goes with n_samples.

    Returns:
        A number in [0, 1], dimensionless, computed in float64, dtype of the first projector.

    Raises:
        InputError: If a projector's trace is not k, or one of n_samples and same_index_overlap comes alone.

    Source:
        Our choice: equals `mean_pairwise_overlap` of the two sets, and with the last two arguments that of paired sets.

    Example:
        >>> first, second = torch.eye(2).diag_embed()
        >>> torch.testing.assert_close(overlap_between(first, second, k=1), torch.tensor(0.0))
        >>> half_and_half = torch.eye(2) / 2  # a set against itself, as `overlap_within` sees it
        >>> overlap = overlap_between(half_and_half, half_and_half, k=1, n_samples=2, same_index_overlap=1.0)
        >>> torch.testing.assert_close(overlap, torch.tensor(0.0))
    """
    who = "overlap_between"
    for name, value in (("projector", projector), ("other", other)):
        _check_mean_projector(who, name, value, k)
    checks.same_shape(who, ("projector", "other"), projector, other)
    share = (projector.double() * other.double()).sum() / k
    if n_samples is None and same_index_overlap is None:
        return in_dtype(share.clamp(0.0, 1.0), projector.dtype)
    if n_samples is None or same_index_overlap is None:
        raise InputError(
            f"{who} needs n_samples and same_index_overlap together, got {n_samples} and {same_index_overlap}; "
            "give both to leave out the pairs (i, i), or neither."
        )
    checks.count(who, "a number of samples", n_samples, 2)
    checks.share(who, "same_index_overlap", same_index_overlap)
    return in_dtype(mean_overlap(share, n_samples, same_index_overlap), projector.dtype)


@takes_arrays
def pairwise_alignment(
    directions: Float[Tensor, "sample k dim"],
    others: Float[Tensor, "other k dim"] | None = None,
    *,
    paired: bool = False,
) -> Float[Tensor, " k"]:
    """Measure how far the j-th directions of different samples agree (variant A).

    Formula: A_j = mean over pairs p, q of |<v_j(p), v_j(q)>|; within one set no sample is compared with itself. Two
    random directions of d dimensions have about sqrt(2 / (pi d)). Meaningless where v_j and v_{j+1} swap.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the pairs within `directions`. Memory grows with the number of pairs.
        paired: Whether sample i of both sets was built from the same random numbers; the pairs (i, i) are
            then left out.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: As in `mean_pairwise_overlap`.

    Example:
        >>> eye = torch.eye(2)
        >>> three = torch.stack([eye[:1], -eye[:1], eye[1:]])
        >>> torch.testing.assert_close(pairwise_alignment(three), torch.tensor([1 / 3]))
    """
    who, n = "pairwise_alignment", len(directions)
    pool = _checked_pool(who, directions, others)
    _check_paired(who, directions, others, paired=paired)
    cosines = torch.einsum("pjd,qjd->jpq", directions.double(), pool.double()).abs().clamp_max(1.0)
    if others is not None and not paired:
        return in_dtype(cosines.mean(dim=(1, 2)), directions.dtype)
    checks.count(who, "a number of samples", n, 2)
    own = cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return in_dtype((cosines.sum(dim=(1, 2)) - own) / (n * (n - 1)), directions.dtype)


@takes_arrays
def mean_overlap(share: Float[Tensor, ""], n: int, same_index: Float[Tensor, ""] | float) -> Float[Tensor, ""]:
    """Take the n pairs (i, i), with their own mean, out of `share` = tr(P_a P_b) / k, the mean over all n^2 pairs."""
    return ((n * share - same_index) / (n - 1)).clamp(0.0, 1.0)


def _check_mean_projector(who: str, name: str, projector: Tensor, k: int) -> None:
    checks.activations(who, name, projector, "dim dim")
    checks.count(who, "a k", k, 1)
    checks.trace(who, name, projector, k)


def _check_paired(who: str, directions: Tensor, others: Tensor | None, *, paired: bool) -> None:
    if paired and others is None:
        raise InputError(
            f"{who} needs a second set when paired=True, got one set; leave paired out, since within one set no "
            "sample is compared with itself anyway."
        )
    if paired and others is not None:
        checks.same_length(who, ("samples in one of the paired sets", "in the other"), len(directions), len(others))
        checks.count(who, "a number of paired samples", len(directions), 2)


def _check_same_space(who: str, directions: Tensor, others: Tensor) -> None:
    for axis, what in ((1, "directions a sample"), (2, "dimensions")):
        checks.same_length(who, (f"{what} in one set", "in the other"), directions.shape[axis], others.shape[axis])


@takes_arrays
def pairwise_cosines(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, "k sample other"]:
    """Compare the j-th direction of every sample with the j-th of every other.

    Formula: entry (j, p, q) is |<v_j(p), v_j(q)>|. Meaningless where v_j and v_{j+1} swap.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the same set, with ones on the diagonals.

    Returns:
        One matrix per direction, entries in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If rows are not orthonormal.

    Example:
        >>> first, second = torch.eye(2)[:1], torch.tensor([[0.6, 0.8]])
        >>> found = pairwise_cosines(torch.stack([first, second]))
        >>> torch.testing.assert_close(found, torch.tensor([[[1.0, 0.6], [0.6, 1.0]]]))
    """
    pool = _checked_pool("pairwise_cosines", directions, others)
    cosines = torch.einsum("pjd,qjd->jpq", directions.double(), pool.double())
    return in_dtype(cosines.abs().clamp_max(1.0), directions.dtype)


@takes_arrays
def pairwise_overlaps(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, "sample other"]:
    """Compare the subspace of every sample with that of every other.

    Formula: entry (p, q) is ||V_p V_q^T||_F^2 / k.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the same set, with ones on the diagonal.

    Returns:
        A matrix with entries in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If rows are not orthonormal.

    Example:
        >>> eye = torch.eye(3)
        >>> found = pairwise_overlaps(torch.stack([eye[[0, 1]], eye[[1, 2]]]))
        >>> torch.testing.assert_close(found, torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    """
    pool = _checked_pool("pairwise_overlaps", directions, others)
    k = directions.shape[1]
    products = directions.double().flatten(0, 1) @ pool.double().flatten(0, 1).mT
    blocks = products.square().reshape(len(directions), k, len(pool), k).sum(dim=(1, 3)) / k
    return in_dtype(blocks.clamp_max(1.0), directions.dtype)


def _checked_pool(who: str, directions: Tensor, others: Tensor | None) -> Tensor:
    pool = directions if others is None else others
    for name, value in (("directions", directions), ("others", pool)):
        checks.activations(who, name, value, "sample k dim")
        checks.orthonormal(who, name, value)
    _check_same_space(who, directions, pool)
    return pool
