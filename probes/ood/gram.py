"""Correlations between feature channels that leave the range seen in distribution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches

# Entries at a time, which stay in a core's cache.
_CHUNK_ENTRIES = 2**17


@dataclass(frozen=True, eq=False, repr=False)
class GramRange:
    """The range of every entry of the Gram matrices of in-distribution activations."""

    low: Float64[Tensor, "power entry"]
    """Least value of each entry of the upper triangle, in squared activation units."""
    high: Float64[Tensor, "power entry"]
    """Largest value."""
    powers: tuple[int, ...]
    """Powers p of the Gram matrices."""
    n_rows: int
    """Rows of the activations; the sums of a Gram matrix grow with them."""
    n_dims: int
    """Columns of the activations."""
    n_samples: int
    """Number of fitted samples."""

    @takes_arrays
    def score(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: mean over entries g of max(low - g, g - high, 0) / (high - low).

        Args:
            activations: One matrix per sample, of the fitted width and as many rows as the fitted ones had.

        Returns:
            Numbers >= 0, dimensionless, computed in float64, dtype of the input; larger is further out.
        """
        who = "GramRange.score"
        checks.activations(who, "activations", activations, "sample row col")
        checks.same_length(who, ("rows", "in the fitted activations"), activations.shape[1], self.n_rows)
        checks.same_length(who, ("columns", "in the fitted activations"), activations.shape[2], self.n_dims)
        width = self.high - self.low
        # An entry that never varied is judged by the mean range of its power.
        width = torch.where(width > 0, width, width.mean(dim=1, keepdim=True))
        parts = []
        for entries in _entries(activations, self.powers):
            outside = torch.maximum(self.low - entries, entries.sub_(self.high)).clamp_min_(0.0)
            parts.append(outside.div_(width).mean(dim=(1, 2)))
        return in_dtype(torch.cat(parts), activations.dtype)

    def __repr__(self) -> str:
        return (
            f"GramRange(n_rows={self.n_rows}, n_dims={self.n_dims}, powers={self.powers}, n_samples={self.n_samples})"
        )


@takes_arrays
def fit_gram(
    activations: Float[Tensor, "sample row col"] | Iterable[Tensor], *, powers: Sequence[int] = (1, 2, 3)
) -> GramRange:
    """Record the range of the channels' correlations in distribution.

    Formula: G_p = ((H^p)^T H^p)^(1/p) with entrywise powers and sign-keeping roots; the range of each entry of its
    upper triangle over samples. The only detector here that depends on the basis of the residual stream.

    Args:
        activations: One matrix per sample, rows = positions; one tensor, or batches of it, which give the same result.
        powers: The p; high ones look at the largest activations.

    Returns:
        A detector; mean relative excess over the range, larger is further out.

    Raises:
        InputError: If batches differ in their rows, there are fewer than two samples, or nothing varies.

    Source:
        Sastry and Oore (2020), "Detecting out-of-distribution examples with Gram matrices", ICML. There an excess
        is divided by the bound; we divide by the range, since bounds near 0 would drown all other entries.

    Example:
        >>> inside = torch.randn(200, 8, 3, generator=torch.Generator().manual_seed(0))
        >>> tied = inside[..., :1].expand(-1, -1, 3)  # all channels alike
        >>> detector = fit_gram(inside)
        >>> assert detector.score(tied).mean() > 5 * detector.score(inside[:1]).mean()
    """
    fitter = GramFitter(powers=powers)
    for batch in checked_batches("fit_gram", "activations", activations, "sample row col"):
        fitter.update(batch)
    return fitter.fit()


class GramFitter:
    """Do what `fit_gram` does while batches come by, in memory that does not grow with them.

    Args:
        powers: As in `fit_gram`.

    Example:
        >>> fitter = GramFitter()
        >>> for batch in torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(0)).split(2):
        ...     fitter.update(batch)
        >>> fitter.fit().n_samples
        6
    """

    def __init__(self, *, powers: Sequence[int] = (1, 2, 3)) -> None:
        self._powers = tuple(powers)
        checks.count("fit_gram", "a number of powers", len(self._powers), 1)
        checks.count("fit_gram", "powers", min(self._powers), 1)
        self._low: Tensor | None = None
        self._high: Tensor | None = None
        self._n_samples = self._n_rows = self._n_dims = 0

    @takes_arrays
    def update(self, activations: Float[Tensor, "sample row col"]) -> None:
        """Read a batch.

        Args:
            activations: One matrix per sample, of as many rows as those before.

        Raises:
            InputError: If axes or entries are wrong, or rows or columns differ from those before.
        """
        who = "fit_gram"
        checks.activations(who, "activations", activations, "sample row col")
        self._n_rows, self._n_dims = self._n_rows or activations.shape[1], self._n_dims or activations.shape[2]
        checks.same_length(who, ("rows", "in earlier batches"), activations.shape[1], self._n_rows)
        checks.same_length(who, ("columns of activations", "in earlier batches"), activations.shape[2], self._n_dims)
        self._n_samples += len(activations)
        for entries in _entries(activations, self._powers):
            least, most = entries.amin(dim=0), entries.amax(dim=0)
            self._low = least if self._low is None else torch.minimum(self._low, least)
            self._high = most if self._high is None else torch.maximum(self._high, most)

    def fit(self) -> GramRange:
        """Make the detector.

        Returns:
            What `fit_gram` gives for all batches at once.

        Raises:
            InputError: If there are fewer than two samples, or nothing varies.
        """
        who, low, high = "fit_gram", self._low, self._high
        checks.count(who, "a number of samples", self._n_samples, 2)
        if low is None or high is None or not bool(((high - low).amax(dim=1) > 0).all()):
            raise InputError(f"{who} needs activations that vary, got {self._n_samples} equal samples; collect more.")
        return GramRange(
            low=low, high=high, powers=self._powers, n_rows=self._n_rows, n_dims=self._n_dims, n_samples=self._n_samples
        )


# [sample power entry], in chunks of bounded size.
def _entries(activations: Tensor, powers: tuple[int, ...]) -> Iterable[Tensor]:
    dims = activations.shape[2]
    rows, columns = torch.triu_indices(dims, dims, device=activations.device)
    upper = rows * dims + columns
    for chunk in torch.split(activations.double(), max(1, _CHUNK_ENTRIES // (dims * dims * len(powers)))):
        found = []
        for power in powers:
            raised = chunk if power == 1 else chunk**power
            found.append(_root((raised.mT @ raised).flatten(1)[:, upper], power))
        yield torch.stack(found, dim=1)


# That keeps the sign; sums of squares have none to keep.
def _root(gram: Tensor, power: int) -> Tensor:
    if power == 1:
        return gram
    return gram.sqrt() if power == 2 else gram.sign() * gram.abs() ** (1 / power)
