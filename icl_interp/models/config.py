"""The configuration of a model: everything that its shape and its first weights depend on, family by family."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_serializer, model_validator

from icl_interp.errors import InputError
from icl_interp.models.architecture import Architecture, ResidualSite, Tokens
from icl_interp.models.hook_names import hook_name, normalise_layer
from icl_interp.settings import Settings

Family = Literal["gpt2", "lsa", "ltb", "softmax_layer"]

LINEAR_FAMILIES: tuple[Family, ...] = ("lsa", "ltb", "softmax_layer")
"""The families over joint tokens whose residual stream is the token matrix itself."""

# Options that only the softmax family leaves open, with what the others are.
_JOINT: dict[str, Any] = {
    "tokens": "joint",
    "attention": "full",
    "read_out": "pinned",
    "d_out": 1,
    "normalization_type": None,
    "final_norm": False,
    "positional_embedding_type": "none",
    "n_positions": None,
    "act_fn": "identity",
    "attn_out_proj": True,
    "doubled_residual": False,
    "bias_read_in": False,
    "bias_qkv": False,
    "bias_attn_out": False,
    "bias_mlp": False,
    "bias_read_out": False,
}

_PLAIN_TOKENS: dict[str, Any] = {"d_position": 0, "answer_channel": None}

_FIXED: dict[str, dict[str, Any]] = {
    "gpt2": {
        **_PLAIN_TOKENS,
        "d_v": None,
        "share_layers": False,
        "normalise": "mean",
        "normalise_by": None,
        "attn_skip": True,
        "output_sign": 1,
        "init_std": None,
    },
    "lsa": {**_JOINT, "attn_only": True, "d_mlp": None},
    "ltb": {**_JOINT, **_PLAIN_TOKENS, "mask_query": True, "attn_only": False, "output_sign": 1},
    "softmax_layer": {
        **_JOINT,
        **_PLAIN_TOKENS,
        "mask_query": True,
        "attn_only": True,
        "d_mlp": None,
        "d_head": None,
        "d_v": None,
        "n_layers": 1,
        "n_heads": 1,
        "share_layers": False,
        "normalise": "mean",
        "normalise_by": None,
        "attn_skip": False,
        "output_sign": 1,
    },
}

_INITS: dict[str, tuple[str, ...]] = {
    "gpt2": ("dtsip", "gpt2", "transformer_lens", "torch", "zhang"),
    "lsa": ("normal", "von_oswald"),
    "ltb": ("normal", "von_oswald"),
    "softmax_layer": ("zeros", "normal"),
}
"""The initialisations of each family, the default first."""


def _fill_family(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a config's fields with what its family fixes and what it takes by default."""
    filled = dict(fields)
    family = filled.get("family", "gpt2")
    if family not in _FIXED:
        return filled
    for name, value in _FIXED[family].items():
        filled.setdefault(name, value)
    filled.setdefault("init", _INITS[family][0])
    if family in LINEAR_FAMILIES:
        filled.setdefault("n_layers", 1)
        filled.setdefault("n_heads", 1)
        filled.setdefault("mask_query", True)
    widths = filled.get("n_dims"), filled.get("d_position", 0)
    if family in LINEAR_FAMILIES and all(isinstance(width, int) for width in widths):
        filled.setdefault("d_model", sum(widths) + 1)
    if family == "gpt2" and filled.get("final_norm") is None:
        with_norm = filled.get("normalization_type", "LN") is not None
        filled["final_norm"] = with_norm and filled.get("read_out", "free") == "free"
    if filled.get("read_out") == "pinned":
        filled.setdefault("bias_read_in", False)
        filled.setdefault("bias_read_out", False)
    if filled.get("attn_out_proj") is False:
        filled.setdefault("bias_attn_out", False)
    return filled


def _refused_options(family: Family, fields: Mapping[str, Any]) -> list[str]:
    """List what was asked of a family that it cannot be."""
    wrong = [
        f"family {family!r} has {name}={value!r} only, got {fields[name]!r}"
        for name, value in _FIXED[family].items()
        if fields[name] != value
    ]
    if fields["init"] not in _INITS[family]:
        wrong.append(f"family {family!r} has init {' or '.join(_INITS[family])}, got {fields['init']!r}")
    return wrong


