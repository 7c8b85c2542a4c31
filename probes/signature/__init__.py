"""The spectral signature: the leading directions that the samples of one distribution share.

The claim under test (Hill, Eyre and Creager 2025, arXiv 2507.09440) is that in-distribution prompts share
the top two singular vectors of their residual streams, and others do not. Only the abstract was available
to us, so every convention is an option and is stored in the result.
"""

from probes.pairwise import pairwise_alignment
from probes.signature.fit import SignatureEmergence, SignatureFitter, emergence_of, fit_signature, signature_emergence
from probes.signature.fitted import SignatureScores, SpectralSignature

__all__ = [
    "SignatureEmergence", "SignatureFitter", "SignatureScores", "SpectralSignature", "emergence_of",
    "fit_signature", "pairwise_alignment", "signature_emergence",
]  # fmt: skip
