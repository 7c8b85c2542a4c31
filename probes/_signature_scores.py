"""What a spectral signature says about a sample."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from probes.spectra import SWAP_THRESHOLD


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
        mean_overlap = float(self.overlap.mean())
        return f"SignatureScores(n={len(self.overlap)}, mean overlap={mean_overlap:.3f}, alignment=[{means}])"
