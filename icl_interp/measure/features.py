"""What probes read: the residual stream where a model is about to answer, at every point."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from icl_interp.activations import collect, stream
from icl_interp.measure.sites import ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import positions_of
from icl_interp.prompts import Prompts

__all__ = ["answering_features"]


def answering_features(
    model: HookedModel, prompts: Prompts, sites: Sequence[ResidualSite], *, batch_size: int = 64
) -> dict[str, Tensor]:
    """Collect the residual stream at the tokens that ask: x tokens, or the query of joint tokens.

    A query-only model reads one sequence for each point, so that entry k is its query token after k pairs.

    Args:
        model: The network.
        prompts: Of at least 2 points.
        sites: Where to look.
        batch_size: Prompts a forward pass.

    Returns:
        By site label, [sample point d_model] on the CPU, without the first point, which has no pair before it.
    """
    read = _query_tokens if model.cfg.query_only else _x_tokens
    parts = list(read(model, prompts, list(dict.fromkeys(site.hook for site in sites)), batch_size))
    return {site.label: torch.cat([part[site.hook] for part in parts]) for site in sites}


def _x_tokens(model: HookedModel, prompts: Prompts, hooks: list[str], batch_size: int) -> Iterator[dict[str, Tensor]]:
    asking = positions_of("x", tokens=model.cfg.tokens)
    for batch in stream(model, prompts, hooks, batch_size=batch_size):  # only x tokens are kept, half of what passes by
        yield {hook: batch.activations[hook][:, asking][:, 1:].cpu() for hook in hooks}


def _query_tokens(
    model: HookedModel, prompts: Prompts, hooks: list[str], batch_size: int
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(prompts), batch_size):
        part = prompts[start : start + batch_size]
        at_points = [collect(model, part, hooks, batch_size=batch_size, point=k) for k in range(1, prompts.n_points)]
        yield {hook: torch.stack([found[hook][:, -1] for found in at_points], dim=1) for hook in hooks}
