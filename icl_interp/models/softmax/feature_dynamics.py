"""Gradient descent on a merged softmax layer whose inputs are orthonormal features, without training anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.softmax.softmax_layer import HookedSoftmaxLayer, feature_scores
from icl_interp.prompts import stream


@dataclass(frozen=True, eq=False, repr=False)
class FeatureDynamics:
    """What a merged softmax layer does with each feature along gradient descent."""

    steps: tuple[int, ...]
    """Numbers of updates after which it was looked at, rising."""
    attention: Float[Tensor, "step feature"]
    """Attn_k: attention of a query v_k to examples of its own feature, mean over contexts, 0 to 1."""
    scores: Float[Tensor, "step feature feature"]
    """B_{k,n} = v_n^T Q v_k in row k and column n; A_k is on the diagonal."""

    @property
    def own(self) -> Float[Tensor, "step feature"]:
        """A_k = v_k^T Q v_k."""
        return self.scores.diagonal(dim1=1, dim2=2)

    def __repr__(self) -> str:
        n, last = self.attention.shape[1], self.attention[-1]
        reached = f"attention {float(last.min()):.3g} to {float(last.max()):.3g}"
        return f"FeatureDynamics({n} features, {self.steps[-1]:,} updates, {reached} at the end)"


def feature_dynamics(
    shares: Float[Tensor, " feature"],
    *,
    n_examples: int,
    steps: Sequence[int],
    lr: float = 1.0,
    n_contexts: int = 512,
    seed: int = 0,
) -> FeatureDynamics:
    """Follow gradient descent from Q = 0 on half the expected squared error, in float64.

    Formula: with a_m the attention of a query v_k to feature m, and the expectation over contexts and x_query,
    A_k += lr E[1{x_query = v_k} a_k (sum_{m != k} a_m^2 + (1 - a_k)^2)] and
    B_{k,n} += lr E[1{x_query = v_k} a_n (sum_{m != k} a_m^2 - a_n - a_k (1 - a_k))]. These are the exact derivatives
    for tasks w of mean 0 and covariance I, labels without noise and a query whose own label is not in the context. The
    expectation over w and the query is exact; that over contexts is a mean over the same drawn contexts at every step
    (our choice).

    Args:
        shares: Probability of each feature, positive, with sum 1.
        n_examples: Examples N in the context, at least 1.
        steps: Numbers of updates to look at, 0 or more each.
        lr: Learning rate, eta in the source.
        n_contexts: Number of contexts.
        seed: Seed of the contexts.

    Raises:
        InputError: If the shares are no probabilities, or a number is out of range.

    Source:
        Huang, Cheng and Liang (2024), arXiv 2310.05249: A_k, B_{k,n} and Attn_k are theirs. The updates were derived
        by us from the loss, since the paper's text was not at hand; automatic differentiation agrees.

    Example:
        >>> found = feature_dynamics(torch.full((4,), 0.25), n_examples=50, steps=[0, 400])
        >>> bool((found.attention[0] - 0.25).abs().max() < 0.01 and found.attention[1].min() > 0.9)
        True
    """
    probabilities = torch.as_tensor(shares, dtype=torch.float64)
    asked = tuple(sorted(set(steps)))
    if probabilities.ndim != 1 or not (probabilities > 0).all() or abs(float(probabilities.sum()) - 1) > 1e-6:
        raise InputError(f"feature_dynamics needs positive shares [feature] with sum 1, got {shares}.")
    if min(n_examples, n_contexts) < 1 or not asked or asked[0] < 0 or not lr > 0:
        raise InputError(
            "feature_dynamics needs at least one example and one context, steps of 0 or more and lr above 0, got "
            f"n_examples={n_examples}, n_contexts={n_contexts}, steps={list(steps)}, lr={lr:g}."
        )
    counts = context_counts(probabilities, n_examples, n_contexts=n_contexts, seed=seed)
    scores = torch.zeros(len(probabilities), len(probabilities), dtype=torch.float64)
    attention, kept = [], []
    for step in range(asked[-1] + 1):
        weights = _attention(scores, counts)
        own = weights.diagonal(dim1=1, dim2=2)
        if step in asked:
            attention.append(own.mean(0))
            kept.append(scores.clone())
        rest = weights.square().sum(2) - own.square()
        change = (weights * ((rest - own * (1 - own))[..., None] - weights)).mean(0)
        change.diagonal().copy_((own * (rest + (1 - own).square())).mean(0))
        scores += lr * probabilities[:, None] * change
    return FeatureDynamics(asked, torch.stack(attention), torch.stack(kept))


def observed_dynamics(
    models: Mapping[int, HookedSoftmaxLayer],
    features: Float[Tensor, "feature dim"],
    counts: Float[Tensor, "context feature"],
) -> FeatureDynamics:
    """Look at trained layers in the same way: by step, on contexts with these numbers of examples per feature.

    Attention depends on a context through these numbers alone, since keys of one feature are equal.
    """
    scores = torch.stack([feature_scores(models[step], features).others.double() for step in sorted(models)])
    attention = [_attention(one, counts.double()).diagonal(dim1=1, dim2=2).mean(0) for one in scores]
    return FeatureDynamics(tuple(sorted(models)), torch.stack(attention), scores)


def context_counts(
    shares: Float[Tensor, " feature"], n_examples: int, *, n_contexts: int, seed: int
) -> Float[Tensor, "context feature"]:
    """Draw contexts: how many of the examples of each have which feature, float64."""
    drawn = torch.multinomial(
        shares.double().expand(n_contexts, -1), n_examples, replacement=True, generator=stream(seed, "contexts")
    )
    counts = torch.zeros(n_contexts, len(shares), dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones(n_contexts, n_examples, dtype=torch.float64))


def _attention(
    scores: Float[Tensor, "feature feature"], counts: Float[Tensor, "context feature"]
) -> Float[Tensor, "context feature feature"]:
    # Of each query feature (second axis) to all examples of each feature (third).
    weights = counts[:, None] * (scores - scores.amax(1, keepdim=True)).exp()
    return weights / weights.sum(2, keepdim=True)
