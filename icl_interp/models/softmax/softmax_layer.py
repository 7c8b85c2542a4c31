"""One merged softmax layer, and how it tells features apart: the quantities whose competition drives its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.errors import InputError
from icl_interp.models.accessors import WeightAccessors
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel, is_hooked
from icl_interp.models.layout import join
from icl_interp.models.linear.network import initialise_linear


class MergedAttention(nn.Module):
    """Softmax attention to the context by x_i^T Q x_j; values are the labels."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_KQ = nn.Parameter(torch.empty(config.n_dims, config.n_dims))
        self.hook_attn_scores = HookPoint()  # [batch head query_pos key_pos]
        self.hook_pattern = HookPoint()  # [batch head query_pos key_pos]

    def forward(self, tokens: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        xs, n_pairs = tokens[..., :-1], tokens.shape[1] - 1
        asked = xs @ self.W_KQ.mT  # row i: x_key . row = x_key^T Q x_i
        if n_pairs and not is_hooked(self.hook_attn_scores, self.hook_pattern):
            written = (asked @ xs[:, :-1].mT).softmax(-1) @ tokens[:, :-1, -1:]
            return torch.cat([torch.zeros_like(xs), written], dim=2)
        scores = (asked @ xs.mT)[:, None]
        masked = torch.arange(n_pairs + 1, device=tokens.device) == n_pairs
        scores = self.hook_attn_scores(scores.masked_fill(masked, -torch.inf))
        # Without examples there is nothing to attend to: a softmax over nothing would be NaN.
        pattern = self.hook_pattern(scores.softmax(-1) if n_pairs else torch.zeros_like(scores))
        return torch.cat([torch.zeros_like(xs), pattern[:, 0] @ tokens[..., -1:]], dim=2)


class SoftmaxLayerBlock(nn.Module):
    """The attention without a residual around it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hook_resid_pre = HookPoint()  # [batch pos d_model], as the two below
        self.attn = MergedAttention(config)
        self.hook_attn_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, tokens: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return self.hook_resid_post(self.hook_attn_out(self.attn(self.hook_resid_pre(tokens))))


class HookedSoftmaxLayer(WeightAccessors, HookedModel):
    """One softmax attention layer over joint tokens [x; y], with HookedTransformer's hook names.

    Formula: yhat = sum_i a_i y_i with a = softmax_i(x_i^T Q x_query) over the context examples, where Q is
    `blocks.0.attn.W_KQ`; the source's W^V = diag(0, 1) is fixed, and there is no residual. Without examples yhat is 0,
    our choice.

    Args:
        config: Configuration of family "softmax_layer".
        seed: Seed of the first weights; Q is 0 at first under "zeros".

    Raises:
        InputError: If the config is of another family.

    Source:
        Huang, Cheng and Liang (2024), arXiv 2310.05249. The merged form is theirs; the formulas above are as far as
        we know them, since the paper's text was not at hand.

    Example:
        >>> model = HookedSoftmaxLayer(ModelConfig(family="softmax_layer", n_dims=2, n_points=5))
        >>> xs, ys = torch.randn(3, 4, 2), torch.tensor([[1.0, 3.0, 5.0, 7.0]]).expand(3, -1)
        >>> model(xs, ys)[0]  # with Q = 0: the mean of the labels so far
        tensor([0., 1., 2., 3.], grad_fn=<SelectBackward0>)
    """

    hook_meanings: ClassVar[Mapping[str, tuple[str, str]]] = {
        "hook_embed": ("batch pos d_model", "the token matrix: one [x; y] a pair, the query [x; 0] last"),
        "hook_resid_pre": ("batch pos d_model", "the same"),
        "attn.hook_attn_scores": ("batch head query_pos key_pos", "x_key^T Q x_query, -inf where the key is the query"),
        "attn.hook_pattern": ("batch head query_pos key_pos", "softmax over the context pairs"),
        "hook_attn_out": ("batch pos d_model", "0 in the inputs' entries, the average label in the last"),
        "hook_resid_post": ("batch pos d_model", "the same: there is no residual; the last entry is the answer"),
    }

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config)
        if config.family != "softmax_layer":
            raise InputError(
                f"HookedSoftmaxLayer needs a config of family 'softmax_layer', got {config.family!r}; "
                "build_model(config, seed=0) chooses the class."
            )
        self.hook_embed = HookPoint()  # [batch pos d_model]
        self.blocks = nn.ModuleList([SoftmaxLayerBlock(config)])
        initialise_linear(self, config, seed=seed)
        self.setup()

    def _stack(self, part: str, name: str) -> Tensor:
        raise InputError(
            f"{name} needs separate weights for queries, keys and values, got a merged {part} layer whose only weight "
            "is model.attention.W_KQ."
        )

    def _refused_end(self, name: str) -> Tensor:
        raise InputError(
            f"{name} needs a read-in and a read-out, got a merged attention layer on raw tokens, whose only weight is "
            "model.attention.W_KQ."
        )

    W_E = property(lambda self: self._refused_end("W_E"), doc="Refused: tokens are read as they are.")
    W_U = property(lambda self: self._refused_end("W_U"), doc="Refused: the answer is an entry of the tokens.")
    b_U = property(lambda self: self._refused_end("b_U"), doc="Refused, as `W_U`.")

    @property
    def attention(self) -> MergedAttention:
        """The layer's only part."""
        return cast(MergedAttention, self.blocks[0].attn)

    def _pass(self, xs: Tensor, ys: Tensor) -> Tensor:
        return self.blocks[0](self.hook_embed(join(xs, ys)))[:, -1:, -1]

    def _predict_points(self, xs: Tensor, ys: Tensor, points: list[int]) -> Tensor:
        weight = self.attention.W_KQ
        xs, ys = xs.to(weight), ys.to(weight)
        if self.is_listened_to:
            return super()._predict_points(xs, ys, points)
        asked = [k % xs.shape[1] for k in points]
        scores = xs[:, asked] @ weight.mT @ xs.mT
        before = torch.arange(xs.shape[1], device=xs.device) < torch.tensor(asked, device=xs.device)[:, None]
        # Rows without examples are left finite, so that neither answer nor gradient is NaN, and then set to 0.
        empty = ~before.any(1, keepdim=True)
        pattern = scores.masked_fill(~(before | empty), -torch.inf).softmax(-1).masked_fill(empty, 0.0)
        return (pattern @ torch.where(before.any(0), ys, 0.0)[..., None])[..., 0]

    def __repr__(self) -> str:
        return f"HookedSoftmaxLayer({self.cfg.describe()}, {self.n_params:,} parameters)"


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
    """Give Attn_k: the attention of the last point to the context examples whose input is feature v_k.

    Formula: Attn_k = sum over i with x_i = v_k of softmax_i(x_i^T Q x_query). Inputs count as a feature where they
    differ by less than 1e-4 in every coordinate (our choice); the sum over k is below 1 if some are no feature.
    """
    _check_features("attention_to_features", features, model.cfg.n_dims)
    with torch.no_grad():
        name = "blocks.0.attn.hook_pattern"
        _, cache = model.run_with_cache(xs, xs.new_zeros(xs.shape[:2]), points=[-1], names_filter=name)
        pattern = cache[name][:, 0, -1]
        same = (xs[:, :, None].to(pattern) - features.to(pattern)).abs().amax(-1) < 1e-4
        return (pattern[:, None] @ same.to(pattern))[:, 0]


def _check_features(owner: str, features: Tensor, n_dims: int) -> None:
    if features.ndim != 2 or features.shape[1] != n_dims:
        raise InputError(f"{owner} needs features [feature {n_dims}], got shape {list(features.shape)}.")
