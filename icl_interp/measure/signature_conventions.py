"""Signatures by every convention, from the passes that one survey makes anyway: where each is strongest, by ranks."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy import stats
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.measure.atlas import Ranks, ranks_of, ranks_of_aurocs
from icl_interp.measure.detectors.scores import Scores, mean_auroc_replicates
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.survey import FIT, NetworkSurvey
from icl_interp.models.architecture import ResidualSite, Tokens
from icl_interp.models.layout import Positions, positions_of
from probes.signature import SignatureFitter, SpectralSignature
from probes.spectra import LeadingDirections, leading_directions

VARIANTS = ("overlap", "directions", "pairs")
"""Agreement with what prompts in distribution share: the subspace, and its directions one by one; and, without a
reference, of the directions with those of single prompts in distribution."""
_PROMPTS = 64
"""Prompts per family that are read by every convention: one batch (ours)."""
_DIGITS = 6
"""Decimals of a score; more are rounding of float32 directions."""
_WEAK = 1e-3
"""Below this share of s1 a left vector is decomposed by itself instead of following from the right one."""

Networks = tuple[float, ...]
"""The trained model first, then each untrained network."""
Key = tuple[ResidualSite, Conventions]


class Record(BaseModel):
    """What is kept in the experiment's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(Record):
    """The signature at one site, averaged over shifts; of 1 - score, so that larger is further out."""

    site: str
    contrast: Networks  # mean score in distribution minus its mean over shifts
    within: Networks  # Spearman with the trained model's log error, mean inside families
    pooled: Networks  # the same over all prompts at once
    auroc: Networks  # mean over shifts

    def control(self, measure: str) -> float:
        """Average a measure over the untrained networks."""
        untrained: Networks = getattr(self, measure)[1:]
        return sum(untrained) / len(untrained)

    def beyond(self, measure: str, chance: float = 0.0) -> float:
        """Say how far the trained model goes beyond its controls: beyond their mean, and beyond chance."""
        return float(getattr(self, measure)[0]) - max(chance, self.control(measure))


class ConventionFound(Record):
    """The signature by one convention: an atlas of its own, over all sites and shifts."""

    tokens: str  # which positions of a prompt are rows; or which token, where prompts are the rows
    centred: bool  # whether each prompt's mean row was subtracted
    side: str  # "right" or "left" singular vectors
    variant: str  # of `VARIANTS`
    p_value: float  # rank of the model's largest |z| among all networks
    site: str  # of the strongest cell: the largest |z|, like the next four
    shift: str
    value: float  # AUROC of 1 - score; where prompts are rows, agreement in distribution minus that under the shift
    untrained: float  # its mean over untrained networks
    z: float  # above 0, shifted prompts leave the signature more than in untrained networks
    last: Reading  # after the last block, averaged over shifts; of prompts as rows there is a contrast alone

    @property
    def name(self) -> tuple[str, str, str, str]:
        return self.tokens, "centred" if self.centred else "uncentred", self.side, self.variant


def _all_conventions(layout: Tokens) -> list[Conventions]:
    """List the conventions that are compared, the default first: tokens, centring, side; k = 2.

    >>> len(_all_conventions("interleaved")), _all_conventions("interleaved")[0] == Conventions()
    (12, True)
    """
    return [
        Conventions(tokens=tokens, center=center, side=side, layout=layout)
        for tokens in ("all", "x", "y")
        for center in (False, True)
        for side in ("right", "left")
    ]


class Seen(NamedTuple):
    """What a watch saw of one network."""

    sites: tuple[ResidualSite, ...]
    scores: Mapping[tuple[ResidualSite, Conventions, str], Scores]
    """In [0, 1], larger is more alike, by site, conventions and variant, then by family."""
    rows: Mapping[tuple[ResidualSite, str, bool, str], list[float]]
    """Contrast with each shift of the stacked tokens, by site, role, centring and variant."""


