"""The spectral signature as a detector: one number per sample."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes.signature.fit import fit_signature
from probes.signature.fitted import SpectralSignature
from probes.spectra import Side

Variant = Literal["pairwise", "alignment", "overlap"]
"""Which agreement is looked at: variants A, B and C of the signature's score."""


@dataclass(frozen=True, eq=False, repr=False)
class SignatureDetector:
    """A fitted signature, and which of its scores counts."""

    signature: SpectralSignature
    """The shared directions, with their conventions."""
    variant: Variant
    """ "pairwise" (A), "alignment" (B) or "overlap" (C)."""

    @takes_arrays
    def score(self, activations: Float[Tensor, "sample row col"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: 1 - overlap, or 1 - the mean over directions of the alignment or of the pairwise |cos|.

        Args:
            activations: One matrix per sample, of the fitted width.

        Returns:
            Numbers in [0, 1], dimensionless, dtype of the input; larger is further out.
        """
        if self.variant == "overlap":
            return self.signature.ood_score(activations)
        measure = self.signature.alignment if self.variant == "alignment" else self.signature.pairwise
        return 1.0 - measure(activations).mean(dim=1)

    def __repr__(self) -> str:
        return f"SignatureDetector({self.variant!r}, {self.signature!r})"


@takes_arrays
def fit_signature_detector(
    activations: Float[Tensor, "sample row col"] | Iterable[Tensor],
    *,
    variant: Variant = "overlap",
    k: int = 2,
    center: bool = False,
    side: Side = "right",
) -> SignatureDetector:
    """Fit a spectral signature and read one number per sample from it.

    Formula: see `SignatureDetector.score`; the variants differ where v_1 and v_2 swap, which "overlap" ignores.

    Args:
        activations: One matrix per sample, rows = positions; one tensor, or batches of it.
        variant: Which agreement counts.
        k: Number of directions.
        center: Subtract each sample's mean row first.
        side: "right" for directions in d_model, "left" in the rows' space.

    Returns:
        A detector; numbers in [0, 1], larger is further out.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440; all three formulas are our choice.

    Example:
        >>> import torch
        >>> noise = torch.randn(64, 12, 8, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_signature_detector(noise + 5 * torch.eye(8)[0], k=1)
        >>> assert detector.score(noise).mean() > 0.5
    """
    checks.option("fit_signature_detector", "variant", variant, ("pairwise", "alignment", "overlap"))
    return SignatureDetector(fit_signature(activations, k=k, center=center, side=side), variant)
