"""A fitted spectral signature, its scores of a sample, and its file; `probes.signature.fit` fits one.

A saved signature is one file of plain tensors and plain data: the only file access in this package.
"""

import io
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes.pairwise import mean_overlap, pairwise_alignment
from probes.spectra import SWAP_THRESHOLD, LeadingDirections, Side, leading_directions

_FORMAT = "spectral-signature"
_VERSION = 1
_FIELDS: dict[str, type] = {
    "reference": Tensor,
    "direction_references": Tensor,
    "eigenvalues": Tensor,
    "k": int,
    "center": bool,
    "side": str,
    "n_samples": int,
    "kept": Tensor,
}


@dataclass(frozen=True, eq=False, repr=False)
class SignatureScores:
    """How far each sample shows a signature; all scores from one decomposition."""

    overlap: Float[Tensor, " sample"]
    """||V R^T||_F^2 / k in [0, 1], of the sample's subspace with the reference (variant C)."""
    alignment: Float[Tensor, "sample k"]
    """|<v_j, r_j>| in [0, 1], direction by direction (variant B)."""
    swap_ratio: Float[Tensor, " sample"]
    """s2/s1 of the sample, in [0, 1]."""
    tied: Bool[Tensor, " sample"]
    """True where the sample's own subspace is arbitrary, and its scores with it."""

    @property
    def swapped(self) -> Bool[Tensor, " sample"]:
        """True where s2/s1 > 0.9: a low alignment may then only mean that v1 and v2 changed places."""
        return self.swap_ratio > SWAP_THRESHOLD

    @property
    def ood_score(self) -> Float[Tensor, " sample"]:
        """1 - overlap, in [0, 1]; larger is further out."""
        return 1.0 - self.overlap

    def __repr__(self) -> str:
        means = ", ".join(f"{value:.3f}" for value in self.alignment.mean(dim=0).tolist())
        overlap = float(self.overlap.mean())
        return f"SignatureScores(n={len(self.overlap)}, mean overlap={overlap:.3f}, alignment=[{means}])"


def write_signature_fields(path: str | os.PathLike[str], fields: dict[str, Any]) -> None:
    """Write into a temporary file of the same folder, force it to the disk, then move it into place."""
    path = Path(os.path.realpath(path))
    _refuse_foreign(path)
    plain = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in fields.items()}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            torch.save({"format": _FORMAT, "version": _VERSION, **plain}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not (path.is_file() and _holds_signature(path))):
        raise InputError(
            f"SpectralSignature.save writes over nothing but an older signature, got {path}, which is something else; "
            "choose another name, or move it away."
        )


def _holds_signature(path: Path) -> bool:
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True, map_location="cpu")
    except Exception:  # as in read_signature_fields
        return False
    return isinstance(content, dict) and content.get("format") == _FORMAT


