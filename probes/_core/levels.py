"""The levels of values, as rank statistics need them: ties share one, however often each value was drawn."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


# The place of each value among the distinct ones, from 0.
def _levels(values: Float[Tensor, " sample"]) -> Int64[Tensor, " sample"]:
    return torch.unique(values, return_inverse=True)[1]


# Sums counts of equal values: [bootstrap sample] -> [bootstrap level].
def _count_levels(
    counts: Float64[Tensor, "bootstrap sample"], levels: Int64[Tensor, " sample"], n_levels: int
) -> Float64[Tensor, "bootstrap level"]:
    totals = torch.zeros(len(counts), n_levels, dtype=torch.float64)
    return totals.index_add_(1, levels, counts)
