"""What the measures of a study cannot say of a network, in words."""

from icl_interp.measure.conventions import Conventions
from icl_interp.models.config import ModelConfig

__all__ = ["limits_of", "spanned_by"]


def limits_of(config: ModelConfig, conventions: Conventions) -> list[str]:
    """List what does not apply to a network, or is decided before any prompt is read.

    Args:
        config: Of the network.
        conventions: Of the spectral measures.

    Returns:
        One sentence each; none for a deep causal model of some width.

    Example:
        >>> for limit in limits_of(ModelConfig(family="lsa", n_dims=5, n_points=11), Conventions(layout="joint")):
        ...     print(limit)
        A network of one layer has no development along its depth: curves have the read-in and one block.
        A pass answers one point, so spectra are those of the last point's sequence, and probes read the query token.
    """
    width, k = config.d_model, min(conventions.k, config.d_model)
    limits = (
        (
            config.n_layers == 1,
            "A network of one layer has no development along its depth: curves have the read-in and one block.",
        ),
        (
            config.query_only,
            "A pass answers one point, so spectra are those of the last point's sequence, and probes read the query "
            "token.",
        ),
        (
            conventions.side == "right" and k >= width,
            f"The stream is {width} wide and {spanned_by(k)}, so every overlap is 1 and no signature exists.",
        ),
        (
            config.family == "softmax_layer",
            "The block writes one number a token, so beyond the first direction its spectrum is 0 and directions are "
            "arbitrary.",
        ),
        (
            config.init == "zeros",
            "Untrained networks start from zeros and are all alike: they are one control, whatever their number.",
        ),
    )
    return [sentence for applies, sentence in limits if applies]


def spanned_by(k: int) -> str:
    """Say that directions are all there are.

    Args:
        k: How many.

    Returns:
        A clause.
    """
    return "1 direction spans it" if k == 1 else f"{k} directions span it"