class SignatureWatch:
    """Scores the first prompts at every site by every convention; and stacks the last x and y tokens of all of them.

    Of the stacked tokens each family makes one matrix, whose rows are prompts: what the abstract may mean as well.
    """

    def __init__(self, sites: Sequence[ResidualSite], layout: Tokens) -> None:
        self.sites = tuple(sites)
        self._conventions = _all_conventions(layout)
        keys = [(site, how) for site in sites for how in self._conventions]
        self._fitters = {key: SignatureFitter(k=2, center=key[1].center, side=key[1].side) for key in keys}
        self._fitted: dict[Key, SpectralSignature] = {}
        self._seen: dict[str, int] = defaultdict(int)
        self._scores: Any = defaultdict(lambda: defaultdict(list))
        self._last: Any = defaultdict(lambda: defaultdict(list))
        self._ends: list[tuple[str, Positions]] = [(role, positions_of(role, tokens=layout)) for role in ("x", "y")]

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        if self._seen[label] >= _PROMPTS:
            return
        self._seen[label] += len(batch.prompts)
        for site in self.sites:
            activations = batch.activations[site.hook]
            for role, positions in self._ends:
                self._last[site, role][label].append(activations[:, positions][:, -1].double().cpu())
            right = found[site.label]  # the survey takes the default
            for how in self._conventions:  # each right one before its left
                if how.side == "left":
                    self._score(label, (site, how), _left_of(right, activations, how))
                else:
                    right = right if how == self._conventions[0] else _directions(activations, how)
                    self._score(label, (site, how), right)

    def _score(self, label: str, key: Key, own: LeadingDirections) -> None:
        if label == FIT:
            self._fitters[key].update_directions(own.directions)
            return
        if key not in self._fitted:
            self._fitted[key] = self._fitters[key].fit()
        scores, pairs = self._fitted[key].score_directions(own), self._fitted[key].pairwise_directions(own)
        by_variant = scores.overlap, scores.alignment.mean(1), pairs.mean(1)
        for variant, values in zip(VARIANTS, by_variant, strict=True):
            self._scores[(*key, variant)][label].append(values.double().cpu())

    def seen(self) -> Seen:
        scores = {
            key: {label: torch.cat(parts).round(decimals=_DIGITS) for label, parts in of.items()}
            for key, of in self._scores.items()
        }
        rows = {
            (site, role, centred, variant): contrasts
            for (site, role), rows in self._last.items()
            for centred in (False, True)
            for variant, contrasts in zip(VARIANTS, _row_contrasts(rows, centred=centred), strict=False)
        }
        return Seen(self.sites, scores, rows)


def _directions(activations: Tensor, how: Conventions) -> LeadingDirections:
    return leading_directions(how.rows(activations), how.k, center=how.center, side=how.side, spectrum="leading")


def _left_of(right: LeadingDirections, activations: Tensor, how: Conventions) -> LeadingDirections:
    """Find the left directions from the right ones: u = H v / s."""
    values = right.singular_values[..., : how.k]
    if bool((values[..., -1] <= _WEAK * values[..., 0]).any()):
        return _directions(activations, how)
    rows = how.rows(activations).double()
    rows = rows - rows.mean(1, keepdim=True) if how.center else rows
    left = right.directions.double() @ rows.mT
    left = left / left.norm(dim=-1, keepdim=True)
    return replace(right, directions=left.to(right.directions))


def _row_contrasts(rows: Mapping[str, Sequence[Tensor]], *, centred: bool) -> tuple[list[float], list[float]]:
    # How each family's two leading right singular vectors agree with those of the prompts that were fitted.
    stacked = torch.stack([torch.cat(list(rows[label])) for label in (FIT, *(name for name in rows if name != FIT))])
    reference, *found = leading_directions(stacked, 2, center=centred, spectrum="leading").directions
    cosines = torch.stack(found) @ reference.mT  # in distribution first
    agreements = cosines.square().sum((1, 2)) / cosines.shape[1], cosines.diagonal(dim1=1, dim2=2).abs().mean(1)
    overlap, directions = ((agreement[0] - agreement[1:]).tolist() for agreement in agreements)
    return overlap, directions


def conventions(seen: Sequence[Seen], errors: Scores) -> Iterator[ConventionFound]:
    """Judge every convention by an atlas of its own, the model first; errors are the model's.

    Of stacked tokens there is a contrast alone: single prompts have no score.
    """
    scores, rows = [of.scores for of in seen], [of.rows for of in seen]
    sites, n = seen[0].sites, len(next(iter(next(iter(scores[0].values())).values())))
    last = sites[-2] if len(sites) > 1 else sites[-1]  # before the final norm
    first = {label: values[:n] for label, values in errors.items()}
    shifts = [label for label in errors if label != IN_DISTRIBUTION]
    for how, variant in dict.fromkeys(key[1:] for key in scores[0]):
        aurocs = np.array([[_aurocs(of[site, how, variant], shifts) for site in sites] for of in scores])
        averages = _averages(last.label, [of[last, how, variant] for of in scores], first)
        asked = {"tokens": how.tokens, "centred": how.center, "side": how.side, "variant": variant}
        yield _judged(aurocs, ranks_of_aurocs(aurocs, n), sites, shifts, averages, **asked)
    undefined = (math.nan,) * len(seen)
    for role, centred, variant in dict.fromkeys(key[1:] for key in rows[0]):
        values = np.array([[of[site, role, centred, variant] for site in sites] for of in rows])
        contrast = tuple(float(x) for x in values[:, sites.index(last)].mean(1))
        averages = Reading(site=last.label, contrast=contrast, within=undefined, pooled=undefined, auroc=undefined)
        asked = {"tokens": f"last {role}, prompts as rows", "centred": centred, "side": "right", "variant": variant}
        yield _judged(values, ranks_of(values, _least_spread), sites, shifts, averages, **asked)


