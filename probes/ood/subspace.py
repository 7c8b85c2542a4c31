"""Features outside the subspace of the training data: PCA residual and null space."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches
from probes.covariance import MomentAccumulator


@dataclass(frozen=True, eq=False, repr=False)
class PCAResidual:
    """Energy outside the leading principal components."""

    mean: Float64[Tensor, " dim"]
    """Mean of the fitted features, in feature units."""
    components: Float64[Tensor, "component dim"]
    """Orthonormal rows: the leading principal components."""
    explained: float
    """Share of the fitted variance inside, in [0, 1]."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: ||(I - V^T V)(x - mean)||^2.

        Args:
            features: Features of the fitted width.

        Returns:
            Squared lengths >= 0 in squared feature units, dtype of the input; larger is further out.
        """
        _check_width("PCAResidual.score", features, self.components.shape[1])
        centred = features.double() - self.mean
        residual = centred - centred @ self.components.mT @ self.components
        return in_dtype(residual.square().sum(dim=1), features.dtype)

    def __repr__(self) -> str:
        return f"PCAResidual(components={len(self.components)}, explained={self.explained:.3f})"


@dataclass(frozen=True, eq=False, repr=False)
class NullSpace:
    """Share of a feature vector's length in directions that a matrix maps to zero."""

    basis: Float64[Tensor, "null dim"]
    """Orthonormal rows that span the null space."""
    tolerance: float
    """Singular values up to this share of the largest count as zero."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: ||N x|| / ||x||; 0 for a zero vector, which has no direction (our choice).

        Args:
            features: Features of the fitted width, not centred.

        Returns:
            Shares in [0, 1], dimensionless, dtype of the input; larger is further out.
        """
        _check_width("NullSpace.score", features, self.basis.shape[1])
        exact = features.double()
        inside = torch.linalg.vector_norm(exact @ self.basis.mT, dim=1)
        lengths = torch.linalg.vector_norm(exact, dim=1)
        share = torch.where(lengths > 0, inside / lengths, torch.zeros_like(lengths))
        return in_dtype(share.clamp_max(1.0), features.dtype)

    def __repr__(self) -> str:
        null, dims = self.basis.shape
        return f"NullSpace({null} of {dims} dimensions, tolerance={self.tolerance:g})"


@takes_arrays
def fit_pca_residual(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor], *, n_components: int | None = None, variance: float = 0.95
) -> PCAResidual:
    """Find the principal components of in-distribution features.

    Formula: score(x) = ||(I - V^T V)(x - mean)||^2, V the leading eigenvectors of the covariance. Blind to what
    happens inside: a shift along V has score 0.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        n_components: Rows of V; below `dim`, or nothing would be left outside.
        variance: Without `n_components`, the fewest rows that hold this share of the variance, in (0, 1).

    Returns:
        A detector; squared residuals, larger is further out.

    Raises:
        InputError: If nothing varies, or all of space would be inside.

    Source:
        Jackson and Mudholkar (1979), "Control procedures for residuals associated with principal component
        analysis"; the share of 0.95 is our choice.

    Example:
        >>> inside = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 1, 0.1])
        >>> detector = fit_pca_residual(inside, n_components=2)
        >>> along, across = torch.tensor([[20.0, 0, 0]]), torch.tensor([[0.0, 0, 2]])
        >>> assert detector.score(across) > 10 * detector.score(along)
    """
    who = "fit_pca_residual"
    if not 0.0 < variance < 1.0:
        raise InputError(f"{who} needs 0 < variance < 1, got {variance:g}; 0.95 is usual.")
    moments = MomentAccumulator()
    for batch in checked_batches(who, "features", features, "sample dim"):
        moments.update(batch)
    eigenvalues, vectors = torch.linalg.eigh(moments.covariance())
    shares = _cumulative_shares(who, eigenvalues.flip(0))
    wanted = int((shares < variance).sum()) + 1 if n_components is None else n_components
    checks.count(who, "n_components", wanted, 1)
    if wanted >= len(shares):
        raise InputError(
            f"{who} needs fewer components than dimensions, got {wanted} of {len(shares)}; with all of space inside "
            "nothing is a residual: lower n_components or variance."
        )
    return PCAResidual(
        mean=moments.mean(), components=vectors.flip(1)[:, :wanted].mT.contiguous(), explained=float(shares[wanted - 1])
    )


@takes_arrays
def fit_null_space(rows: Float[Tensor, "row dim"] | Iterable[Tensor], *, tolerance: float = 1e-6) -> NullSpace:
    """Find the directions that a matrix maps to zero: those a layer cannot see, or those no fitted feature used.

    Formula: score(x) = ||N x|| / ||x||, the rows of N orthonormal with W N^T = 0. With a layer's weight, pass W
    such that the layer computes W x; its score grows where features leave what the layer can see. With
    in-distribution features as rows, N spans what they never used.

    Args:
        rows: W, one row per output; or features, one row per sample; one tensor or batches of rows.
        tolerance: Singular values up to this share of the largest count as zero.

    Returns:
        A detector; shares of length in [0, 1], larger is further out.

    Raises:
        InputError: If the tolerance is not in [1e-7, 1), every row is zero, or no direction is left over.

    Source:
        Cook, Zare and Gader (2020), "Outlier detection through null space analysis of neural networks", arXiv
        2007.01263, for a layer's weight; features in the place of weights and the tolerance are our choice.

    Example:
        >>> read_out = torch.tensor([[1.0, 0.0, 0.0]])  # the layer sees the first coordinate only
        >>> detector = fit_null_space(read_out)
        >>> scores = detector.score(torch.tensor([[2.0, 0, 0], [3.0, 0, 4.0]]))
        >>> torch.testing.assert_close(scores, torch.tensor([0.0, 0.8]))
    """
    who = "fit_null_space"
    # A Gram matrix keeps singular values down to the root of float64's rounding.
    if not 1e-7 <= tolerance < 1.0:
        raise InputError(f"{who} needs a tolerance in [1e-7, 1), got {tolerance:g}; 1e-6 suits float32 rows.")
    gram: Tensor | float = 0.0
    for batch in checked_batches(who, "rows", rows, "row dim"):
        exact = batch.double()
        gram = gram + exact.mT @ exact
    eigenvalues, vectors = torch.linalg.eigh(torch.as_tensor(gram))
    if not float(eigenvalues[-1]) > 0.0:
        raise InputError(f"{who} needs at least one non-zero row, got zeros only; check the selection.")
    null = int((eigenvalues <= tolerance**2 * eigenvalues[-1]).sum())
    if null == 0:
        smallest = float((eigenvalues[0] / eigenvalues[-1]).clamp_min(0.0).sqrt())
        raise InputError(
            f"{who} needs rows that leave a direction unused, got rank {len(eigenvalues)} of {len(eigenvalues)} with "
            f"a smallest singular value of {smallest:.1e} of the largest; raise the tolerance or use "
            "fit_pca_residual."
        )
    return NullSpace(basis=vectors[:, :null].mT.contiguous(), tolerance=tolerance)


def _cumulative_shares(who: str, eigenvalues: Tensor) -> Tensor:
    """Sum the variance of the first 1, 2, ... components."""
    positive = eigenvalues.clamp_min(0.0)
    if not float(positive.sum()) > 0.0:
        raise InputError(f"{who} needs features that vary, got equal samples; collect more or check the selection.")
    return positive.cumsum(0) / positive.sum()


def _check_width(who: str, features: Tensor, dims: int) -> None:
    checks.activations(who, "features", features, "sample dim")
    checks.same_length(who, ("dimensions", "in the fitted features"), features.shape[1], dims)