_LATER: dict[str, Any] = _PLAIN_TOKENS
"""Options that came after run folders had been named by the hash of their config: written only where they matter."""


class ModelConfig(Settings, Architecture):
    """Shape and initialisation of a model, with the field names of TransformerLens' configs if they exist.

    An option that a family does not have keeps the one value that describes the family, and any other is refused.
    The defaults of "gpt2" are those of Garg et al.

    Args:
        family: "gpt2": a decoder of softmax attention and MLPs. "lsa": linear self-attention on joint tokens. "ltb":
            the linear transformer block, LSA followed by a linear MLP. "softmax_layer": one softmax attention layer
            with merged query-key weights.
        n_dims: Number of coordinates of each input x.
        n_points: Number of (x, y) examples in the longest prompt, with the query: M context examples are n_points = M +
            1.
        n_layers: Number of blocks; by default 1 in the linear families.
        n_heads: Number of attention heads per block; by default 1 in the linear families.
        d_model: Width of the residual stream. Needed for "gpt2"; in the other families the stream is the token matrix
            and has width n_dims + 1.
        d_head: Width of queries and keys; None means d_model / n_heads for "gpt2" and d_model elsewhere (Zhang et
            al.'s d_k = d + 1).
        d_v: Width of values of "lsa" and "ltb"; None means d_model (Zhang et al.'s d_v = d + 1).
        d_position: Channels that each token of "lsa" has after [x; y], for its position counted from 0: sines in the
            even ones and cosines in the odd ones, of position / 10000^(2 i / d_position) in the i-th pair (von Oswald
            et al.).
        d_mlp: Hidden width of the MLP; None means 4 * d_model.
        tokens: "interleaved": x1, y1, x2, y2, ... of width n_dims with y in coordinate 0 (dtsip). "separate": the same
            order, width n_dims + 1, (0, x) and (y, 0) (timaeus). "joint": one token [x; y] per example, and the query
            with y = 0 last. "sequence": one value per token, for recurrences; n_dims is 1 and only xs is read.
        attention: "causal", or "full" over joint tokens; over any other tokens full attention would read labels.
        mask_query: Whether the query of joint tokens is kept out of keys and values; by default True in the linear
            families.
        read_out: "free": a learned linear map. "pinned": the label's coordinate of the residual stream, with the
            read-in pinned to the first coordinates as well and no final norm: nothing but attention and MLPs can then
            bring x into the prediction. How to pin was our choice.
        d_out: Number of channels of the free read-out; the first is the prediction, the others are unused (timaeus).
        attn_only: Whether blocks lack an MLP.
        normalization_type: "LN", "LNPre" (without scale and shift) or None.
        final_norm: Whether the read-out reads a normalised stream; by default where there are norms and the read-out
            is free.
        positional_embedding_type: "standard" (a learned table) or "none".
        n_positions: Number of rows of the table; None means as many as n_points points take.
        act_fn: "gelu_new" (GPT-2's tanh form), "gelu" (exact) or "relu"; "identity" in the linear families.
        eps: Number added to the variance in LayerNorm.
        attn_out_proj: Whether attention has an output projection; without one, heads are laid side by side.
        doubled_residual: Whether each block's input is added twice, x -> 2x + attention + MLP, as
            timaeus-research/icl does.
        bias_read_in: Whether the read-in has a bias.
        bias_qkv: Whether queries, keys and values have biases.
        bias_attn_out: Whether the output projection has a bias.
        bias_mlp: Whether both MLP maps have biases.
        bias_read_out: Whether the free read-out has a bias.
        share_layers: Whether all layers of "lsa" or "ltb" are one set of weights.
        normalise: Divisor of linear attention: the number of context examples ("mean"), the number of all tokens with
            the query ("tokens"), 1 ("sum"), or `normalise_by` ("fixed").
        normalise_by: The divisor of "fixed".
        attn_skip: Whether linear attention adds to its input; False is the ablation of Zhang et al.'s skip.
        output_sign: Factor of the label coordinate of the query: 1 (Zhang et al.) or -1 (von Oswald et al., whose
            layers subtract the prediction from the labels). "lsa" only.
        answer_channel: Channel of the query that is read in place of its label's, "lsa" only; None means the label's.
        init: "gpt2" family: "dtsip" (GPT-2's inside, torch's Linear for read-in and read-out), "gpt2",
            "transformer_lens", "torch" (torch's Linear throughout, as timaeus) or "zhang" (Zhang et al.'s GPT-2); see
            `initialise`. "lsa" and "ltb": "normal" (N(0, init_std^2)) or "von_oswald". "softmax_layer": "zeros" (Huang
            et al.) or "normal".
        init_std: Standard deviation of "normal"; None means 0.2, which reproduces Zhang et al.'s Figure 1.

    Raises:
        ValueError: If a size is below 1, a name is unknown, or options contradict each other; all contradictions are
            named at once.

    Source:
        Garg et al. (2022), appendix A; Zhang et al. (2024), sections 3 and 6; von Oswald et al. (2023); Huang et al.
        (2024); timaeus-research/icl.

    Example:
        >>> config = ModelConfig(n_dims=5, n_points=11, n_layers=3, n_heads=2, d_model=64)
        >>> config.n_ctx, config.head_width, config.mlp_width
        (22, 32, 256)
        >>> ModelConfig(family="ltb", n_dims=5, n_points=6).d_model
        6
    """

    family: Family = "gpt2"
    n_dims: int = Field(ge=1)
    n_points: int = Field(ge=1)
    # 0 never passes; the linear families fill these three in.
    n_layers: int = Field(default=0, ge=1)
    n_heads: int = Field(default=0, ge=1)
    d_model: int = Field(default=0, ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_v: int | None = Field(default=None, ge=1)
    d_position: int = Field(default=0, ge=0)
    d_mlp: int | None = Field(default=None, ge=1)
    tokens: Tokens = "interleaved"
    attention: Literal["causal", "full"] = "causal"
    mask_query: bool = False
    read_out: Literal["free", "pinned"] = "free"
    d_out: int = Field(default=1, ge=1)
    attn_only: bool = False
    normalization_type: Literal["LN", "LNPre"] | None = "LN"
    final_norm: bool = True
    positional_embedding_type: Literal["standard", "none"] = "standard"
    n_positions: int | None = Field(default=None, ge=1)
    act_fn: Literal["gelu_new", "gelu", "relu", "identity"] = "gelu_new"
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    attn_out_proj: bool = True
    doubled_residual: bool = False
    bias_read_in: bool = True
    bias_qkv: bool = True
    bias_attn_out: bool = True
    bias_mlp: bool = True
    bias_read_out: bool = True
    share_layers: bool = False
    normalise: Literal["mean", "tokens", "sum", "fixed"] = "mean"
    normalise_by: int | None = Field(default=None, ge=1)
    attn_skip: bool = True
    output_sign: Literal[1, -1] = 1
    answer_channel: int | None = Field(default=None, ge=0)
    init: Literal["dtsip", "gpt2", "transformer_lens", "torch", "zhang", "normal", "von_oswald", "zeros"] = "dtsip"
    init_std: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, fields: Any) -> Any:
        return _fill_family(fields) if isinstance(fields, dict) else fields

    @model_serializer(mode="wrap")
    def _write(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name not in _LATER or value != _LATER[name]}

    @model_validator(mode="after")
    def _check_options(self) -> "ModelConfig":
        missing = [name for name in ("n_layers", "n_heads", "d_model") if not getattr(self, name)]
        if missing:
            raise InputError(f"ModelConfig of family {self.family!r} needs {', '.join(missing)}; say how large.")
        wrong = [*_refused_options(self.family, dict(self)), *self._contradictions()]
        if wrong:
            raise InputError(
                f"ModelConfig needs options that go together, got: {'; '.join(wrong)}; change one of each."
            )
        return self

    def _contradictions(self) -> list[str]:
        joint, linear = self.tokens == "joint", self.family in LINEAR_FAMILIES
        free, rows = self.read_out == "free", self.n_positions
        found = {
            f"d_model={self.d_model} and n_heads={self.n_heads} (d_model needs to be a multiple of n_heads, or d_head "
            "be set)": not linear and self.d_head is None and self.d_model % self.n_heads != 0,
            f"d_model={self.d_model} in a linear family over n_dims={self.n_dims} (its width is n_dims + 1"
            f"{' + d_position' if self.d_position else ''})": linear and self.d_model != self._joint_width,
            f"answer_channel={self.answer_channel} in tokens of width {self.d_model}": (
                (self.answer_channel or 0) >= self.d_model
            ),
            f"attention='full' over tokens={self.tokens!r} (it would read labels; take 'joint')": (
                self.attention == "full" and not joint
            ),
            f"mask_query=True over tokens={self.tokens!r} (only joint tokens have a query)": (
                self.mask_query and not joint
            ),
            f"tokens='sequence' and n_dims={self.n_dims} (a token is one value)": (
                self.tokens == "sequence" and self.n_dims != 1
            ),
            f"read_out='pinned' over tokens={self.tokens!r} (x is in the label's coordinate as well; take 'separate' "
            "or 'joint')": not free and self.tokens in ("interleaved", "sequence"),
            "read_out='pinned' and final_norm=True (a norm would mix x into the label)": not free and self.final_norm,
            f"read_out='pinned' and d_out={self.d_out} (there is one label)": not free and self.d_out != 1,
            f"read_out='pinned' and d_model={self.d_model} (tokens of width {self.d_token} need room)": (
                not free and self.d_model < self.d_token
            ),
            "final_norm=True and normalization_type=None": self.final_norm and self.normalization_type is None,
            "n_positions with positional_embedding_type='none'": (
                rows is not None and self.positional_embedding_type == "none"
            ),
            f"n_positions={rows} for {self.n_points} points (they take {self._positions_taken})": (
                rows is not None and rows < self._positions_taken
            ),
            f"attn_out_proj=False with {self.n_heads} heads of width {self.head_width} (together they need to be "
            f"d_model={self.d_model} wide)": (
                not self.attn_out_proj and self.n_heads * self.head_width != self.d_model
            ),
            "attn_out_proj=False and bias_attn_out=True": (
                not linear and not self.attn_out_proj and self.bias_attn_out
            ),
            "read_out='pinned' and a bias of read-in or read-out (both are fixed maps)": (
                not free and (self.bias_read_in or self.bias_read_out)
            ),
            "act_fn='identity' in family 'gpt2'": not linear and self.act_fn == "identity",
            f"d_mlp={self.d_mlp} with attn_only=True": self.attn_only and self.d_mlp is not None,
            "normalise='fixed' without normalise_by": self.normalise == "fixed" and self.normalise_by is None,
            f"normalise_by={self.normalise_by} with normalise={self.normalise!r}": (
                self.normalise != "fixed" and self.normalise_by is not None
            ),
            f"init_std with init={self.init!r}": self.init_std is not None and self.init != "normal",
        }
        return [clause for clause, true in found.items() if true]

    @property
    def _positions_taken(self) -> int:
        return self.positions_for(self.n_points)

    @property
    def query_only(self) -> bool:
        """Whether a pass answers the last point alone, so that each asked point costs a sequence of its own."""
        return self.tokens == "joint"

    @property
    def max_points(self) -> int | None:
        """Longest prompt that the position table has rows for; None without a table."""
        if self.positional_embedding_type == "none":
            return None
        return self.n_ctx // (2 if self.tokens in ("interleaved", "separate") else 1)

    @property
    def d_token(self) -> int:
        """Width of a raw token."""
        return {"interleaved": self.n_dims, "sequence": 1}.get(self.tokens, self._joint_width)

    @property
    def _joint_width(self) -> int:
        return self.n_dims + 1 + self.d_position

    @property
    def label_coordinate(self) -> int:
        """The coordinate of a token that holds its label."""
        return self.n_dims if self.tokens == "joint" else 0

    @property
    def answer_coordinate(self) -> int:
        """The channel of a linear model's query that is the answer, before the sign."""
        return self.label_coordinate if self.answer_channel is None else self.answer_channel

    @property
    def is_textbook(self) -> bool:
        """Whether joint tokens are [x; y] alone, the query is nobody's key, and the answer is in the label's place."""
        return self.mask_query and not self.d_position and self.answer_coordinate == self.label_coordinate

    @property
    def n_ctx(self) -> int:
        """Positions that the longest prompt takes, or the rows of the position table if it has more."""
        return self.n_positions if self.n_positions is not None else self._positions_taken

    @property
    def head_width(self) -> int:
        """Width of queries and keys, resolved."""
        if self.d_head is not None:
            return self.d_head
        return self.d_model if self.family in LINEAR_FAMILIES else max(self.d_model // self.n_heads, 1)

    @property
    def value_width(self) -> int:
        """Width of values, resolved."""
        if self.family in LINEAR_FAMILIES:
            return self.d_v if self.d_v is not None else self.d_model
        return self.head_width

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP, resolved."""
        return self.d_mlp if self.d_mlp is not None else 4 * self.d_model

    def describe(self) -> str:
        """Describe the network in one clause.

        Returns:
            A clause without full stop.
        """
        kind = {
            "gpt2": "attention-only GPT-2 decoder" if self.attn_only else "GPT-2 decoder",
            "lsa": "linear self-attention",
            "ltb": "linear transformer block",
            "softmax_layer": "one merged softmax attention layer",
        }[self.family]
        layers = "1 layer" if self.n_layers == 1 else f"{self.n_layers} layers"
        heads = "1 head" if self.n_heads == 1 else f"{self.n_heads} heads"
        dims = "1 dimension" if self.n_dims == 1 else f"{self.n_dims} dimensions"
        return f"{kind}, {layers}, {heads}, width {self.d_model}, inputs of {dims}"

    @property
    def has_patterns(self) -> bool:
        """Whether attention is a distribution over tokens of the sequence."""
        return self.family == "gpt2"

    def residual_sites(self, layers: Sequence[int] | None = None) -> list[ResidualSite]:
        """List the residual stream: read-in, after each block, after the final norm if there is one."""
        n_layers = self.n_layers
        chosen = range(n_layers) if layers is None else sorted({normalise_layer(x, n_layers) for x in (*layers, -1)})
        blocks = [ResidualSite(f"block {x}", hook_name("resid_post", x, n_layers=n_layers)) for x in chosen]
        read_in = ResidualSite("read-in", hook_name("resid_pre", 0, n_layers=n_layers))
        final = ResidualSite("final norm", hook_name("final_norm", 0, n_layers=n_layers))
        return [read_in, *blocks, *([final] if self.final_norm else [])]

    def site(self, kind: str, layer: int) -> ResidualSite:
        """Name one place that a user chose."""
        hook = hook_name(kind, layer, n_layers=self.n_layers)
        last = hook_name("resid_post", -1, n_layers=self.n_layers)
        return ResidualSite(f"block {self.n_layers - 1}" if hook == last else hook, hook)

    def positions_for(self, n_points: int) -> int:
        """Count the positions of a sequence."""
        return n_points * (2 if self.tokens in ("interleaved", "separate") else 1)

    def operations(self, n_points: int) -> int:
        """Count the floating-point operations of a sequence: two tokens per point, two operations per product."""
        return 2 * 2 * n_points * self.n_layers * (4 * self.d_model**2 + 2 * self.d_model * self.mlp_width)

    # What ActivationCache and patching read from a TransformerLens config.
    @property
    def device(self) -> None:
        """None: a config is on no device, and torch takes its default one."""
        return

    @property
    def use_attn_result(self) -> bool:
        """Whether each head's result is materialised: never, since it can be had from z and W_O."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that models are built in."""
        return torch.float32
