"""The spectral conventions of a measurement: every choice that decides what a signature is."""

from dataclasses import dataclass, replace

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
    k_asked: int | None = None
    """How many directions were asked for, where no matrix has as many."""

    def __post_init__(self) -> None:
        positions_of(self.tokens, tokens=self.layout)  # a role that the layout lacks is refused before anything runs

    def within(self, n_positions: int, width: int) -> "Conventions":
        """Lower k to what a matrix of these conventions has.

        Args:
            n_positions: Of a sequence, whatever their role.
            width: Of the residual stream.

        Returns:
            The same conventions where k directions exist.

        Example:
            >>> Conventions(k=3).within(12, 2).describe()
            'all tokens, uncentred, right singular vectors, k = 2 (3 asked for, no more exist)'
        """
        rows = len(range(n_positions)[positions_of(self.tokens, tokens=self.layout)])
        most = min(rows, width)
        return replace(self, k=most, k_asked=self.k) if 1 <= most < self.k else self

    def of_prompts(self, n_points: int, width: int) -> "Conventions":
        """Lower k to what the matrices of prompts have.

        Args:
            n_points: Of the shortest prompt.
            width: Of the residual stream.

        Returns:
            As `within`.
        """
        return self.within(n_points * (2 if self.layout in ("interleaved", "separate") else 1), width)

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
        fewer = "" if self.k_asked is None else f" ({self.k_asked} asked for, no more exist)"
        return f"{self.tokens} tokens, {centred}, {self.side} singular vectors, k = {self.k}{fewer}"
