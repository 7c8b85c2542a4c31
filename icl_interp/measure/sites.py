"""The sites of the residual stream that a study reads, and the conventions by which it reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import collect, stream
from icl_interp.models.architecture import READ_IN, Architecture, Layout, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Positions, Role, answering_positions, check_role, positions_of
from icl_interp.prompts import Prompts
from probes.spectra import LeadingDirections, Side, Spectrum, leading_directions


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a prompt's activations become directions.

    The matrix is one prompt's positions x d_model. The body of Hill et al. (2025) was not available to us, so each
    entry is an option and each default our choice.
    """

    tokens: Role = "all"
    """Positions that are rows: "all", or one of the layout's roles."""
    center: bool = False
    """Whether each prompt's mean row is subtracted first."""
    side: Side = "right"
    """Singular vectors in d_model ("right") or over positions ("left")."""
    k: int = 2
    """Number of directions."""
    layout: Layout = "interleaved"
    """How the model lays examples out, which decides where the roles are."""
    k_asked: int | None = None
    """Number of directions that was asked for, if no matrix has as many."""

    def __post_init__(self) -> None:
        check_role(self.tokens, tokens=self.layout)

    def within(self, n_positions: int, width: int) -> "Conventions":
        """Lower k to what a matrix of these conventions has."""
        rows = len(torch.arange(n_positions)[self._chosen(n_positions)])
        most = min(rows, width)
        return replace(self, k=most, k_asked=self.k) if 1 <= most < self.k else self

    def of_prompts(self, n_points: int, architecture: Architecture) -> "Conventions":
        """Lower k to what the matrices of prompts have."""
        return self.within(architecture.positions_for(n_points), architecture.narrowest)

    def rows(self, activations: Float[Tensor, "sample pos d_model"]) -> Float[Tensor, "sample row d_model"]:
        """Select the positions that count."""
        return activations[:, self._chosen(activations.shape[1])]

    def _chosen(self, n_positions: int) -> Positions:
        return positions_of(self.tokens, tokens=self.layout, n_positions=n_positions)

    def directions(
        self, activations: Float[Tensor, "sample pos d_model"], *, spectrum: Spectrum = "full"
    ) -> LeadingDirections:
        """Find the leading directions of each prompt."""
        return leading_directions(self.rows(activations), self.k, center=self.center, side=self.side, spectrum=spectrum)

    def describe(self) -> str:
        """Name the conventions, for figures."""
        centred = "centred" if self.center else "uncentred"
        fewer = "" if self.k_asked is None else f" ({self.k_asked} asked for, no more exist)"
        return f"{self.tokens} tokens, {centred}, {self.side} singular vectors, k = {self.k}{fewer}"


def blocks_among(sites: Sequence[ResidualSite]) -> tuple[ResidualSite, ...]:
    """Leave the read-in out, a linear map of one token at a time."""
    return tuple(site for site in sites if site.label != READ_IN)


def spanned_by(k: int) -> str:
    """Say that directions are all there are."""
    return "1 direction spans it" if k == 1 else f"{k} directions span it"


def answering_features(
    model: HookedModel, prompts: Prompts, sites: Sequence[ResidualSite], *, batch_size: int = 64
) -> dict[str, Tensor]:
    """Collect the residual stream at the tokens that ask: x tokens, or the query of joint tokens.

    A query-only model reads one sequence for each point, so that entry k is its query token after k examples.
    """
    if not sites:
        return {}
    read = _query_tokens if model.cfg.query_only else _x_tokens
    parts = list(read(model, prompts, list(dict.fromkeys(site.hook for site in sites)), batch_size))
    return {site.label: torch.cat([part[site.hook] for part in parts]) for site in sites}


def _x_tokens(model: HookedModel, prompts: Prompts, hooks: list[str], batch_size: int) -> Iterator[dict[str, Tensor]]:
    for batch in stream(model, prompts, hooks, batch_size=batch_size):  # only x tokens are kept, half of what passes by
        yield {hook: _asking(model, batch.activations[hook])[:, 1:].cpu() for hook in hooks}


def _query_tokens(
    model: HookedModel, prompts: Prompts, hooks: list[str], batch_size: int
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(prompts), batch_size):
        part = prompts[start : start + batch_size]
        at_points = [collect(model, part, hooks, batch_size=batch_size, point=k) for k in range(1, prompts.n_points)]
        yield {hook: torch.stack([_asking(model, found[hook])[:, -1] for found in at_points], dim=1) for hook in hooks}


def _asking(model: HookedModel, activations: Tensor) -> Tensor:
    return activations[:, answering_positions(model.cfg.tokens, activations.shape[1])]
