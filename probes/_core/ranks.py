"""Bootstrap resamples as counts, levels of values where ties share one, and rank correlations of many resamples.

A resample is never formed: it is how often each sample was drawn. The midrank of a value in it is the number of smaller
draws plus half of one more than the number of equal draws, and a moment is a weighted one.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

# Counts of this many entries at a time, so that memory does not grow with resamples times samples.
_CHUNK_ENTRIES = 500_000
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
Weights = Float64[np.ndarray, "sample bootstrap"]


# Counts of several groups side by side, the i-th from stream first_stream + i, a few resamples at a time; `width` is
# the number of entries a row that the caller makes of them, if it is another than the number of counts.
def count_chunks(
    sizes: tuple[int, ...], *, seed: int, n_bootstrap: int, first_stream: int = 0, width: int | None = None
) -> Iterator[Int64[Tensor, "bootstrap n"]]:
    step = max(1, _CHUNK_ENTRIES // (width or sum(sizes)))
    if n_bootstrap * sum(sizes) <= _CHUNK_ENTRIES:
        yield from torch.split(_drawn_once(sizes, seed, n_bootstrap, first_stream), step)
    else:
        yield from _drawn(sizes, seed, n_bootstrap, first_stream, step)


def _drawn(
    sizes: tuple[int, ...], seed: int, n_bootstrap: int, first_stream: int, step: int
) -> Iterator[Int64[Tensor, "bootstrap n"]]:
    generators = [np.random.default_rng([seed, first_stream + i]) for i in range(len(sizes))]
    for start in range(0, n_bootstrap, step):
        rows = min(step, n_bootstrap - start)
        parts = [_draw(generator, rows, n) for generator, n in zip(generators, sizes, strict=True)]
        yield torch.from_numpy(np.concatenate(parts, axis=1))


# Many numbers of the same prompts ask for the same resamples, which cost more than what is done with them. Nobody may
# change them in place.
@lru_cache(maxsize=8)
def _drawn_once(sizes: tuple[int, ...], seed: int, n_bootstrap: int, first_stream: int) -> Int64[Tensor, "bootstrap n"]:
    return torch.cat(list(_drawn(sizes, seed, n_bootstrap, first_stream, n_bootstrap)))


def _draw(generator: np.random.Generator, rows: int, n: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    draws = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)


# Rows of samples, columns of resamples: sums over samples then run through memory as it lies.
def weight_chunks(
    n: int, *, seed: int, n_bootstrap: int, first_stream: int = 0, width: int | None = None
) -> Iterator[Weights]:
    if n_bootstrap * (width or n) <= _CHUNK_ENTRIES:
        yield _weighed_once(n, seed, n_bootstrap, first_stream)
        return
    for counts in count_chunks((n,), seed=seed, n_bootstrap=n_bootstrap, first_stream=first_stream, width=width):
        yield by_sample(counts)


@lru_cache(maxsize=4)
def _weighed_once(n: int, seed: int, n_bootstrap: int, first_stream: int) -> Weights:
    return by_sample(_drawn_once((n,), seed, n_bootstrap, first_stream))


def by_sample(counts: Int64[Tensor, "bootstrap n"] | Float64[Tensor, "bootstrap n"]) -> Weights:
    return np.ascontiguousarray(counts.numpy().T, dtype=np.float64)


# For each value asked about: how much weight the known values below it have, twice, equal ones counted half.
def twice_below(
    asked: Float64[np.ndarray, " asked"], known: Float64[np.ndarray, " sample"], weights: Weights
) -> Float64[np.ndarray, "asked bootstrap"]:
    order = known.argsort(kind="stable")
    summed = np.zeros((len(known) + 1, weights.shape[1]))
    np.cumsum(weights[order], axis=0, out=summed[1:])
    left, right = (np.searchsorted(known[order], asked, side=side) for side in _SIDES)
    below = summed[left]
    below += summed[right]
    return below


# Spearman in each resample; NaN where a column does not vary or nothing was drawn.
def resampled_spearman(
    a: Float64[np.ndarray, " sample"], b: Float64[np.ndarray, " sample"], weights: Weights
) -> Float64[np.ndarray, " bootstrap"]:
    total = weights.sum(axis=0)
    first, second = (twice_below(values, values, weights) - total for values in (a, b))  # twice the centred midranks
    weighted = weights * first
    covariance = np.einsum("ij,ij->j", weighted, second)
    variances = np.einsum("ij,ij->j", weighted, first) * np.einsum("ij,ij,ij->j", weights, second, second)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.clip(covariance / np.sqrt(variances), -1.0, 1.0)
    return np.where(variances > 0, correlation, np.nan)


# The place of each value among the distinct ones, from 0.
def levels_of(values: Float[Tensor, " sample"]) -> Int64[Tensor, " sample"]:
    return torch.unique(values, return_inverse=True)[1]


# Sums counts of equal values: [bootstrap sample] -> [bootstrap level].
def count_levels(
    counts: Float64[Tensor, "bootstrap sample"], levels: Int64[Tensor, " sample"], n_levels: int
) -> Float64[Tensor, "bootstrap level"]:
    totals = torch.zeros(len(counts), n_levels, dtype=torch.float64)
    return totals.index_add_(1, levels, counts)


def resampled_ranks(
    values: Float64[Tensor, "row sample"], weights: Float64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap row sample"]:
    ranks = []
    for row in values:
        levels = levels_of(row)
        drawn = count_levels(weights, levels, int(levels.max()) + 1)
        midranks = drawn.cumsum(dim=1) - (drawn - 1.0) / 2  # smaller + (equal + 1) / 2
        ranks.append(midranks[:, levels])
    return torch.stack(ranks, dim=1)


def weighted_covariance(
    values: Float64[Tensor, "bootstrap row sample"], weights: Float64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap row row"]:
    shares = weights / weights.sum(dim=1, keepdim=True)
    centred = values - (values * shares[:, None]).sum(dim=2, keepdim=True)
    covariance = (centred * shares[:, None]) @ centred.mT
    # A standard deviation below 1e-12 of the values is the rounding of a constant: make it an exact zero.
    noise = 1e-24 * values.square().amax(dim=2)
    varies = (covariance.diagonal(dim1=1, dim2=2) > noise).double()
    return covariance * varies[:, :, None] * varies[:, None, :]


# Of the first two rows; NaN where one of them does not vary.
def pearson(covariance: Float64[Tensor, "bootstrap row row"]) -> Float64[Tensor, " bootstrap"]:
    variances = covariance[:, 0, 0] * covariance[:, 1, 1]
    correlation = covariance[:, 0, 1] / variances.clamp_min(0.0).sqrt()
    return torch.where(variances > 0, correlation.clamp(-1.0, 1.0), torch.nan)


# Of the first two rows after a regression on all others: the Schur complement of the covariance.
def partial_correlation(covariance: Float64[Tensor, "bootstrap row row"]) -> Float64[Tensor, " bootstrap"]:
    if covariance.shape[1] == 2:
        return torch.full_like(covariance[:, 0, 0], torch.nan)
    cross = covariance[:, :2, 2:]
    rest = covariance[:, :2, :2] - cross @ torch.linalg.pinv(covariance[:, 2:, 2:], hermitian=True) @ cross.mT
    left = rest.diagonal(dim1=1, dim2=2) / covariance[:, :2, :2].diagonal(dim1=1, dim2=2)
    # A share of variance below rounding: the covariates explain the score or the error completely.
    explained = ~(left > 1e-12).all(dim=1)
    return torch.where(explained, torch.nan, pearson(rest))


# NaN where a resample drew nothing of a group.
def spearman_over_means(
    values: Float64[Tensor, "row sample"], weights: Float64[Tensor, "bootstrap sample"], sizes: list[int]
) -> Float64[Tensor, " bootstrap"]:
    drawn = zip(torch.split(values, sizes, dim=1), torch.split(weights, sizes, dim=1), strict=True)
    means = torch.stack([weight @ part.T / weight.sum(dim=1, keepdim=True) for part, weight in drawn], dim=2)
    # Means of the same values summed in another order are equal.
    rounding = 1e-12 * values.abs().amax(dim=1)[:, None, None]
    above = means[..., :, None] - means[..., None, :]
    smaller = (above > rounding).double().sum(dim=-1)
    equal = (above.abs() <= rounding).double().sum(dim=-1)
    ranks = smaller + (equal + 1.0) / 2
    spearman = pearson(weighted_covariance(ranks, torch.ones_like(ranks[:, 0])))
    return torch.where(means.isnan().any(dim=2).any(dim=1), torch.nan, spearman)
