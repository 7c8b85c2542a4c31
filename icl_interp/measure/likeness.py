"""Does a model predict like a known algorithm, more than untrained networks do?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.measure.controls import Excess, excess_of_replicates
from icl_interp.measure.statistics import resampled_means
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts
from probes._reprs import short_repr

__all__ = ["Likeness", "likeness_to_references"]


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How much of a reference's predictions a network shares: each network with the reference that suits it best."""

    nearest: tuple[str, ...]
    """The reference; the model's first, then those of untrained networks."""
    values: tuple[float, ...]
    """1 - E(f - g)^2 / E g^2 over points with an example before them, at most 1; 0 is what predicting zero has."""
    replicates: Float64[Tensor, "network resample"]
    """The same on bootstrap resamples of the prompts."""

    __repr__ = short_repr

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the model with untrained networks.

        Args:
            n_verdicts: How many claims the report makes.

        Returns:
            The excess with its interval.
        """
        own, *controls = zip(self.values, self.replicates, strict=True)
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0)


def likeness_to_references(
    predictions: Sequence[Float[Tensor, "sample point"]], references: Mapping[str, Predictor], prompts: Prompts
) -> Likeness:
    """Find the reference that each network predicts most like.

    Formula: max over references g of 1 - sum (f - g)^2 / sum g^2, over points with an example before them. Each
    network has the choice, so that the choice gives the model no advantage. References that predict zero are left out.

    Args:
        predictions: Of the model, then of untrained networks.
        references: Predictors by name.
        prompts: What was predicted.

    Returns:
        Name and value for each network; "none" and NaN if every reference predicts zero.
    """
    said = {name: predictor(prompts.xs, prompts.ys)[:, 1:].double() for name, predictor in references.items()}
    said = {name: values for name, values in said.items() if float(values.abs().max()) > 0}
    if not said:
        n, nan = len(predictions), float("nan")
        return Likeness(("none",) * n, (nan,) * n, torch.full((n, 2), nan, dtype=torch.float64))
    best = [_best(own[:, 1:].double(), said) for own in predictions]
    return Likeness(
        tuple(name for name, _, _ in best),
        tuple(value for _, value, _ in best),
        torch.stack([replicates for _, _, replicates in best]),
    )


def _best(own: Float64[Tensor, "sample point"], said: Mapping[str, Tensor]) -> tuple[str, float, Tensor]:
    def shared(name: str) -> tuple[Tensor, Tensor]:
        return (own - said[name]).square().mean(1), said[name].square().mean(1)

    def value(name: str) -> float:
        apart, size = shared(name)
        return 1 - float(apart.mean() / size.mean())

    name = max(said, key=value)
    apart, size = shared(name)
    return name, value(name), 1 - resampled_means(apart) / resampled_means(size)
