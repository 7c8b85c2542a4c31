"""How a merged softmax layer tells features apart: the quantities whose competition drives its training."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.softmax.softmax_layer import HookedSoftmaxLayer

__all__ = ["FeatureScores", "attention_to_features", "feature_scores"]


@dataclass(frozen=True, eq=False, repr=False)
class FeatureScores:
    """The bilinear scores of a layer between features."""

    own: Float[Tensor, " feature"]
    """A_k = v_k^T Q v_k: how a query v_k scores keys of its own feature."""
    others: Float[Tensor, "feature feature"]
    """B_{k,n} = v_n^T Q v_k in row k and column n: how a query v_k scores keys v_n; the diagonal is A."""

    @property
    def margin(self) -> Float[Tensor, " feature"]:
        """A_k minus the largest B_{k,n}, n != k: by how much a query's own feature wins; infinite for one feature."""
        rivals = self.others.masked_fill(torch.eye(len(self.own), device=self.own.device).bool(), -torch.inf)
        return self.own - rivals.max(1).values

    def __repr__(self) -> str:
        return (
            f"FeatureScores({len(self.own)} features, A in [{float(self.own.min()):.3g}, {float(self.own.max()):.3g}], "
            f"least margin {float(self.margin.min()):.3g})"
        )


def feature_scores(model: HookedSoftmaxLayer, features: Float[Tensor, "feature dim"]) -> FeatureScores:
    """Give A_k and B_{k,n} of a layer."""
    _check_features("feature_scores", features, model.cfg.n_dims)
    weight = model.attention.W_KQ.detach()
    features = features.to(weight)
    scores = (features @ weight @ features.mT).mT  # rows: queries
    return FeatureScores(own=scores.diagonal().clone(), others=scores)


def attention_to_features(
    model: HookedSoftmaxLayer, xs: Float[Tensor, "batch point dim"], features: Float[Tensor, "feature dim"]
) -> Float[Tensor, "batch feature"]:
    """Give Attn_k: the attention of the last point to the context pairs whose input is feature v_k.

    Formula: Attn_k = sum over i with x_i = v_k of softmax_i(x_i^T Q x_query). Inputs count as a feature where they
    differ by less than 1e-4 in every coordinate (ours); the sum over k is below 1 if some are no feature.
    """
    _check_features("attention_to_features", features, model.cfg.n_dims)
    with torch.no_grad():
        name = "blocks.0.attn.hook_pattern"
        _, cache = model.run_with_cache(xs, xs.new_zeros(xs.shape[:2]), points=[-1], names_filter=name)
        pattern = cache[name][:, 0, -1]
        same = (xs[:, :, None].to(pattern) - features.to(pattern)).abs().amax(-1) < 1e-4
        return (pattern[:, None] @ same.to(pattern))[:, 0]


def _check_features(owner: str, features: Tensor, n_dims: int) -> None:
    """Refuse features of another width than the inputs."""
    if features.ndim != 2 or features.shape[1] != n_dims:
        raise InputError(f"{owner} needs features [feature {n_dims}], got shape {list(features.shape)}.")
