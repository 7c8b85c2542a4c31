"""Signatures by every convention from the passes that one survey makes anyway."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.experiments.hill2025.record import Reading
from icl_interp.measure.detectors.scores import Scores, mean_auroc_replicates
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.sites import Conventions, ResidualSite
from icl_interp.measure.study.survey import FIT
from icl_interp.models.config import Tokens
from probes.signature import SignatureFitter, SpectralSignature
from probes.spectra import LeadingDirections, leading_directions

__all__ = ["ConventionWatch", "correlate", "read_conventions"]

VARIANTS = ("overlap", "directions", "pairs")
"""Agreement with what prompts in distribution share: the subspace, and its directions one by one; and, without a
reference, of the directions with those of single prompts in distribution."""

Key = tuple[ResidualSite, Conventions]
_Array = np.ndarray[Any, np.dtype[np.float64]]


def _all_conventions(layout: Tokens) -> list[Conventions]:
    """List the conventions that are compared, the default first."""
    return [
        Conventions(tokens=tokens, center=center, side=side, layout=layout)
        for tokens in ("all", "x", "y")
        for center in (False, True)
        for side in ("right", "left")
    ]


class ConventionWatch:
    """Fits a signature for every site and convention, and scores every family by it."""

    def __init__(self, sites: Sequence[ResidualSite], layout: Tokens) -> None:
        self._default, *others = _all_conventions(layout)
        self._keys: list[Key] = [(site, how) for site in sites for how in (self._default, *others)]
        self._fitters = {key: SignatureFitter(k=2, center=key[1].center, side=key[1].side) for key in self._keys}
        self._fitted: dict[Key, SpectralSignature] = {}
        self._scores: dict[tuple[Key, str], dict[str, list[Tensor]]] = {}

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        """Take what the survey just read."""
        for key in self._keys:
            site, how = key
            own = found[site.label] if how == self._default else _directions(batch.activations[site.hook], how)
            if label == FIT:
                self._fitters[key].update_directions(own.directions)
                continue
            if key not in self._fitted:
                self._fitted[key] = self._fitters[key].fit()
            scores, pairs = self._fitted[key].score_directions(own), self._fitted[key].pairwise_directions(own)
            found_by = scores.overlap, scores.alignment.mean(1), pairs.mean(1)
            for variant, values in zip(VARIANTS, found_by, strict=True):
                self._scores.setdefault((key, variant), {}).setdefault(label, []).append(values.double().cpu())

    def scores(self) -> dict[tuple[Key, str], Scores]:
        """Give what was scored."""
        return {key: {label: torch.cat(parts) for label, parts in found.items()} for key, found in self._scores.items()}


def _directions(activations: Tensor, how: Conventions) -> LeadingDirections:
    return leading_directions(how.rows(activations), how.k, center=how.center, side=how.side, spectrum="leading")


def read_conventions(watches: Sequence[ConventionWatch], errors: Scores) -> tuple[Reading, ...]:
    """Turn scores into contrast, correlations and detection."""
    scores = [watch.scores() for watch in watches]
    return tuple(
        _reading(key, variant, [found[key, variant] for found in scores], errors) for key, variant in scores[0]
    )


def _reading(key: Key, variant: str, networks: Sequence[Scores], errors: Scores) -> Reading:
    site, how = key
    outside = [{label: 1 - values for label, values in scores.items()} for scores in networks]
    correlations = [correlate(scores, errors) for scores in outside]
    return Reading(
        site=site.label,
        tokens=how.tokens,
        centred=how.center,
        side=how.side,
        variant=variant,
        contrast=tuple(_contrast(scores) for scores in networks),
        within=tuple(found[0] for found in correlations),
        pooled=tuple(found[1] for found in correlations),
        auroc=tuple(mean_auroc_replicates(s, IN_DISTRIBUTION, seed=0, n_bootstrap=1)[0] for s in outside),
    )


def _contrast(scores: Scores) -> float:
    means = [float(values.mean()) for label, values in scores.items() if label != IN_DISTRIBUTION]
    return float(scores[IN_DISTRIBUTION].mean()) - sum(means) / len(means)


def correlate(scores: Scores, errors: Scores) -> tuple[float, float, dict[str, float]]:
    """Correlate scores with errors by rank; thousands of times, so without the bootstrap of `probes.correlation`."""
    table = np.stack([values.double().numpy() for values in scores.values()])
    wrong = np.stack([errors[label].double().numpy() for label in scores])
    within = _rank_correlations(table, wrong)
    defined = within[np.isfinite(within)]
    pooled = float(_rank_correlations(table.reshape(1, -1), wrong.reshape(1, -1))[0])
    mean = float(defined.mean()) if len(defined) else math.nan
    return mean, pooled, dict(zip(scores, within.tolist(), strict=True))


def _rank_correlations(a: _Array, b: _Array) -> _Array:
    ranks = [stats.rankdata(rows, axis=1) for rows in (a, b)]
    x, y = (rows - rows.mean(1, keepdims=True) for rows in ranks)
    lengths = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    found: _Array = np.divide((x * y).sum(1), lengths, out=np.full(len(x), math.nan), where=lengths > 0)
    return found
