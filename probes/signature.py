"""The spectral signature: the leading directions that the samples of one distribution share.

The claim under test (Hill, Eyre and Creager 2025, arXiv 2507.09440) is that in-distribution prompts share
the top two singular vectors of their residual streams, and others do not. Only the abstract was available
to us, so every convention is an option and is stored in the result.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import (
    _check_activations,
    _check_count,
    _check_option,
    _check_orthonormal,
    _check_same_length,
)
from probes._spectral_signature import SignatureScores, SpectralSignature
from probes.pairwise import pairwise_alignment
from probes.spectra import Side, leading_directions

__all__ = ["SignatureFitter", "SignatureScores", "SpectralSignature", "fit_signature", "pairwise_alignment"]


class SignatureFitter:
    """Fit a signature from batches, in memory that does not grow with the samples.

    Sums v_j v_j^T over samples in float64, so that neither batch size nor order matters.

    Example:
        >>> batches = torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0))
        >>> fitter = SignatureFitter()
        >>> for batch in batches:
        ...     fitter.update(batch)
        >>> at_once = fit_signature(batches.flatten(0, 1))
        >>> torch.testing.assert_close(fitter.fit().eigenvalues, at_once.eigenvalues)
    """

    def __init__(self, *, k: int = 2, center: bool = False, side: Side = "right") -> None:
        _check_count("SignatureFitter", "a k", k, 1)
        _check_option("SignatureFitter", "side", side, ("right", "left"))
        self.k = k
        self.center = center
        self.side = side
        self.n_samples = 0
        self._moments: Tensor | None = None
        self._dtype = torch.float32

    def update(self, activations: Float[Tensor, "sample row col"]) -> None:
        """Add samples; refuses what `leading_directions` refuses, and another width than before."""
        found = leading_directions(activations, self.k, center=self.center, side=self.side)
        self.update_directions(found.directions)

    def update_directions(self, directions: Float[Tensor, "sample k dim"]) -> None:
        """Add samples whose directions were already found, by the fitter's conventions.

        Args:
            directions: Orthonormal rows for each sample, by falling singular value.

        Raises:
            TypeError: If the directions are no floating-point tensor.
            ValueError: If rows are not finite and orthonormal, or differ in number or dimension from before.
        """
        who = "update_directions"
        _check_activations(who, "directions", directions, "sample k dim")
        dims = directions.shape[2]
        _check_same_length(who, ("directions", "the fitter's k"), directions.shape[1], self.k)
        _check_orthonormal(who, "directions", directions)
        if self._moments is None:
            self._moments = directions.new_zeros(self.k, dims, dims, dtype=torch.float64)
            self._dtype = directions.dtype
        _check_same_length(who, ("dimensions", "in earlier batches"), dims, self._moments.shape[-1])
        by_rank = directions.double().transpose(0, 1)
        self._moments += by_rank.mT @ by_rank
        self.n_samples += len(directions)

    def fit(self) -> SpectralSignature:
        """Return the signature of all samples so far.

        Returns:
            The signature, in the dtype of the first batch; more batches may follow.

        Raises:
            ValueError: If there were no samples.
        """
        _check_count("SignatureFitter.fit", "a number of samples", self.n_samples, 1)
        moments = torch.as_tensor(self._moments) / self.n_samples
        eigenvalues, vectors = torch.linalg.eigh(moments.sum(dim=0))
        single = torch.linalg.eigh(moments).eigenvectors[..., -1]
        return SpectralSignature(
            reference=vectors.flip(-1)[:, : self.k].mT.contiguous().to(self._dtype),
            direction_references=single.to(self._dtype),
            eigenvalues=eigenvalues.flip(-1).clamp(0.0, 1.0).to(self._dtype),
            k=self.k,
            center=self.center,
            side=self.side,
            n_samples=self.n_samples,
        )


def fit_signature(
    activations: Float[Tensor, "sample row col"], *, k: int = 2, center: bool = False, side: Side = "right"
) -> SpectralSignature:
    """Find the leading directions that samples share.

    Formula: R = top k eigenvectors of (1/n) sum_p V_p^T V_p, and r_j = top eigenvector of (1/n) sum_p v_j
    v_j^T; a mean of the vectors themselves would depend on arbitrary signs. Arbitrary where samples share
    nothing; untrained networks share a lot, so only the excess over them says something about learning.

    Args:
        activations: One matrix a sample, rows = positions; any unit. For side "left" a row must mean the same
            position in every sample.
        k: How many directions.
        center: Subtract each sample's mean row first.
        side: "right" for directions in d_model, "left" in the rows' space.

    Returns:
        The signature with its conventions, computed in float64, in the input's dtype.

    Raises:
        TypeError: If the activations are no floating-point tensor.
        ValueError: If an axis is missing or empty, entries are not finite, or k or the side is impossible.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, for the top two directions; variants B and C, the
        side and the centring are our choices.

    Example:
        >>> noise = torch.randn(64, 12, 8, generator=torch.Generator().manual_seed(0))
        >>> planted = noise + 5 * torch.eye(8)[0]
        >>> signature = fit_signature(planted, k=1)
        >>> assert signature.reference[0, 0].abs() > 0.99
        >>> assert signature.ood_score(noise).mean() > signature.ood_score(planted).mean() + 0.5
    """
    fitter = SignatureFitter(k=k, center=center, side=side)
    fitter.update(activations)
    return fitter.fit()
