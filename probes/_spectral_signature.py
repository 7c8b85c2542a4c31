"""What a fitted spectral signature is, and what it says about a sample; `probes.signature` fits one."""

import os
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_same_length
from probes._dtypes import _result
from probes._signature_file import read_signature_fields, write_signature_fields
from probes._signature_scores import SignatureScores
from probes.pairwise import _mean_overlap, pairwise_alignment
from probes.spectra import LeadingDirections, Side, leading_directions


@dataclass(frozen=True, eq=False, repr=False)
class SpectralSignature:
    """The shared directions of one distribution, and the conventions they were measured with."""

    reference: Float[Tensor, "k d_model"]
    """Variant C: the top k eigenvectors of the mean projector; signs are arbitrary."""
    direction_references: Float[Tensor, "k d_model"]
    """Variant B: row j is the top eigenvector of the mean of v_j v_j^T, so rows need not be orthogonal."""
    eigenvalues: Float[Tensor, " d_model"]
    """Of the mean projector, largest first, in [0, 1]; the first k average to the mean overlap of the
    fitted samples."""
    k: int
    """How many directions of each sample."""
    center: bool
    """Whether each sample's mean row was subtracted first."""
    side: Side
    """Which singular vectors; for "left", `d_model` reads as the number of rows."""
    n_samples: int
    """How many samples were fitted."""
    kept: Float[Tensor, "kept k d_model"]
    """Directions of a few fitted samples, for comparisons pair by pair (variant A)."""

    @property
    def pairwise_overlap(self) -> Float[Tensor, ""]:
        """Mean overlap of two different fitted samples, in [0, 1]; exact, from the mean projector."""
        _check_count("pairwise_overlap", "a number of fitted samples", self.n_samples, 2)
        share = self.eigenvalues.double().square().sum() / self.k
        return _result(_mean_overlap(share, self.n_samples, 1.0), self.eigenvalues.dtype)

    @property
    def pairwise_cosines(self) -> Float[Tensor, " k"]:
        """Variant A: mean |<v_j(p), v_j(q)>| over pairs of different kept samples, in [0, 1]."""
        return pairwise_alignment(self.kept)

    def score(self, activations: Float[Tensor, "sample row col"]) -> SignatureScores:
        """Measure overlap and alignment of new samples by the signature's own conventions.

        Args:
            activations: One matrix a sample, of the fitted width; any number of rows, unless side is "left".

        Returns:
            What `score_directions` returns.

        Raises:
            InputTypeError: If the activations are no floating-point tensor.
            InputError: If axes, width or entries are not as they should be.
        """
        return self.score_directions(self._directions(activations))

    def score_directions(self, found: LeadingDirections) -> SignatureScores:
        """Measure overlap and alignment of directions that were already found by the signature's conventions.

        Formula: overlap = ||V R^T||_F^2 / k and alignment_j = |<v_j, r_j>|. Both are arbitrary where `tied`,
        and alignment where `swapped`.

        Args:
            found: Of samples stacked along one axis, at the signature's k, centring and side.

        Returns:
            Scores in [0, 1], dimensionless, computed in float64, in the directions' dtype.

        Raises:
            InputError: If the directions are not stacked along one axis, or differ in number or dimension.
        """
        directions = found.directions
        self._check_fits("score_directions", directions)
        exact = directions.double()
        overlap = (exact @ self.reference.double().mT).square().sum(dim=(1, 2)) / self.k
        alignment = (exact * self.direction_references.double()).sum(dim=2).abs()
        return SignatureScores(
            overlap=_result(overlap.clamp_max(1.0), directions.dtype),
            alignment=_result(alignment.clamp_max(1.0), directions.dtype),
            swap_ratio=found.swap_ratio,
            tied=found.tied,
        )

    def pairwise(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, "sample k"]:
        """Measure how far each direction agrees with that of each kept sample (variant A).

        Formula: mean over kept q of |<v_j(p), v_j(q)>|. A kept sample meets itself, so score others.

        Args:
            activations: As for `score`.

        Returns:
            Numbers in [0, 1], dimensionless, computed in float64, in the input's dtype.
        """
        return self.pairwise_directions(self._directions(activations))

    def pairwise_directions(self, found: LeadingDirections) -> Float[Tensor, "sample k"]:
        """Measure variant A on directions that were already found by the signature's conventions.

        Args:
            found: As for `score_directions`.

        Returns:
            As `pairwise`.

        Raises:
            InputError: If the directions are not stacked along one axis, or differ in number or dimension.
        """
        directions = found.directions
        self._check_fits("pairwise_directions", directions)
        cosines = torch.einsum("pjd,qjd->pjq", directions.double(), self.kept.double()).abs()
        return _result(cosines.mean(dim=2).clamp_max(1.0), directions.dtype)

    def alignment(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, "sample k"]:
        """Measure how far each direction agrees with its reference (variant B).

        Args:
            activations: As for `score`, which computes all scores at once.

        Returns:
            |<v_j, r_j>| in [0, 1].
        """
        return self.score(activations).alignment

    def overlap(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far each sample's subspace agrees with the reference (variant C).

        Args:
            activations: As for `score`, which computes all scores at once.

        Returns:
            ||V R^T||_F^2 / k in [0, 1].
        """
        return self.score(activations).overlap

    def ood_score(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far out of the fitted distribution each sample lies.

        Args:
            activations: As for `score`, which computes all scores at once.

        Returns:
            1 - overlap in [0, 1]; larger is further out.
        """
        return self.score(activations).ood_score

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the signature into one file of plain tensors and plain data, completely or not at all.

        Args:
            path: Where; its folder must exist, and an older signature of that name is replaced, but no other file.

        Raises:
            OSError: If the folder is missing or not writable.
            InputError: If there is another file.
        """
        write_signature_fields(path, dict(vars(self)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SpectralSignature":
        """Read a signature that `save` wrote; nothing but tensors and plain data is ever unpacked.

        Args:
            path: The file.

        Returns:
            The signature, on the CPU.

        Raises:
            OSError: If the file is missing.
            InputError: If the file is no signature, or of a version that this library does not know.
        """
        return cls(**read_signature_fields(path))

    def _directions(self, activations: Tensor) -> LeadingDirections:
        return leading_directions(activations, self.k, center=self.center, side=self.side, spectrum="leading")

    def _check_fits(self, who: str, directions: Tensor) -> None:
        _check_activations(who, "directions", directions, "sample k dim")
        _check_same_length(who, ("directions", "in the signature"), directions.shape[1], self.k)
        dims = self.reference.shape[1]
        _check_same_length(who, ("dimensions", "in the signature"), directions.shape[2], dims)

    def __repr__(self) -> str:
        shares = ", ".join(f"{value:.3f}" for value in self.eigenvalues[: self.k].tolist())
        convention = f"k={self.k}, center={self.center}, side={self.side!r}"
        return f"SpectralSignature({convention}, n_samples={self.n_samples}, eigenvalues=[{shares}, ...])"
