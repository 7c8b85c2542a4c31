"""Detectors of the user's own, beside the built-in ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError, InputTypeError, users_code
from icl_interp.registry import Registry, check_callable, name_of
from probes._core.results import short_repr

_Takes = Literal["features", "activations"]
Fit = Callable[[Tensor], Any]
"""Gives an object with `score`, as those of `probes.ood`."""


@dataclass(frozen=True, slots=True)
class Detector:
    """How a detector of your own is fitted.

    Raises:
        InputTypeError: If `fit` cannot be called with one argument.
        InputError: If `takes` is another word.

    Example:
        >>> from probes.ood import fit_mahalanobis
        >>> Detector(fit_mahalanobis).takes
        'features'
    """

    fit: Fit
    """Function of the in-distribution activations at one site, in float32. It returns an object whose `score` gives one
    finite number per prompt for activations of other prompts, larger for less familiar ones, as in `probes.ood`."""
    takes: _Takes = "features"
    """"features" [sample d_model], one vector per prompt, or "activations" [sample pos d_model]."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        check_callable("a Detector", "a function", self.fit, self.takes)
        if self.takes not in get_args(_Takes):
            raise InputError(f"a Detector takes {' or '.join(get_args(_Takes))}, got {self.takes!r}; pick one.")


DETECTORS = Registry[Detector](__name__, "DETECTORS")
"""Detectors that join the built-in ones in every study and detector report."""


def register_detector(
    fit: Fit, *, name: str | None = None, takes: Literal["features", "activations"] = "features"
) -> Fit:
    """Let every study and detector report use a detector of your own, also under `--import`.

    `detectors={"mine": fit}` does so in a single call.

    Args:
        fit: As in `Detector`. A function of the same module and name replaces the one before, so that a notebook's cell
            can run again.
        name: Name in tables and files; None takes the function's own name.
        takes: As in `Detector`.

    Returns:
        The same function, so that this works as a decorator.

    Raises:
        InputTypeError: If it cannot be called with one argument.
        InputError: If it has no name, or one that another has.

    Example:
        >>> from probes.ood import fit_mahalanobis
        >>> @register_detector
        ... def strictly_shrunk(features):
        ...     return fit_mahalanobis(features, shrinkage=0.5)
        >>> DETECTORS
        Registry(1: strictly_shrunk)
        >>> del DETECTORS["strictly_shrunk"]  # for the examples that follow
    """
    found, own = name_of("register_detector", fit, name), Detector(fit, takes)
    DETECTORS.add(found, own, who="register_detector", what="name that no other detector has", code=_code)
    return fit


def _code(detector: Detector) -> object:
    return detector.fit


def own_detectors(given: Mapping[str, Fit | Detector] | None, taken: tuple[str, ...]) -> dict[str, Detector]:
    """Put those of one call beside those that are registered."""
    own = {name: fit if isinstance(fit, Detector) else _named(name, fit) for name, fit in (given or {}).items()}
    twice = [name for name in own if DETECTORS.get(name, own[name]) != own[name]]
    if wrong := [*twice, *(name for name in (*DETECTORS, *own) if name in taken)]:
        raise InputError(f"detectors need names that no other detector has, got {wrong[0]!r}; rename yours.")
    return {**DETECTORS, **own}


def _named(name: str, fit: object) -> Detector:
    check_callable(f"the detector {name!r}", "a function", fit, "features")
    return Detector(fit)  # type: ignore[arg-type]  # the check above


def fit_own(name: str, detector: Detector, inside: Tensor) -> Any:
    """Fit one to what in-distribution prompts left; if it refuses them, the reason as a string."""
    with users_code(f"the detector {name!r}", passing=(InputError,)):
        try:
            fitted = detector.fit(inside)
        except InputError as refusal:
            return str(refusal)
    if not callable(getattr(fitted, "score", None)):
        raise InputTypeError(
            f"the detector {name!r} needs fit to return an object with a method score, got {type(fitted).__name__}; "
            "see probes.ood."
        )
    return fitted


def score_own(name: str, fitted: Any, found: Tensor) -> Float[Tensor, " sample"]:
    """Score prompts by one."""
    with users_code(f"the detector {name!r}", passing=(InputError,)):
        said: object = fitted.score(found)
    scores = torch.as_tensor(said) if isinstance(said, np.ndarray) else said
    need = f"the detector {name!r} needs score to return one finite number per prompt, [{len(found)}]"
    if not isinstance(scores, Tensor):
        raise InputTypeError(f"{need}, got {type(said).__name__}.")
    if scores.shape != (len(found),) or scores.is_complex():
        raise InputError(f"{need}, got {list(scores.shape)} in {scores.dtype}.")
    if not bool(scores.isfinite().all()):
        raise InputError(f"{need}, got {int((~scores.isfinite()).sum())} that are NaN or infinite.")
    return scores.detach().double().cpu()
