"""Which number of steps of an algorithm is nearest to each layer of a network?

The result is a heat map of layers by steps, with the best step of each row and how certain it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.callees import check_two, error_cosines, weight_cosines
from probes._core.errors import InputError
from probes._core.ranks import count_chunks
from probes._core.results import cast_like

__all__ = ["Measure", "StepMatches", "match_steps", "match_steps_by_weights"]

Measure = Literal["errors", "spd"]


@dataclass(frozen=True, eq=False, repr=False)
class StepMatches:
    """Which number of steps is nearest to each layer."""

    values: Float[Tensor, "layer step"]
    """Mean over prompts of the measure: the heat map."""
    best: Int64[Tensor, " layer"]
    """Place of the best step in each row; the first of equal ones."""
    best_interval: Int64[Tensor, "layer 2"]
    """Least and largest place that bootstrap resamples of prompts choose, outside the tails."""
    support: Float[Tensor, " layer"]
    """Share of resamples that choose `best`, in [0, 1]."""
    tied: Bool[Tensor, " layer"]
    """Whether another step is as good up to rounding, so that `best` is arbitrary."""
    steps: tuple[int, ...]
    """The number of steps at each place."""
    measure: str
    """What was compared: "errors" (SimE) and "weights" (SimW) are larger for nearer ones, "spd" smaller."""

    @property
    def best_steps(self) -> tuple[int, ...]:
        """The best number of steps of each layer."""
        return tuple(self.steps[place] for place in self.best.tolist())

    def __repr__(self) -> str:
        return f"StepMatches(best_steps={self.best_steps}, measure={self.measure!r})"


@takes_arrays
def match_steps(
    layers: Float[Tensor, "layer batch point"],
    candidates: Float[Tensor, "step batch point"],
    ys: Float[Tensor, "batch point"],
    *,
    steps: Sequence[int] | None = None,
    measure: Measure = "errors",
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> StepMatches:
    """Find the number of steps whose predictions are nearest to each layer's.

    Formula: "errors" argmax_s E cos(layer - y, step - y) (SimE); "spd" argmin_s E mean_k (layer - step)^2. SimE is
    blind to a common factor of the errors, "spd" is not.

    Args:
        layers: Predictions read out of each layer, as by `layer_readouts`; in label units.
        candidates: Predictions after each number of steps, for the same prompts.
        ys: The labels.
        steps: The number of steps at each place, for the result; None counts from 0.
        measure: What is compared.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of resamples inside `best_interval`.

    Returns:
        The heat map in the layers' dtype and the best step of each row.

    Raises:
        InputError: If a measure is undefined in all prompts.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3 and figure 3, for SimE and best-matching steps; the
        interval and "spd" are ours.

    Example:
        >>> ys = torch.zeros(3, 4)
        >>> candidates = torch.randn(5, 3, 4)
        >>> found = match_steps(candidates[[1, 4]], candidates, ys)
        >>> assert found.best_steps == (1, 4) and not found.tied.any()
    """
    who = "match_steps"
    checks.option(who, "measure", measure, get_args(Measure))
    checks.activations(who, "layers", layers, "layer batch point")
    checks.activations(who, "candidates", candidates, "step batch point")
    if measure == "errors":
        values = error_cosines(who, layers, candidates, ys)
    else:
        check_two(who, layers[0], ys, "batch point")
        check_two(who, candidates[0], ys, "batch point")
        rows = [(layer.double() - candidates.double()).square().mean(dim=2) for layer in layers]
        values = torch.stack(rows)
    return _best(who, values, layers, steps, measure, seed, n_bootstrap, confidence)


@takes_arrays
def match_steps_by_weights(
    layers: Float[Tensor, "layer batch point dim"],
    candidates: Float[Tensor, "step batch point dim"],
    *,
    steps: Sequence[int] | None = None,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> StepMatches:
    """Find the number of steps whose weights point most nearly along each layer's.

    Formula: argmax_s E mean_k cos(w_layer,k, w_step,k) (SimW), entries with a zero weight left out. Blind to a
    common factor of the weights.

    Args:
        layers: Weights induced by each layer's read-out, as by `induced_weights`.
        candidates: Weights after each number of steps, for the same prompts.
        steps: The number of steps at each place, for the result; None counts from 0.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of resamples inside `best_interval`.

    Returns:
        The heat map in the layers' dtype and the best step of each row.

    Raises:
        InputError: If no prompt defines a cosine.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3.

    Example:
        >>> candidates = torch.randn(5, 3, 4, 2)
        >>> assert match_steps_by_weights(2 * candidates[3:], candidates).best_steps == (3, 4)
    """
    who = "match_steps_by_weights"
    checks.activations(who, "layers", layers, "layer batch point dim")
    checks.activations(who, "candidates", candidates, "step batch point dim")
    values = weight_cosines(who, layers, candidates)
    return _best(who, values, layers, steps, "weights", seed, n_bootstrap, confidence)


def _best(
    who: str,
    values: Float64[Tensor, "layer step batch"],
    like: Tensor,
    steps: Sequence[int] | None,
    measure: str,
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> StepMatches:
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    n_layers, n_steps, n_prompts = values.shape
    names = tuple(range(n_steps)) if steps is None else tuple(steps)
    checks.same_length(who, ("candidates", "steps"), n_steps, len(names))
    sign = -1.0 if measure == "spd" else 1.0
    exact = sign * values.detach().cpu()
    means = exact.nanmean(dim=2)
    if bool(means.isnan().any()):
        raise InputError(
            f"{who} needs a defined measure in some prompt, got none for a pair of layer and step; leave out "
            'steps whose error or weight is zero, or pass measure="spd".'
        )
    defined = ~exact.isnan()
    totals, known = torch.where(defined, exact, 0.0).flatten(0, 1).T, defined.double().flatten(0, 1).T
    chosen = []
    for counts in count_chunks((n_prompts,), seed=seed, n_bootstrap=n_bootstrap, width=n_prompts + n_layers * n_steps):
        resampled = (counts.double() @ totals) / (counts.double() @ known)
        chosen.append(resampled.nan_to_num(-torch.inf).reshape(-1, n_layers, n_steps).argmax(dim=2))
    places, best = torch.cat(chosen), means.argmax(dim=1)
    sorted_places = places.sort(dim=0).values
    tail = int((1 - confidence) / 2 * len(places))
    top = means.amax(dim=1, keepdim=True)
    slack = 8 * torch.finfo(like.dtype).eps * means.abs().amax(dim=1, keepdim=True)
    return StepMatches(
        values=cast_like(sign * means, like),
        best=best.to(like.device),
        best_interval=torch.stack([sorted_places[tail], sorted_places[-1 - tail]], dim=1).to(like.device),
        support=cast_like((places == best).double().mean(dim=0), like),
        tied=((means >= top - slack).sum(dim=1) > 1).to(like.device),
        steps=names,
        measure=measure,
    )
