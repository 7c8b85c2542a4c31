"""One network read on every family: predictions and spectra, streamed in batches, reduced to numbers per prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import Batch, stream
from icl_interp.errors import InputError
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.families import Families, draw_families
from icl_interp.measure.sites import Conventions
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts.select import Shifts
from probes._core.results import short_repr
from probes.pairwise import overlap_between, overlap_within, pairwise_alignment
from probes.signature import SignatureFitter, SignatureScores, SpectralSignature
from probes.spectra import LeadingDirections

FIT = "fit prompts"
"""What a watch is told while the fit prompts are read."""
Watch = Callable[[str, Batch, Mapping[str, LeadingDirections]], None]
"""Shown each batch with its family's label, or `FIT`, and the directions by site label."""

Reading = Callable[[str], Iterator[Batch]]
"""Reads a family by its label, or `FIT`, batch by batch: by a network, or from activations that somebody collected."""

_PAIR_SAMPLE = 64
"""Prompts whose directions are kept for pairwise |cos|; the mean overlap comes exactly from the mean projectors."""


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """Numbers of one family at one site of one network."""

    scores: SignatureScores
    """Scores of each prompt, against the network's own in-distribution reference."""
    spectrum: Float[Tensor, " rank"]
    """Mean singular values over prompts, largest first, in activation units."""
    spectrum_std: Float[Tensor, " rank"]
    """Their standard deviation over prompts."""
    leading_value: Float[Tensor, " sample"]
    """s1 of each prompt."""
    overlap_within: float
    """Mean overlap of the leading subspaces of two different prompts of the family, in [0, 1]."""
    overlap_with_id: float
    """Mean overlap of a prompt of the family with a fit prompt. Scored prompts share their random numbers across
    families, fit prompts share none, so no pair is alike for that reason."""
    cosines_within: Float[Tensor, " k"]
    """Mean |cos| of matched directions of two different prompts, on a fixed subsample."""
    cosines_with_id: Float[Tensor, " k"]
    """The same with fit prompts."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class FamilyRecord:
    """What one network does on one family."""

    predictions: Float[Tensor, "sample point"]
    """Predictions of the family's labels, in units of y."""
    sites: Mapping[str, SiteRecord]
    """By site label."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class NetworkSurvey:
    """What one network does on every family."""

    signatures: Mapping[str, SpectralSignature]
    """By site label, fitted on in-distribution prompts that are not scored."""
    families: Mapping[str, FamilyRecord]
    """By family label."""

    __repr__ = short_repr


class _DirectionSums:
    """Running sums over directions at one site; memory does not grow with the prompts."""

    def __init__(self) -> None:
        self.moment: Tensor | float = 0.0
        self.samples: list[Tensor] = []
        self.n_prompts = 0

    def add(self, found: LeadingDirections) -> None:
        flat = found.directions.flatten(0, 1).double()
        self.moment = self.moment + flat.T @ flat
        self.samples.append(found.directions[: max(0, _PAIR_SAMPLE - self.n_prompts)].clone())
        self.n_prompts += len(found.directions)

    def projector(self) -> Tensor:
        return torch.as_tensor(self.moment) / self.n_prompts

    def sample(self) -> Tensor:
        return torch.cat(self.samples)


class _SiteSums(_DirectionSums):
    """What one family adds: spectra and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[SignatureScores] = []
        self.leading: list[Tensor] = []
        self.spectrum: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add_scored(self, found: LeadingDirections, scores: SignatureScores) -> None:
        self.add(found)
        values = found.singular_values.double()
        self.scores.append(scores)
        self.leading.append(values[:, 0].clone())
        self.spectrum = self.spectrum + values.sum(0)
        self.squares = self.squares + values.square().sum(0)

    def record(self, reference: _DirectionSums, k: int) -> SiteRecord:
        mean = torch.as_tensor(self.spectrum) / self.n_prompts
        variance = (torch.as_tensor(self.squares) / self.n_prompts - mean.square()).clamp(min=0)
        own, other = self.projector(), reference.projector()
        return SiteRecord(
            scores=_join(self.scores),
            spectrum=mean.float().cpu(),
            spectrum_std=variance.sqrt().float().cpu(),
            leading_value=torch.cat(self.leading).cpu(),
            overlap_within=float(overlap_within(own, n_samples=self.n_prompts, k=k)),
            overlap_with_id=float(overlap_between(own, other, k=k)),
            cosines_within=pairwise_alignment(self.sample()).cpu(),
            cosines_with_id=pairwise_alignment(self.sample(), reference.sample()).cpu(),
        )


