"""Fitting a signature, from one tensor or batch by batch, and following it over checkpoints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches
from probes.signature.fitted import SpectralSignature
from probes.spectra import Side, leading_directions
from probes.subspaces import cosine_similarity, subspace_overlap

_KEPT = 64


@dataclass(frozen=True, eq=False, repr=False)
class SignatureEmergence:
    """Agreement of each checkpoint's signature with the last one's and with the one before."""

    steps: tuple[int, ...]
    """Training steps, rising."""
    overlap_with_final: Float[Tensor, " checkpoint"]
    """||R_t R_T^T||_F^2 / k in [0, 1]; the last is 1."""
    alignment_with_final: Float[Tensor, "checkpoint k"]
    """|<r_j(t), r_j(T)>| in [0, 1], direction by direction."""
    overlap_with_previous: Float[Tensor, " later"]
    """||R_t R_{t-1}^T||_F^2 / k in [0, 1], from the second checkpoint on."""
    alignment_with_previous: Float[Tensor, "later k"]
    """|<r_j(t), r_j(t-1)>| in [0, 1], from the second checkpoint on."""
    within: Float[Tensor, " checkpoint"]
    """Mean overlap of two different samples at each checkpoint, in [0, 1]: how much of a signature there is."""
    chance: float
    """k / d_model, the overlap of random subspaces."""

    def __repr__(self) -> str:
        first, last = float(self.within[0]), float(self.within[-1])
        span = f"steps {self.steps[0]}..{self.steps[-1]}"
        return f"SignatureEmergence({len(self.steps)} checkpoints, {span}, overlap within {first:.3f} -> {last:.3f})"


def emergence_of(signatures: Mapping[int, SpectralSignature]) -> SignatureEmergence:
    """Compare signatures that were fitted at rising steps by the same conventions.

    Args:
        signatures: Step -> signature, each of at least two samples.

    Returns:
        The comparison.

    Raises:
        InputError: If there is no signature, or they differ in dimension.
    """
    who = "signature_emergence"
    checks.count(who, "a number of checkpoints", len(signatures), 1)
    fitted = list(signatures.values())
    final = fitted[-1]
    for each in fitted:
        dims = each.reference.shape[1], final.reference.shape[1]
        checks.same_length(who, ("dimensions at one checkpoint", "at the last"), *dims)
    references = torch.stack([each.reference for each in fitted])
    single = torch.stack([each.direction_references for each in fitted])
    return SignatureEmergence(
        steps=tuple(signatures),
        overlap_with_final=subspace_overlap(references, final.reference.expand_as(references)),
        alignment_with_final=cosine_similarity(single, final.direction_references.expand_as(single)),
        overlap_with_previous=subspace_overlap(references[1:], references[:-1]),
        alignment_with_previous=cosine_similarity(single[1:], single[:-1]),
        within=torch.stack([each.pairwise_overlap for each in fitted]),
        chance=final.k / final.reference.shape[1],
    )


class SignatureFitter:
    """Fit a signature from batches, in memory that does not grow with the samples.

    Sums v_j v_j^T over samples in float64, so that neither batch size nor order matters. The directions of the
    first 64 samples are kept for variant A.

    Example:
        >>> batches = torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0))
        >>> fitter = SignatureFitter()
        >>> for batch in batches:
        ...     fitter.update(batch)
        >>> at_once = fit_signature(batches.flatten(0, 1))
        >>> torch.testing.assert_close(fitter.fit().eigenvalues, at_once.eigenvalues)
    """

    def __init__(self, *, k: int = 2, center: bool = False, side: Side = "right") -> None:
        checks.count("SignatureFitter", "a k", k, 1)
        checks.option("SignatureFitter", "side", side, ("right", "left"))
        self.k = k
        self.center = center
        self.side = side
        self.n_samples = 0
        self._moments: Tensor | None = None
        self._kept: list[Tensor] = []
        self._dtype = torch.float32

    @takes_arrays
    def update(self, activations: Float[Tensor, "sample row col"]) -> None:
        """Add samples; refuses what `leading_directions` refuses, and another width than before."""
        found = leading_directions(activations, self.k, center=self.center, side=self.side, spectrum="leading")
        self.update_directions(found.directions)

    @takes_arrays
    def update_directions(self, directions: Float[Tensor, "sample k dim"]) -> None:
        """Add samples whose directions were already found, by the fitter's conventions.

        Args:
            directions: Orthonormal rows for each sample, by falling singular value.

        Raises:
            InputError: If rows are not finite and orthonormal, or differ in number or dimension from before.
        """
        who = "update_directions"
        checks.activations(who, "directions", directions, "sample k dim")
        dims = directions.shape[2]
        checks.same_length(who, ("directions", "the fitter's k"), directions.shape[1], self.k)
        checks.orthonormal(who, "directions", directions)
        if self._moments is None:
            self._moments = directions.new_zeros(self.k, dims, dims, dtype=torch.float64)
            self._dtype = directions.dtype
        checks.same_length(who, ("dimensions", "in earlier batches"), dims, self._moments.shape[-1])
        by_rank = directions.double().transpose(0, 1)
        self._moments += by_rank.mT @ by_rank
        if self.n_samples < _KEPT:
            self._kept.append(directions[: _KEPT - self.n_samples].clone())
        self.n_samples += len(directions)

    def fit(self) -> SpectralSignature:
        """Return the signature of all samples so far.

        Returns:
            The signature, in the dtype of the first batch; more batches may follow.

        Raises:
            InputError: If there were no samples.
        """
        checks.count("SignatureFitter.fit", "a number of samples", self.n_samples, 1)
        moments = torch.as_tensor(self._moments) / self.n_samples
        eigenvalues, vectors = torch.linalg.eigh(moments.sum(dim=0))
        single = torch.linalg.eigh(moments).eigenvectors[..., -1]
        return SpectralSignature(
            reference=in_dtype(vectors.flip(-1)[:, : self.k].mT.contiguous(), self._dtype),
            direction_references=in_dtype(single, self._dtype),
            eigenvalues=in_dtype(eigenvalues.flip(-1).clamp(0.0, 1.0), self._dtype),
            k=self.k,
            center=self.center,
            side=self.side,
            n_samples=self.n_samples,
            kept=torch.cat(self._kept),
        )


@takes_arrays
def fit_signature(
    activations: Float[Tensor, "sample row col"] | Iterable[Tensor],
    *,
    k: int = 2,
    center: bool = False,
    side: Side = "right",
) -> SpectralSignature:
    """Find the leading directions that samples share.

    Formula: R = top k eigenvectors of (1/n) sum_p V_p^T V_p, and r_j = top eigenvector of (1/n) sum_p v_j
    v_j^T; a mean of the vectors themselves would depend on arbitrary signs. Arbitrary where samples share
    nothing; untrained networks share a lot, so only the excess over them says something about learning.

    Args:
        activations: One matrix per sample, rows = positions; any unit; one tensor, or batches of it, which give the
            same result. For side "left" a row must mean the same position in every sample.
        k: Number of directions.
        center: Subtract each sample's mean row first.
        side: "right" for directions in d_model, "left" in the rows' space.

    Returns:
        The signature with its conventions, computed in float64, in the input's dtype.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, for the top two directions; variants A, B and C, the
        side and the centring are our choices.

    Example:
        >>> noise = torch.randn(64, 12, 8, generator=torch.Generator().manual_seed(0))
        >>> planted = noise + 5 * torch.eye(8)[0]
        >>> signature = fit_signature(planted, k=1)
        >>> assert signature.reference[0, 0].abs() > 0.99
        >>> assert signature.ood_score(noise).mean() > signature.ood_score(planted).mean() + 0.5
    """
    fitter = SignatureFitter(k=k, center=center, side=side)
    for batch in checked_batches("fit_signature", "activations", activations, "sample row col"):
        fitter.update(batch)
    return fitter.fit()


@takes_arrays
def signature_emergence(
    checkpoints: Mapping[int, Tensor | Iterable[Tensor]] | Iterable[tuple[int, Tensor | Iterable[Tensor]]],
    *,
    k: int = 2,
    center: bool = False,
    side: Side = "right",
) -> SignatureEmergence:
    """Follow the signature over training checkpoints, on the same prompts at each.

    Formula: at each checkpoint t, ||R_t R_T^T||_F^2 / k and |<r_j(t), r_j(T)>| against the last checkpoint T, the
    same against t - 1, and the mean overlap of two different samples. Bases of differently initialised networks
    have nothing in common, so all checkpoints must be of one run. A signature that is there before training, or
    an overlap near k / d_model, is no evidence of learning.

    Args:
        checkpoints: Step -> activations [sample row col] (or batches of them), as a mapping or as an iterator of
            pairs, which is read once; steps rise.
        k: Number of directions.
        center: Subtract each sample's mean row first.
        side: "right" for directions in d_model, "left" in the rows' space.

    Returns:
        Agreement over checkpoints, in the first checkpoint's dtype.

    Raises:
        InputError: If there is no checkpoint, steps do not rise, widths differ, or as `fit_signature`.

    Source:
        Our choice: the abstract of Hill, Eyre and Creager (2025) looks at trained networks only.

    Example:
        >>> noise = torch.randn(64, 12, 8, generator=torch.Generator().manual_seed(0))
        >>> growing = {step: noise + strength * torch.eye(8)[0] for step, strength in [(0, 0.0), (10, 1.0), (20, 5.0)]}
        >>> found = signature_emergence(growing, k=1)
        >>> assert found.within[0] < 0.3 < 0.9 < found.within[2]
        >>> torch.testing.assert_close(found.overlap_with_final[2], torch.tensor(1.0))
    """
    pairs = checkpoints.items() if isinstance(checkpoints, Mapping) else checkpoints
    fitted: dict[int, SpectralSignature] = {}
    for step, activations in pairs:
        if fitted and step <= max(fitted):
            raise InputError(
                f"signature_emergence needs steps that rise, got {step} after {max(fitted)}; sort the checkpoints."
            )
        fitted[step] = fit_signature(activations, k=k, center=center, side=side)
    return emergence_of(fitted)