def _least_spread(means: np.ndarray) -> np.ndarray:
    # Whole families agree almost exactly in untrained networks; 0.01 is little anyway (ours).
    return np.full_like(means, 0.01)


def _judged(
    values: np.ndarray, ranks: Ranks, sites: Sequence[ResidualSite], shifts: Sequence[str], last: Reading, **asked: Any
) -> ConventionFound:
    deviations = ranks.deviations[0]
    place = np.unravel_index(int(np.nan_to_num(np.abs(deviations), nan=-1.0).argmax()), deviations.shape)
    site, shift = map(int, place)
    return ConventionFound(
        **asked, p_value=ranks.p_value, site=sites[site].label, shift=shifts[shift], z=float(deviations[place]),
        value=float(values[0, site, shift]), untrained=float(values[1:, site, shift].mean()), last=last,
    )  # fmt: skip


def _aurocs(scores: Scores, shifts: Sequence[str]) -> np.ndarray:
    """Give the AUROC of 1 - score under each shift."""
    inside = np.sort(scores[IN_DISTRIBUTION].numpy())
    outside = np.stack([scores[shift].numpy() for shift in shifts])
    below, equal = (np.searchsorted(inside, outside, side=side) for side in ("left", "right"))
    return np.asarray(1 - (below + equal).mean(1) / (2 * len(inside)))


def readings(surveys: Sequence[NetworkSurvey], sites: Sequence[ResidualSite], errors: Scores) -> Iterator[Reading]:
    """Average the signature of the survey, its conventions the defaults, at every site."""
    for site in sites:
        of = [{label: r.sites[site.label].scores.overlap.double() for label, r in s.families.items()} for s in surveys]
        yield _averages(site.label, of, errors)


def _averages(site: str, networks: Sequence[Scores], errors: Scores) -> Reading:
    outside = [{label: 1 - values for label, values in of.items()} for of in networks]
    correlations = [correlate(of, errors) for of in outside]
    return Reading(
        site=site,
        contrast=tuple(_contrast(of) for of in networks),
        within=tuple(found[0] for found in correlations),
        pooled=tuple(found[1] for found in correlations),
        auroc=tuple(mean_auroc(of) for of in outside),
    )


def _contrast(scores: Mapping[str, Tensor]) -> float:
    means = [float(values.mean()) for label, values in scores.items() if label != IN_DISTRIBUTION]
    return float(scores[IN_DISTRIBUTION].mean()) - sum(means) / len(means)


def mean_auroc(scores: Scores) -> float:
    """Average the AUROC over shifts."""
    return mean_auroc_replicates(scores, IN_DISTRIBUTION, seed=0, n_bootstrap=1)[0]


def correlate(scores: Scores, errors: Scores) -> tuple[float, float, dict[str, float]]:
    """Correlate scores with errors by rank; thousands of times, so without the bootstrap of `probes.correlation`.

    Gives the mean inside families, over all prompts at once, and inside each family; NaN where undefined.

    >>> score = {"a": torch.arange(5.0), "b": torch.arange(5.0) + 9}
    >>> correlate(score, {"a": -torch.arange(5.0), "b": 9 - torch.arange(5.0)})[0]
    -1.0
    """
    table = np.stack([values.double().numpy() for values in scores.values()])
    wrong = np.stack([errors[label].double().numpy() for label in scores])
    within = _rank_correlations(table, wrong)
    defined = within[np.isfinite(within)]
    pooled = float(_rank_correlations(table.reshape(1, -1), wrong.reshape(1, -1))[0])
    mean = float(defined.mean()) if len(defined) else math.nan
    return mean, pooled, dict(zip(scores, within.tolist(), strict=True))


def _rank_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ranks = [stats.rankdata(rows, axis=1) for rows in (a, b)]
    x, y = (rows - rows.mean(1, keepdims=True) for rows in ranks)
    lengths = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), lengths, out=np.full(len(x), math.nan), where=lengths > 0)
