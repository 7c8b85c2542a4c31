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
from icl_interp.measure.sites import Conventions, ResidualSite
from icl_interp.measure.study.survey import FIT
from probes.ood import (
    fit_estimator,
    fit_gmm,
    fit_gram,
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
_MATRICES, _NORMALISED = "Gram ranges", "kNN, normalised"
_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Fitting:
    """What a detector is fitted to."""

    features: Float[Tensor, "sample d_model"]
    read_out: Float[Tensor, "d_out d_model"] | None
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
    "null space of the read-out": lambda to: _fit_null_space(to.read_out),
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

_KEPT = 64  # as many fit prompts as a signature keeps for variant A


def pooled(rows: Float[Tensor, "sample row d_model"], pooling: Pooling) -> Float[Tensor, "sample d_model"]:
    """Turn a prompt's positions into one vector."""
    _check_pooling(pooling)
    return rows[:, -1] if pooling == "last" else rows.mean(1)


class DetectorWatch:
    """What a survey shows in passing, kept for detectors: one vector a prompt, and what needs whole matrices.

    Memory: the fit prompts' matrices at one site until the first scored family, and one vector for each prompt.
    """

    def __init__(
        self,
        site: ResidualSite,
        conventions: Conventions,
        *,
        pooling: Pooling = "last",
        read_out: Float[Tensor, "d_out d_model"] | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare for one network."""
        self._site, self._conventions, self._pooling = site, conventions, pooling
        self._read_out, self._seed = read_out, seed
        self._fit_rows: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._gram: Any = None
        self._vectors: dict[str, list[Tensor]] = {}
        self._by_batch: dict[str, dict[str, list[Tensor]]] = {PAIRWISE: {}, _MATRICES: {}}
        self.left_out: dict[str, str] = {}
        """Detectors that could not be fitted, with the reason."""
        self.blind_to_scale: list[str] = []
        """Families whose vectors differ in length from the fitted ones, which normalised neighbours cannot see."""

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        """Take what the survey just read."""
        rows = self._conventions.rows(batch.activations[self._site.hook]).cpu()
        directions = found[self._site.label].directions.double().cpu()
        self._vectors.setdefault(label, []).append(pooled(rows, self._pooling))
        if label == FIT:
            self._fit_rows.append(rows)
            self._kept.append(directions[: max(0, _KEPT - sum(map(len, self._kept)))])
            return
        if self._fit_rows:
            self._gram = self._try(_MATRICES, lambda: fit_gram(list(self._fit_rows)))
            self._fit_rows = []
        cosines = torch.einsum("pjd,qjd->pqj", directions, torch.cat(self._kept)).abs()
        self._by_batch[PAIRWISE].setdefault(label, []).append(1 - cosines.mean((1, 2)))
        if self._gram is not None:
            self._by_batch[_MATRICES].setdefault(label, []).append(self._gram.score(rows))

    def scores(self) -> dict[str, dict[str, Tensor]]:
        """Fit the detectors that take vectors and score every family."""
        features = torch.cat(self._vectors[FIT])
        families = {label: torch.cat(parts) for label, parts in self._vectors.items() if label != FIT}
        found = {
            name: {label: torch.cat(parts).double() for label, parts in by_label.items()}
            for name, by_label in self._by_batch.items()
            if by_label
        }
        fitting = _Fitting(features, self._read_out, self._seed)
        for name, fit in _FITS.items():
            detector = None if fit is None else self._try(name, partial(fit, fitting))
            if detector is not None:
                found[name] = self._score(name, detector, families)
        return found

    def _try(self, name: str, fit: Callable[[], Any]) -> Any:
        # What cannot be fitted to these prompts is said, and the rest goes on.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a mixture of few prompts may not converge: still a score
                return fit()
        except ValueError as error:
            self.left_out[name] = str(error)
            return None

    def _score(self, name: str, detector: Any, families: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if name == _NORMALISED:  # one family at a time, since it warns of those whose lengths are others
            return {label: self._score_warned(detector, vectors, label) for label, vectors in families.items()}
        scores = detector.score(torch.cat(list(families.values()))).double()
        return dict(zip(families, scores.split([len(vectors) for vectors in families.values()]), strict=True))

    def _score_warned(self, detector: Any, vectors: Tensor, label: str) -> Tensor:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            scores: Tensor = detector.score(vectors).double()
        if caught:
            self.blind_to_scale.append(label)
        return scores


def _fit_null_space(read_out: Tensor | None) -> Any:
    if read_out is None:
        raise InputError("the network's answer is an entry of its stream")
    return fit_null_space(read_out)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=50, random_state=seed)


def _check_pooling(pooling: str) -> None:
    if pooling not in get_args(Pooling):
        raise InputError(f"pooled needs pooling to be one of {', '.join(get_args(Pooling))}, got {pooling!r}.")
