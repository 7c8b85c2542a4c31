"""The spectral conventions of a measurement: every choice that decides what a signature is."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import Tokens
from icl_interp.models.layout import Role, positions_of
from probes.spectra import LeadingDirections, Side, leading_directions

__all__ = ["Conventions"]


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a prompt's activations become directions.

    The matrix is one prompt's positions x d_model. The body of Hill et al. (2025) was not available to us, so each
    entry is an option and each default our choice.
    """

    tokens: Role = "all"
    """Which positions are rows: "all", or one of the layout's roles."""
    center: bool = False
    """Whether each prompt's mean row is subtracted first."""
    side: Side = "right"
    """Singular vectors in d_model ("right") or over positions ("left")."""
    k: int = 2
    """How many directions."""
    layout: Tokens = "interleaved"
    """How the model lays pairs out, which decides where the roles are."""

    def __post_init__(self) -> None:
        positions_of(self.tokens, tokens=self.layout)  # a role that the layout lacks is refused before anything runs

    def rows(self, activations: Float[Tensor, "sample pos d_model"]) -> Float[Tensor, "sample row d_model"]:
        """Select the positions that count.

        Args:
            activations: The residual stream at one site.

        Returns:
            A view of them.
        """
        return activations[:, positions_of(self.tokens, tokens=self.layout)]

    def directions(self, activations: Float[Tensor, "sample pos d_model"]) -> LeadingDirections:
        """Find the leading directions of each prompt.

        Args:
            activations: The residual stream at one site.

        Returns:
            k directions a prompt, with the whole spectrum.
        """
        return leading_directions(self.rows(activations), self.k, center=self.center, side=self.side)

    def describe(self) -> str:
        """Name the conventions, for figures.

        Returns:
            One line.
        """
        centred = "centred" if self.center else "uncentred"
        return f"{self.tokens} tokens, {centred}, {self.side} singular vectors, k = {self.k}"
