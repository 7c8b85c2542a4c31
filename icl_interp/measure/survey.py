"""One network read on every family: predictions and spectra, streamed in batches, reduced to numbers per prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import stream
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.families import Families, Family
from icl_interp.measure.sites import ResidualSite
from icl_interp.models.transformer import HookedICLTransformer
from probes.pairwise import pairwise_alignment
from probes.signature import SignatureFitter, SignatureScores, SpectralSignature
from probes.spectra import LeadingDirections

__all__ = ["FamilyRecord", "NetworkSurvey", "SiteRecord", "survey_network"]

PAIR_SAMPLE = 64
"""Prompts whose directions are kept for pairwise |cos|; the mean overlap comes exactly from the mean projectors."""


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """What one family looks like at one site of one network."""

    scores: SignatureScores
    """Of each prompt, against the network's own in-distribution reference."""
    spectrum: Float[Tensor, " rank"]
    """Mean singular values over prompts, largest first, in activation units."""
    spectrum_std: Float[Tensor, " rank"]
    """Their standard deviation over prompts."""
    overlap_within: float
    """Mean overlap of the leading subspaces of two different prompts of the family, in [0, 1]."""
    overlap_with_id: float
    """Mean overlap of a prompt of the family with an in-distribution one; the former, for that family itself."""
    cosines_within: Float[Tensor, " k"]
    """Mean |cos| of matched directions of two different prompts, on a fixed subsample."""
    cosines_with_id: Float[Tensor, " k"]
    """The same with in-distribution prompts."""


@dataclass(frozen=True, slots=True)
class FamilyRecord:
    """What one network does on one family."""

    predictions: Float[Tensor, "sample point"]
    """Of the family's labels, in units of y."""
    sites: Mapping[str, SiteRecord]
    """By site label."""


@dataclass(frozen=True, slots=True)
class NetworkSurvey:
    """What one network does on every family."""

    signatures: Mapping[str, SpectralSignature]
    """By site label, fitted on in-distribution prompts that are not scored."""
    families: Mapping[str, FamilyRecord]
    """By family label."""


class _SiteSums:
    """Running sums over the prompts of one family at one site; memory does not grow with the prompts."""

    def __init__(self) -> None:
        self.scores: list[SignatureScores] = []
        self.spectra: list[Tensor] = []
        self.squares: list[Tensor] = []
        self.moment: list[Tensor] = []
        self.samples: list[Tensor] = []
        self.n_prompts = 0

    def add(self, found: LeadingDirections, scores: SignatureScores) -> None:
        flat = found.directions.flatten(0, 1).double()
        values = found.singular_values.double()
        self.scores.append(scores)
        _accumulate(self.moment, flat.T @ flat)
        _accumulate(self.spectra, values.sum(0))
        _accumulate(self.squares, values.square().sum(0))
        self.samples.append(found.directions[: max(0, PAIR_SAMPLE - self.n_prompts)])
        self.n_prompts += len(values)

    def record(self, reference: "_SiteSums", k: int) -> SiteRecord:
        mean = self.spectra[0] / self.n_prompts
        variance = (self.squares[0] / self.n_prompts - mean.square()).clamp(min=0)
        own, other = self.moment[0] / self.n_prompts, reference.moment[0] / reference.n_prompts
        sample = torch.cat(self.samples)
        same = self is reference
        within = self._overlap_within(own, k)
        cosines = pairwise_alignment(sample)
        return SiteRecord(
            scores=_join(self.scores),
            spectrum=mean.float(),
            spectrum_std=variance.sqrt().float(),
            overlap_within=within,
            overlap_with_id=within if same else float((own * other).sum() / k),
            cosines_within=cosines,
            cosines_with_id=cosines if same else pairwise_alignment(sample, torch.cat(reference.samples)),
        )

    def _overlap_within(self, projector: Tensor, k: int) -> float:
        # tr(P^2) counts each prompt with itself, which contributes k; probes.pairwise states the formula.
        n = self.n_prompts
        return float((n * n * projector.square().sum() - n * k) / (n * (n - 1) * k))


def survey_network(
    model: HookedICLTransformer,
    families: Families,
    sites: Sequence[ResidualSite],
    *,
    conventions: Conventions | None = None,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> NetworkSurvey:
    """Fit a network's signatures on the fit prompts, then read every family once.

    Args:
        model: The network.
        families: At least two prompts each.
        sites: Where to look.
        conventions: How activations become directions; None takes the defaults.
        batch_size: Prompts a forward pass.
        on_batch: Called with the number of prompts that were just read, for progress.

    Returns:
        Predictions of each prompt, scores for each prompt and site, and mean spectra.

    Raises:
        ValueError: If there are fewer than two prompts a family.
    """
    if len(families.fit) < 2:
        raise ValueError(f"a survey compares prompts and needs at least 2 a family, got {len(families.fit)}.")
    conventions = conventions or Conventions()
    tick = on_batch or (lambda _: None)
    signatures = _fit(model, families, sites, conventions, batch_size, tick)
    records: dict[str, FamilyRecord] = {}
    reference: dict[str, _SiteSums] = {}
    for label, family in families.by_label.items():
        predictions, sums = _read(model, family, sites, signatures, conventions, batch_size, tick)
        reference = reference or sums  # the first family is in distribution
        records[label] = FamilyRecord(
            predictions=predictions,
            sites={name: sums[name].record(reference[name], conventions.k) for name in sums},
        )
    return NetworkSurvey(signatures=signatures, families=records)


def _fit(
    model: HookedICLTransformer,
    families: Families,
    sites: Sequence[ResidualSite],
    conventions: Conventions,
    batch_size: int,
    tick: Callable[[int], None],
) -> dict[str, SpectralSignature]:
    fitters = {
        site.label: SignatureFitter(k=conventions.k, center=conventions.center, side=conventions.side) for site in sites
    }
    for batch in stream(model, families.fit, [site.hook for site in sites], batch_size=batch_size):
        for site in sites:
            found = conventions.directions(batch.activations[site.hook])
            fitters[site.label].update_directions(found.directions)
        tick(len(batch.prompts))
    return {label: fitter.fit() for label, fitter in fitters.items()}


def _read(
    model: HookedICLTransformer,
    family: Family,
    sites: Sequence[ResidualSite],
    signatures: Mapping[str, SpectralSignature],
    conventions: Conventions,
    batch_size: int,
    tick: Callable[[int], None],
) -> tuple[Tensor, dict[str, _SiteSums]]:
    sums = {site.label: _SiteSums() for site in sites}
    predictions = []
    for batch in stream(model, family.prompts, [site.hook for site in sites], batch_size=batch_size):
        predictions.append(batch.predictions)
        for site in sites:
            found = conventions.directions(batch.activations[site.hook])
            sums[site.label].add(found, signatures[site.label].score_directions(found))
        tick(len(batch.prompts))
    return torch.cat(predictions), sums


def _accumulate(held: list[Tensor], term: Tensor) -> None:
    held[:] = [held[0] + term] if held else [term]


def _join(parts: Sequence[SignatureScores]) -> SignatureScores:
    return SignatureScores(
        overlap=torch.cat([part.overlap for part in parts]).cpu(),
        alignment=torch.cat([part.alignment for part in parts]).cpu(),
        swap_ratio=torch.cat([part.swap_ratio for part in parts]).cpu(),
        tied=torch.cat([part.tied for part in parts]).cpu(),
    )
