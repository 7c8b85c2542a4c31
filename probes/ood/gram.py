"""Correlations between feature channels that leave the range seen in distribution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches

_CHUNK_ENTRIES = 2**22


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
    """How many samples were fitted."""

    def score(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: mean over entries g of max(low - g, g - high, 0) / (high - low).

        Args:
            activations: One matrix a sample, of the fitted width and as many rows as the fitted ones had.

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
            outside = torch.maximum(self.low - entries, entries - self.high).clamp_min(0.0)
            parts.append((outside / width).mean(dim=(1, 2)))
        return in_dtype(torch.cat(parts), activations.dtype)

    def __repr__(self) -> str:
        return (
            f"GramRange(n_rows={self.n_rows}, n_dims={self.n_dims}, powers={self.powers}, n_samples={self.n_samples})"
        )


def fit_gram(
    activations: Float[Tensor, "sample row col"] | Iterable[Tensor], *, powers: Sequence[int] = (1, 2, 3)
) -> GramRange:
    """Record the range of the channels' correlations in distribution.

    Formula: G_p = ((H^p)^T H^p)^(1/p) with entrywise powers and sign-keeping roots; the range of each entry of its
    upper triangle over samples. The only detector here that depends on the basis of the residual stream.

    Args:
        activations: One matrix a sample, rows = positions; one tensor, or batches of it, which give the same result.
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
    who = "fit_gram"
    wanted = tuple(powers)
    checks.count(who, "a number of powers", len(wanted), 1)
    checks.count(who, "powers", min(wanted), 1)
    low: Tensor | None = None
    high: Tensor | None = None
    n_samples = n_rows = dims = 0
    for batch in checked_batches(who, "activations", activations, "sample row col"):
        n_rows = n_rows or batch.shape[1]
        checks.same_length(who, ("rows", "in earlier batches"), batch.shape[1], n_rows)
        n_samples, dims = n_samples + len(batch), batch.shape[2]
        for entries in _entries(batch, wanted):
            least, most = entries.amin(dim=0), entries.amax(dim=0)
            low = least if low is None else torch.minimum(low, least)
            high = most if high is None else torch.maximum(high, most)
    checks.count(who, "a number of samples", n_samples, 2)
    if low is None or high is None or not bool(((high - low).amax(dim=1) > 0).all()):
        raise InputError(f"{who} needs activations that vary, got {n_samples} equal samples; collect more.")
    return GramRange(low=low, high=high, powers=wanted, n_rows=n_rows, n_dims=dims, n_samples=n_samples)


# [sample power entry], in chunks of bounded size.
def _entries(activations: Tensor, powers: tuple[int, ...]) -> Iterable[Tensor]:
    dims = activations.shape[2]
    rows, columns = torch.triu_indices(dims, dims, device=activations.device)
    for chunk in torch.split(activations.double(), max(1, _CHUNK_ENTRIES // (dims * dims * len(powers)))):
        found = []
        for power in powers:
            raised = chunk**power
            gram = (raised.mT @ raised)[:, rows, columns]
            found.append(gram.sign() * gram.abs() ** (1 / power))
        yield torch.stack(found, dim=1)
