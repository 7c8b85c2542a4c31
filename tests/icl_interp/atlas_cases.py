"""Surveys of networks that nobody ran: overlaps are drawn, and a finding is planted in single cells."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from icl_interp.measure.atlas import Again, Atlas, NetworkScores, atlas_of
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.survey import FamilyRecord, NetworkSurvey, SiteRecord
from icl_interp.models.architecture import FINAL_NORM, ResidualSite
from icl_interp.tasks.linear_regression import LinearRegression
from probes.signature import SignatureScores, SpectralSignature

SHIFTS = ("x_scale=3", "w_scale=1/2", "label_noise=1")
BLOCKS = tuple(ResidualSite(f"block {i}", f"blocks.{i}.hook_resid_post") for i in range(2))
SITES = (*BLOCKS, ResidualSite(FINAL_NORM, "ln_final.hook_normalized"))
WIDTH, N_PROMPTS = 8, 48
Planted = Mapping[tuple[str, str], float]
"""By site and shift: by how much the model's logits of overlaps fall there."""


def families(n_prompts: int = N_PROMPTS) -> Families:
    return draw_families(LinearRegression(3, n_points=6), shifts=SHIFTS, n_prompts=n_prompts)


def _overlaps(planted: Planted, network: int, stream: int) -> dict[str, dict[str, Tensor]]:
    """Each network reacts to each shift in its own way, the same on all prompts; the first one by the plant as well."""
    own, prompts = np.random.default_rng([7, network]), np.random.default_rng([stream, network])
    found: dict[str, dict[str, Tensor]] = {label: {} for label in (IN_DISTRIBUTION, *SHIFTS)}
    for site in SITES:
        found[IN_DISTRIBUTION][site.label] = torch.from_numpy(prompts.normal(size=N_PROMPTS)).sigmoid().float()
        for shift in SHIFTS:
            fall = 0.5 + 0.2 * own.normal() + (planted.get((site.label, shift), 0.0) if network == 0 else 0.0)
            moved = torch.from_numpy(prompts.normal(size=N_PROMPTS) - fall)
            found[shift][site.label] = moved.sigmoid().float()
    return found


def _record(overlap: Tensor) -> SiteRecord:
    n, zero = len(overlap), torch.zeros(2)
    scores = SignatureScores(overlap, torch.ones(n, 2), torch.zeros(n), torch.zeros(n, dtype=torch.bool))
    return SiteRecord(scores, zero, zero, torch.ones(n), 0.5, 0.5, zero, zero)


def survey(overlaps: Mapping[str, Mapping[str, Tensor]], width: int = WIDTH) -> NetworkSurvey:
    basis = torch.eye(width)[:2]
    signature = SpectralSignature(basis, basis, torch.ones(width), 2, False, "right", N_PROMPTS, basis[None])
    predictions = torch.randn(N_PROMPTS, 6, generator=torch.Generator().manual_seed(0))
    return NetworkSurvey(
        signatures={site.label: signature for site in SITES},
        families={
            label: FamilyRecord(predictions, {site: _record(overlap) for site, overlap in sites.items()})
            for label, sites in overlaps.items()
        },
    )


def surveys(planted: Planted, n_controls: int) -> list[NetworkSurvey]:
    return [survey(_overlaps(planted, network, 1)) for network in range(1 + n_controls)]


def on_other_prompts(planted: Planted, n_controls: int) -> Again:
    def again(sites: Sequence[ResidualSite], shifts: Sequence[str]) -> list[NetworkScores]:
        drawn = [_overlaps(planted, network, 2) for network in range(1 + n_controls)]
        return [
            {site.label: {label: 1 - by[label][site.label].double().numpy() for label in (IN_DISTRIBUTION, *shifts)}
             for site in sites}
            for by in drawn
        ]  # fmt: skip

    return again


def atlas(planted: Planted, n_controls: int = 20, *, again: Planted | None = None) -> Atlas:
    """Judge planted networks; `again` is what other prompts show, nothing for no confirmation."""
    other = None if again is None else on_other_prompts(again, n_controls)
    return atlas_of(surveys(planted, n_controls), families(), SITES, Conventions(), again=other)
