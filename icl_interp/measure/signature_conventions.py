"""Signatures by every convention, from the passes that one survey makes anyway."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy import stats
from torch import Tensor

from icl_interp.activations import Batch
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

Networks = tuple[float, ...]
"""The trained model first, then each untrained network."""
Key = tuple[ResidualSite, Conventions]


class Record(BaseModel):
    """What is kept in the experiment's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(Record):
    """The signature by one convention at one site."""

    site: str
    tokens: str  # which positions of a prompt are rows; or which token, where prompts are the rows
    centred: bool  # whether each prompt's mean row was subtracted
    side: str  # "right" or "left" singular vectors
    variant: str  # of `VARIANTS`
    contrast: Networks  # mean score in distribution minus its mean over shifts
    # NaN, like all that follow, where single prompts have no score.
    within: Networks  # Spearman of 1 - score with the trained model's log error, mean inside families
    pooled: Networks  # the same over all prompts at once
    auroc: Networks  # of 1 - score, mean over shifts

    def control(self, measure: str) -> float:
        """Average a measure over the untrained networks."""
        untrained: Networks = getattr(self, measure)[1:]
        return sum(untrained) / len(untrained)

    def beyond(self, measure: str, chance: float = 0.0) -> float:
        """Say how far the trained model goes beyond its controls: beyond their mean, and beyond chance."""
        return float(getattr(self, measure)[0]) - max(chance, self.control(measure))


class SharedDirections(Record):
    """How far leading directions agree at one site."""

    site: str
    inside: dict[str, Networks]  # "v1", "v2": mean |cos| of two prompts in distribution; "overlap" of their subspaces
    shifted: dict[str, Networks]  # the same of a shifted prompt with one in distribution, mean over shifts

    def gap(self, name: str, *, trained: bool) -> float:
        """How much more alike prompts in distribution are than shifted ones, in the model or in untrained networks."""
        own, *others = (a - b for a, b in zip(self.inside[name], self.shifted[name], strict=True))
        return own if trained else sum(others) / len(others)


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


class SignatureWatch:
    """Scores every prompt at every site by every convention; and stacks the last x and y tokens of all prompts.

    Of the stacked tokens each family makes one matrix, whose rows are prompts: what the abstract may mean as well.
    """

    def __init__(self, sites: Sequence[ResidualSite], layout: Tokens) -> None:
        self._default, *others = _all_conventions(layout)  # the survey takes the default
        self._keys = [(site, how) for site in sites for how in (self._default, *others)]
        self._fitters = {key: SignatureFitter(k=2, center=key[1].center, side=key[1].side) for key in self._keys}
        self._fitted: dict[Key, SpectralSignature] = {}
        self._scores: Any = defaultdict(lambda: defaultdict(list))
        self._last: Any = defaultdict(lambda: defaultdict(list))
        self._ends: list[tuple[str, Positions]] = [(role, positions_of(role, tokens=layout)) for role in ("x", "y")]

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        for site in dict(self._keys):
            for role, positions in self._ends:
                last = batch.activations[site.hook][:, positions][:, -1]
                self._last[site, role][label].append(last.double().cpu())
        for site, how in self._keys:
            own = found[site.label] if how == self._default else _directions(batch.activations[site.hook], how)
            if label == FIT:
                self._fitters[site, how].update_directions(own.directions)
                continue
            if (site, how) not in self._fitted:
                self._fitted[site, how] = self._fitters[site, how].fit()
            signature = self._fitted[site, how]
            scores, pairs = signature.score_directions(own), signature.pairwise_directions(own)
            by_variant = scores.overlap, scores.alignment.mean(1), pairs.mean(1)
            for variant, values in zip(VARIANTS, by_variant, strict=True):
                self._scores[site, how, variant][label].append(values.double().cpu())

    def scores(self) -> dict[tuple[ResidualSite, Conventions, str], Scores]:
        """Scores in [0, 1], larger is more alike, by site, conventions and variant, then by family."""
        return {key: {label: torch.cat(parts) for label, parts in of.items()} for key, of in self._scores.items()}

    def prompt_rows(self) -> dict[tuple[str, str, bool, str], float]:
        """Contrasts of the stacked tokens by site, role, centring and variant."""
        return {
            (site.label, role, centred, variant): _row_contrast(rows, variant, centred=centred)
            for (site, role), rows in self._last.items()
            for centred in (False, True)
            for variant in VARIANTS[:2]
        }


def _directions(activations: Tensor, how: Conventions) -> LeadingDirections:
    return leading_directions(how.rows(activations), how.k, center=how.center, side=how.side, spectrum="leading")


def _row_contrast(rows: Mapping[str, Sequence[Tensor]], variant: str, *, centred: bool) -> float:
    # How each family's two leading right singular vectors agree with those of the prompts that were fitted.
    found = {
        label: leading_directions(torch.cat(list(parts)), 2, center=centred, spectrum="leading").directions
        for label, parts in rows.items()
    }
    reference = found.pop(FIT)
    cosines = {label: directions @ reference.mT for label, directions in found.items()}
    if variant == "overlap":
        return _contrast({label: c.square().sum() / len(c) for label, c in cosines.items()})
    return _contrast({label: c.diagonal().abs().mean() for label, c in cosines.items()})


def _contrast(scores: Mapping[str, Tensor]) -> float:
    means = [float(values.mean()) for label, values in scores.items() if label != IN_DISTRIBUTION]
    return float(scores[IN_DISTRIBUTION].mean()) - sum(means) / len(means)


def readings(watches: Sequence[SignatureWatch], errors: Scores) -> Iterator[Reading]:
    """Turn what was seen of the model and of untrained networks into contrast, correlations and detection.

    Errors are the model's. Of stacked tokens there is a contrast alone: single prompts have no score.
    """
    scores, rows = [watch.scores() for watch in watches], [watch.prompt_rows() for watch in watches]
    for site, how, variant in scores[0]:
        networks = [found[site, how, variant] for found in scores]
        outside = [{label: 1 - values for label, values in of.items()} for of in networks]
        correlations = [correlate(of, errors) for of in outside]
        yield Reading(
            site=site.label, tokens=how.tokens, centred=how.center, side=how.side, variant=variant,
            contrast=tuple(_contrast(of) for of in networks),
            within=tuple(found[0] for found in correlations),
            pooled=tuple(found[1] for found in correlations),
            auroc=tuple(mean_auroc(of) for of in outside),
        )  # fmt: skip
    undefined = (math.nan,) * len(watches)
    for at, role, centred, variant in rows[0]:
        contrast = tuple(found[at, role, centred, variant] for found in rows)
        yield Reading(
            site=at, tokens=f"last {role}, prompts as rows", centred=centred, side="right", variant=variant,
            contrast=contrast, within=undefined, pooled=undefined, auroc=undefined,
        )  # fmt: skip


def shared_directions(surveys: Sequence[NetworkSurvey], site: ResidualSite) -> SharedDirections:
    """Read from the surveys of a model and of untrained networks how far directions agree at one site."""
    inside: dict[str, Networks] = {"v1": (), "v2": (), "overlap": ()}
    shifted = dict(inside)
    for survey in surveys:
        records = [record.sites[site.label] for record in survey.families.values()]  # in distribution first
        cosines = [[float(value) for value in record.cosines_with_id] for record in records]
        agreements = [*zip(*cosines, strict=True), [record.overlap_with_id for record in records]]
        for name, (own, *others) in zip(inside, agreements, strict=True):
            inside[name] += (own,)
            shifted[name] += (sum(others) / len(others) if others else math.nan,)
    return SharedDirections(site=site.label, inside=inside, shifted=shifted)


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