def together(watches: Sequence[Watch]) -> Watch:
    """Show the same batches to several watches."""

    def watch(label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        for each in watches:
            each(label, batch, found)

    return watch


def survey_network(
    model: HookedModel,
    families: Families,
    sites: Sequence[ResidualSite],
    *,
    conventions: Conventions | None = None,
    batch_size: int = 128,
    on_batch: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> NetworkSurvey:
    """Fit a network's signatures on the fit prompts, then read every family once."""

    def read(label: str) -> Iterator[Batch]:
        prompts = families.fit if label == FIT else families.by_label[label].prompts
        return stream(model, prompts, [site.hook for site in sites], batch_size=batch_size)

    return survey_batches(read, families, sites, conventions=conventions, on_batch=on_batch, watch=watch)


def survey_batches(
    read: Reading,
    families: Families,
    sites: Sequence[ResidualSite],
    *,
    conventions: Conventions | None = None,
    on_batch: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> NetworkSurvey:
    """Fit signatures on the fit prompts, then read every family once, wherever the batches come from."""
    if len(families.fit) < 2:
        raise InputError(f"a survey compares prompts and needs at least 2 a family, got {len(families.fit)}.")
    conventions = conventions or Conventions()
    tick = on_batch or (lambda _: None)
    look = watch or (lambda _label, _batch, _found: None)
    signatures, reference = _fit(read, sites, conventions, tick, look)
    records: dict[str, FamilyRecord] = {}
    for label in families.by_label:
        predictions, sums = _read(read, label, sites, signatures, conventions, tick, look)
        records[label] = FamilyRecord(
            predictions=predictions,
            sites={name: sums[name].record(reference[name], conventions.k) for name in sums},
        )
    return NetworkSurvey(signatures=signatures, families=records)


def _fit(
    read: Reading,
    sites: Sequence[ResidualSite],
    conventions: Conventions,
    tick: Callable[[int], None],
    look: Watch,
) -> tuple[dict[str, SpectralSignature], dict[str, _DirectionSums]]:
    fitters = {
        site.label: SignatureFitter(k=conventions.k, center=conventions.center, side=conventions.side) for site in sites
    }
    sums = {site.label: _DirectionSums() for site in sites}
    for batch in read(FIT):
        found = {site.label: conventions.directions(batch.activations[site.hook]) for site in sites}
        for label, directions in found.items():
            fitters[label].update_directions(directions.directions)
            sums[label].add(directions)
        look(FIT, batch, found)
        tick(len(batch.prompts))
    return {label: fitter.fit() for label, fitter in fitters.items()}, sums


def _read(
    read: Reading,
    family: str,
    sites: Sequence[ResidualSite],
    signatures: Mapping[str, SpectralSignature],
    conventions: Conventions,
    tick: Callable[[int], None],
    look: Watch,
) -> tuple[Tensor, dict[str, _SiteSums]]:
    sums = {site.label: _SiteSums() for site in sites}
    predictions = []
    for batch in read(family):
        predictions.append(batch.predictions)
        found = {site.label: conventions.directions(batch.activations[site.hook]) for site in sites}
        for label, directions in found.items():
            sums[label].add_scored(directions, signatures[label].score_directions(directions))
        look(family, batch, found)
        tick(len(batch.prompts))
    return torch.cat(predictions), sums


def _join(parts: Sequence[SignatureScores]) -> SignatureScores:
    return SignatureScores(
        overlap=torch.cat([part.overlap for part in parts]).cpu(),
        alignment=torch.cat([part.alignment for part in parts]).cpu(),
        swap_ratio=torch.cat([part.swap_ratio for part in parts]).cpu(),
        tied=torch.cat([part.tied for part in parts]).cpu(),
    )


_StartWatch = Callable[[HookedModel, ResidualSite], Watch]
"""Prepares to watch one network at the site."""


@dataclass(frozen=True, slots=True, repr=False)
class SiteSurvey:
    """What a model and its untrained networks do on every family, seen at one site."""

    site: ResidualSite
    """Where."""
    families: Families
    """The prompts."""
    networks: tuple[NetworkSurvey, ...]
    """Of the model, then of each untrained network."""

    def __repr__(self) -> str:
        return f"SiteSurvey({self.site.hook}, {len(self.families.by_label)} families, {len(self.networks)} networks)"


def survey_site(
    model: HookedModel,
    task: Task,
    conventions: Conventions,
    *,
    shifts: Shifts | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
    start_watch: _StartWatch | None = None,
) -> SiteSurvey:
    """Draw the families of a task, and read a model and its untrained networks on them at one site."""
    where = model.cfg.site(site, layer)
    families = draw_families(
        task, shifts=shifts, n_prompts=n_prompts, n_points=n_points, max_points=model.cfg.max_points, seed=seed
    )
    surveys = []
    for network in [model, *untrained_networks(model, n_controls, seed=seed)]:
        watch = None if start_watch is None else start_watch(network, where)
        surveys.append(
            survey_network(network, families, [where], conventions=conventions, on_batch=on_batch, watch=watch)
        )
    return SiteSurvey(where, families, tuple(surveys))
