"""How a signature comes about over training checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core.checks import _check_count, _check_same_length
from probes.signature.fitted import SpectralSignature
from probes.subspaces import cosine_similarity, subspace_overlap


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
    _check_count(who, "a number of checkpoints", len(signatures), 1)
    fitted = list(signatures.values())
    final = fitted[-1]
    for each in fitted:
        dims = each.reference.shape[1], final.reference.shape[1]
        _check_same_length(who, ("dimensions at one checkpoint", "at the last"), *dims)
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
