"""Every detector that reads hidden states, fitted on in-distribution prompts while a network is surveyed."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.errors import InputError
from icl_interp.measure.detectors.own import Detector, fit_own, score_own
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.survey import FIT
from icl_interp.models.architecture import ResidualSite
from probes._core.results import short_repr
from probes.ood import (
    GramFitter,
    fit_estimator,
    fit_gmm,
    fit_kde,
    fit_mahalanobis,
    fit_nearest_neighbors,
    fit_null_space,
    fit_pca_residual,
)
from probes.spectra import LeadingDirections

Pooling = Literal["last", "mean"]
"""How one prompt's positions become one vector: the last one, which has seen the whole prompt, or their mean."""

PAIRWISE, BY_DIRECTION, OVERLAP = "signature A (pairs)", "signature B (directions)", "signature C (overlap)"
NULL_SPACE = "null space of the read-out"
_MATRICES, _NORMALISED = "Gram ranges", "kNN, normalised"
_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Fitting:
    """What a detector is fitted to."""

    features: Float[Tensor, "sample d_model"]
    read_out: Float[Tensor, "d_out d_model"] | None
    no_read_out: str
    seed: int

    @property
    def k(self) -> int:
        """Neighbours."""
        return min(_NEIGHBOURS, len(self.features))


_FITS: Mapping[str, Callable[[_Fitting], Any] | None] = {
    PAIRWISE: None,
    BY_DIRECTION: None,
    OVERLAP: None,
    "Mahalanobis": lambda to: fit_mahalanobis(to.features),
    "PCA residual": lambda to: fit_pca_residual(to.features),
    NULL_SPACE: lambda to: _fit_null_space(to),
    "kNN": lambda to: fit_nearest_neighbors(to.features, k=to.k, seed=to.seed),
    _NORMALISED: lambda to: fit_nearest_neighbors(to.features, k=to.k, normalize=True, seed=to.seed),
    _MATRICES: None,
    "kernel density": lambda to: fit_kde(to.features, seed=to.seed),
    "Gaussian mixture": lambda to: fit_gmm(to.features, seed=to.seed),
    "isolation forest": lambda to: fit_estimator(to.features, _forest(to.seed), seed=to.seed),
}
"""Detectors that read the residual stream, in the order of tables, and how those that take one vector per prompt are
fitted; the others are made while prompts stream by."""
HIDDEN_DETECTORS = tuple(_FITS)

OWN_ENTRY = "the network's answer is an entry of its stream"
"""Why our families without a read-out have no null space of it."""
_KEPT = 64  # as many fit prompts as a signature keeps for variant A


def pooled(rows: Float[Tensor, "sample row d_model"], pooling: Pooling) -> Float[Tensor, "sample d_model"]:
    """Turn a prompt's positions into one vector."""
    _check_pooling(pooling)
    return rows[:, -1].clone() if pooling == "last" else rows.mean(1)  # a view would keep all positions


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the detectors say of one network's prompts."""

    scores: Mapping[str, Mapping[str, Tensor]]
    """By detector and family."""
    left_out: Mapping[str, str]
    """Detectors that could not be fitted, with the reason."""
    blind_to_scale: tuple[str, ...]
    """Families whose vectors differ in length from the fitted ones, which normalised neighbours cannot see."""
    own: tuple[str, ...]
    """Names of the user's detectors."""

    __repr__ = short_repr