def read_signature_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_signature_fields` wrote."""
    path = Path(path)
    data = path.read_bytes()
    try:
        content = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError and more on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"SpectralSignature.load needs a file that SpectralSignature.save wrote, got {path} ({reason}); "
            "nothing but tensors and plain data is ever unpacked."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(
            f"SpectralSignature.load needs a file that SpectralSignature.save wrote, got {path}, which holds something "
            "else; is it a checkpoint?"
        )
    if content.get("version") != _VERSION:
        raise InputError(
            f"SpectralSignature.load needs version {_VERSION} of the format, got {content.get('version')!r} in {path}; "
            "update the library, or fit again."
        )
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise InputError(
            f"SpectralSignature.load needs all fields of a signature, got {path} without a usable {', '.join(wrong)}; "
            "fit again."
        )
    return {name: content[name] for name in _FIELDS}


@dataclass(frozen=True, eq=False, repr=False)
class SpectralSignature:
    """The shared directions of one distribution, and the conventions they were measured with."""

    reference: Float[Tensor, "k d_model"]
    """Variant C: the top k eigenvectors of the mean projector; signs are arbitrary."""
    direction_references: Float[Tensor, "k d_model"]
    """Variant B: row j is the top eigenvector of the mean of v_j v_j^T, so rows need not be orthogonal."""
    eigenvalues: Float[Tensor, " d_model"]
    """Eigenvalues of the mean projector, largest first, in [0, 1]; the first k average to the mean overlap of the
    fitted samples."""
    k: int
    """Number of directions per sample."""
    center: bool
    """Whether each sample's mean row was subtracted first."""
    side: Side
    """Which singular vectors; for "left", `d_model` reads as the number of rows."""
    n_samples: int
    """Number of fitted samples."""
    kept: Float[Tensor, "kept k d_model"]
    """Directions of a few fitted samples, for comparisons pair by pair (variant A)."""

    @property
    def pairwise_overlap(self) -> Float[Tensor, ""]:
        """Mean overlap of two different fitted samples, in [0, 1]; exact, from the mean projector."""
        checks.count("pairwise_overlap", "a number of fitted samples", self.n_samples, 2)
        share = self.eigenvalues.double().square().sum() / self.k
        return in_dtype(mean_overlap(share, self.n_samples, 1.0), self.eigenvalues.dtype)

    @property
    def pairwise_cosines(self) -> Float[Tensor, " k"]:
        """Variant A: mean |<v_j(p), v_j(q)>| over pairs of different kept samples, in [0, 1]."""
        return pairwise_alignment(self.kept)

    @takes_arrays
    def score(self, activations: Float[Tensor, "sample row col"]) -> SignatureScores:
        """Measure overlap and alignment of new samples by the signature's own conventions.

        Args:
            activations: One matrix per sample, of the fitted width; any number of rows, unless side is "left".

        Returns:
            What `score_directions` returns.
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
        """
        directions = found.directions
        self._check_fits("score_directions", directions)
        exact = directions.double()
        overlap = (exact @ self.reference.double().mT).square().sum(dim=(1, 2)) / self.k
        alignment = (exact * self.direction_references.double()).sum(dim=2).abs()
        return SignatureScores(
            overlap=in_dtype(overlap.clamp_max(1.0), directions.dtype),
            alignment=in_dtype(alignment.clamp_max(1.0), directions.dtype),
            swap_ratio=found.swap_ratio,
            tied=found.tied,
        )

    @takes_arrays
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
        """
        directions = found.directions
        self._check_fits("pairwise_directions", directions)
        cosines = torch.einsum("pjd,qjd->pjq", directions.double(), self.kept.double()).abs()
        return in_dtype(cosines.mean(dim=2).clamp_max(1.0), directions.dtype)

    @takes_arrays
    def alignment(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, "sample k"]:
        """Measure how far each direction agrees with its reference (variant B).

        Args:
            activations: As for `score`, which computes all scores at once.

        Returns:
            |<v_j, r_j>| in [0, 1].
        """
        return self.score(activations).alignment

    @takes_arrays
    def overlap(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far each sample's subspace agrees with the reference (variant C).

        Args:
            activations: As for `score`, which computes all scores at once.

        Returns:
            ||V R^T||_F^2 / k in [0, 1].
        """
        return self.score(activations).overlap

    @takes_arrays
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
        checks.activations(who, "directions", directions, "sample k dim")
        checks.same_length(who, ("directions", "in the signature"), directions.shape[1], self.k)
        dims = self.reference.shape[1]
        checks.same_length(who, ("dimensions", "in the signature"), directions.shape[2], dims)

    def __repr__(self) -> str:
        shares = ", ".join(f"{value:.3f}" for value in self.eigenvalues[: self.k].tolist())
        convention = f"k={self.k}, center={self.center}, side={self.side!r}"
        return f"SpectralSignature({convention}, n_samples={self.n_samples}, eigenvalues=[{shares}, ...])"
