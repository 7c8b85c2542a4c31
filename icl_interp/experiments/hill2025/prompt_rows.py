"""Signatures of matrices whose rows are prompts, at one token: the other matrix that the abstract may mean."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.experiments.hill2025.record import Reading
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.study.survey import FIT
from icl_interp.models.config import Tokens
from icl_interp.models.layout import positions_of
from probes.spectra import leading_directions

__all__ = ["PromptRowsWatch", "read_prompt_rows"]

VARIANTS = ("overlap", "directions")
ROLES = ("x", "y")

Key = tuple[ResidualSite, str, bool, str]


class PromptRowsWatch:
    """Stacks the last x token, and the last y token, of all prompts of a family: one matrix each, at every site."""

    def __init__(self, sites: Sequence[ResidualSite], layout: Tokens) -> None:
        self._sites, self._layout = sites, layout
        self._rows: dict[tuple[ResidualSite, str], dict[str, list[Tensor]]] = {}

    def __call__(self, label: str, batch: Batch) -> None:
        """Take what the survey just read."""
        for site in self._sites:
            values = batch.activations[site.hook]
            for role in ROLES:
                last = values[:, positions_of(role, tokens=self._layout)][:, -1]  # type: ignore[arg-type]
                self._rows.setdefault((site, role), {}).setdefault(label, []).append(last.double().cpu())

    def contrasts(self) -> dict[Key, float]:
        """Compare each family's two leading right singular vectors with those of the prompts that were fitted.

        Formula: agreement in distribution minus its mean over shifts; agreement is ||V R^T||_F^2 / 2 ("overlap"), or
        the mean of |<v_1, r_1>| and |<v_2, r_2>| ("directions").
        """
        return {
            (site, role, centred, variant): _contrast(rows, variant, centred=centred)
            for (site, role), rows in self._rows.items()
            for centred in (False, True)
            for variant in VARIANTS
        }


def _contrast(rows: Mapping[str, Sequence[Tensor]], variant: str, *, centred: bool) -> float:
    found = {
        label: leading_directions(torch.cat(list(parts)), 2, center=centred, spectrum="leading").directions
        for label, parts in rows.items()
    }
    reference = found.pop(FIT)
    agreements = {label: _agreement(directions, reference, variant) for label, directions in found.items()}
    own = agreements.pop(IN_DISTRIBUTION)
    return own - sum(agreements.values()) / len(agreements)


def _agreement(directions: Tensor, reference: Tensor, variant: str) -> float:
    cosines = directions @ reference.mT
    if variant == "overlap":
        return float(cosines.square().sum()) / len(directions)
    return float(cosines.diagonal().abs().mean())


def read_prompt_rows(watches: Sequence[PromptRowsWatch]) -> tuple[Reading, ...]:
    """Turn stacked tokens into contrasts; single prompts have no score, so nothing else is defined."""
    networks = [watch.contrasts() for watch in watches]
    undefined = (math.nan,) * len(networks)
    return tuple(
        Reading(
            site=site.label,
            tokens=f"last {role}, prompts as rows",
            centred=centred,
            side="right",
            variant=variant,
            contrast=tuple(found[site, role, centred, variant] for found in networks),
            within=undefined,
            pooled=undefined,
            auroc=undefined,
        )
        for site, role, centred, variant in networks[0]
    )