class DetectorWatch:
    """What a survey shows in passing, kept for detectors: one vector per prompt, and what needs whole matrices.

    Memory: one vector for each prompt, and the directions of a few.
    """

    def __init__(
        self,
        site: ResidualSite,
        conventions: Conventions,
        *,
        pooling: Pooling = "last",
        read_out: Float[Tensor, "d_out d_model"] | None = None,
        own: Mapping[str, Detector] | None = None,
        no_read_out: str = OWN_ENTRY,
        seed: int = 0,
    ) -> None:
        """Prepare for one network."""
        self._no_read_out = no_read_out
        self._site, self._conventions, self._pooling = site, conventions, pooling
        self._read_out, self._seed = read_out, seed
        self._own: Mapping[str, Detector] = own or {}
        self._fitted: dict[str, Any] = {}
        self._fit_rows: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._gram_fitter: GramFitter | None = GramFitter()
        self._gram: Any = None
        self._vectors: dict[str, list[Tensor]] = {}
        self._by_batch: dict[str, dict[str, list[Tensor]]] = {PAIRWISE: {}, _MATRICES: {}}
        self._left_out: dict[str, str] = {}
        self._blind_to_scale: list[str] = []

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        """Take what the survey just read."""
        rows = self._conventions.rows(batch.activations[self._site.hook]).cpu()
        directions = found[self._site.label].directions.double().cpu()
        self._vectors.setdefault(label, []).append(pooled(rows, self._pooling))
        fitter = self._gram_fitter
        if label == FIT:
            self._kept.append(directions[: max(0, _KEPT - sum(map(len, self._kept)))])
            if fitter is not None:
                self._gram_fitter = self._try(_MATRICES, partial(_updated, fitter, rows))
            if any(detector.takes == "activations" for detector in self._own.values()):
                self._fit_rows.append(rows)  # whole, since nobody knows what theirs reads
            return
        if fitter is not None:
            self._gram, self._gram_fitter = self._try(_MATRICES, fitter.fit), None
        if self._fit_rows:
            self._fit_own("activations", torch.cat(self._fit_rows))
            self._fit_rows = []
        if self._gram is not None and rows.shape[1] != self._gram.n_rows:
            self._gram, self._by_batch[_MATRICES] = None, {}
            self._left_out[_MATRICES] = f"{label} has {rows.shape[1]} positions, in distribution it is another number"
        cosines = torch.einsum("pjd,qjd->pqj", directions, torch.cat(self._kept)).abs()
        self._by_batch[PAIRWISE].setdefault(label, []).append(1 - cosines.mean((1, 2)))
        if self._gram is not None:
            self._by_batch[_MATRICES].setdefault(label, []).append(self._gram.score(rows))
        for name, fitted in self._fitted.items():
            self._by_batch.setdefault(name, {}).setdefault(label, []).append(score_own(name, fitted, rows))

    def seen(self) -> Seen:
        """Fit the detectors that take vectors and score every family."""
        return Seen(self._scores(), self._left_out, tuple(self._blind_to_scale), tuple(self._own))

    def _scores(self) -> dict[str, dict[str, Tensor]]:
        features = torch.cat(self._vectors[FIT])
        families = {label: torch.cat(parts) for label, parts in self._vectors.items() if label != FIT}
        found = {
            name: {label: torch.cat(parts).double() for label, parts in by_label.items()}
            for name, by_label in self._by_batch.items()
            if by_label
        }
        fitting = _Fitting(features, self._read_out, self._no_read_out, self._seed)
        for name, fit in _FITS.items():
            detector = None if fit is None else self._try(name, partial(fit, fitting))
            if detector is not None:
                found[name] = self._score(name, detector, families)
        self._fitted = {}
        self._fit_own("features", features)
        for name, fitted in self._fitted.items():
            scores = score_own(name, fitted, torch.cat(list(families.values())))
            found[name] = _split(scores, families)
        return found

    def _fit_own(self, takes: str, inside: Tensor) -> None:
        for name, detector in self._own.items():
            if detector.takes != takes:
                continue
            found = fit_own(name, detector, inside)
            if isinstance(found, str):
                self._left_out[name] = found
            else:
                self._fitted[name] = found

    def _try(self, name: str, fit: Callable[[], Any]) -> Any:
        # What cannot be fitted to these prompts is said, and the rest goes on.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a mixture of few prompts may not converge: still a score
                return fit()
        except ValueError as error:
            self._left_out[name] = str(error)
            return None

    def _score(self, name: str, detector: Any, families: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if name == _NORMALISED:  # one family at a time, since it warns of those whose lengths are others
            return {label: self._score_warned(detector, vectors, label) for label, vectors in families.items()}
        return _split(detector.score(torch.cat(list(families.values()))).double(), families)

    def _score_warned(self, detector: Any, vectors: Tensor, label: str) -> Tensor:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            scores: Tensor = detector.score(vectors).double()
        if caught:
            self._blind_to_scale.append(label)
        return scores


def _split(scores: Tensor, families: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = torch.split(scores, [len(vectors) for vectors in families.values()])
    return dict(zip(families, parts, strict=True))


def _updated(fitter: GramFitter, rows: Tensor) -> GramFitter:
    fitter.update(rows)
    return fitter


def _fit_null_space(to: _Fitting) -> Any:
    if to.read_out is None:
        raise InputError(to.no_read_out)
    return fit_null_space(to.read_out)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=50, random_state=seed)


def _check_pooling(pooling: str) -> None:
    if pooling not in get_args(Pooling):
        raise InputError(f"pooled needs pooling to be one of {', '.join(get_args(Pooling))}, got {pooling!r}.")
