"""Read linear attention that other people trained: von Oswald et al.'s parameters, and merged matrices."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points
from icl_interp.checkpoints.record import Layout, Reader, Reading, choose, count, number_or_word
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import check_heads, few, leaf_names, to_float32
from icl_interp.errors import CheckpointError, StatedHeadsError
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.uniform import UniformRegression

_PART = re.compile(r"(?:.*/)?multi_head_attention(?:_(\d+))?/(key|query|value|linear)/w")
_KINDS = ("key", "query", "value", "linear")
_MOST_LAYERS = 1000

_SIGNS: dict[str, Literal[1, -1]] = {"-1": -1, "minus": -1, "1": 1, "plus": 1}
_QUERY = {"no_key": True, "key": False}
_DIVIDE: dict[str, Literal["sum", "mean", "tokens"]] = {"none": "sum", "pairs": "mean", "tokens": "tokens"}
_READ: dict[str, str] = {
    "sign": "1 or -1, what the channel that is read is multiplied by",
    "channel": "label, last or a number, the channel of the query token that is the prediction",
    "query": "key or no_key, whether the query is among the keys",
    "divide": "none, pairs or tokens, what attention is divided by",
}
_HEADS_UNKNOWN = (
    "The file does not say how many heads there are: 1 is assumed; say otherwise with `--heads 2` or `n_heads=`."
)
_TOKENS_UNKNOWN = (
    "The file does not say how tokens are built and read: {said}; say otherwise with `--layout {example}` or `layout=`."
)

_QUERY_KEY = ("W", "W_KQ", "W_QK", "KQ", "QK", "arr_0")
_VALUE = ("W_PV", "W_OV", "PV", "OV")


def _parameters(contents: Mapping[Any, Any]) -> dict[str, Any]:
    # Training states keep them beside those of the optimiser, under the same names.
    inner = contents.get("params")
    return leaf_names(inner if isinstance(inner, Mapping) else contents, joint="/")


class VonOswald(Reader):
    """Parameters of von Oswald et al.'s Haiku code, nested or with key paths joined by "/".

    Haiku multiplies by [in, out] from the right. Their layer is h + sum_heads (h Wq)(c Wk)^T (c Wv) Wl with c the
    tokens but the last; a token is [x; y], followed by sines and cosines where they concatenate positions.
    """

    name = "parameters of von Oswald et al.'s linear transformers"
    signs = tuple(f"*multi_head_attention/{kind}/w" for kind in _KINDS)
    options: ClassVar[Mapping[str, str]] = {
        "n_dims": "coordinates of x, where positions follow [x; y] in each token",
        "layers": "how often one set of weights is applied",
        **_READ,
    }

    def recognises(self, contents: Any) -> bool:
        return isinstance(contents, Mapping) and any(_PART.fullmatch(name) for name in _parameters(contents))

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        weights = _layers_of(file)
        width, written = weights[0]["key"].shape
        heads = check_heads(file.path, written, 1 if n_heads is None else n_heads, absent="no number", hint="")
        heads_assumed = (_HEADS_UNKNOWN,) if n_heads is None else ()
        # In their code queries are as wide as [x; y]; what a token has beyond that is its position.
        guess = written // heads - 1
        n_dims = count(layout, "n_dims", default=min(max(guess, 1), width - 1), least=1, most=width - 1)
        n_layers = len(weights)
        if n_layers == 1:
            n_layers = count(layout, "layers", default=1, least=1, most=_MOST_LAYERS)
        elif "layers" in layout:
            raise CheckpointError(
                f"the layout of a file needs layers where it holds one set of weights, got {n_layers} sets: "
                f"{file.path}; leave layers out."
            )
        config = ModelConfig(
            family="lsa",
            n_dims=n_dims,
            n_points=n_dims + 1,
            n_layers=n_layers,
            n_heads=heads,
            d_head=written // heads,
            d_v=weights[0]["value"].shape[1] // heads,
            d_position=width - n_dims - 1,
            share_layers=len(weights) < n_layers,
            normalise=choose(layout, "divide", _DIVIDE, default="sum"),
            mask_query=choose(layout, "query", _QUERY, default=True),
            output_sign=choose(layout, "sign", _SIGNS, default=-1),
            answer_channel=_channel(layout, n_dims, width, default=width - 1),
            init="von_oswald",
        )
        positions = f", then {config.d_position} channels of position" if config.d_position else ""
        clauses = {
            "n_dims": (f"a token is x of {n_dims} coordinates, y{positions}", f"n_dims={n_dims}"),
            "layers": ("weights are applied once", "layers=2"),
            **_said_by(config),
        }
        told = {**layout, **({} if len(weights) == 1 else {"layers": n_layers})}
        return Reading(
            config=config,
            weights=_converted(weights, heads),
            task=UniformRegression(n_dims=n_dims),
            n_points_trained=n_dims + 1,
            origin="parameters in the format of von Oswald et al.'s code",
            notes=(f"{file.path.name} was read as linear attention in the format of von Oswald et al.'s code.",),
            task_assumptions=(
                f"The file does not say what the model was trained on: {UniformRegression(n_dims=n_dims).describe()}, "
                "as in von Oswald et al.'s code, is taken as in distribution; say otherwise with `--task "
                "half_width=1`, `--task family=linear_regression` or `task=`.",
            ),
            other_assumptions=(*heads_assumed, *_assumed(clauses, told)),
            points_assumption=(
                f"The file does not say how many points prompts had in training: {n_dims + 1} are assumed (n_dims + 1, "
                f"as in von Oswald et al.'s code); say otherwise with `--task n_points={n_dims + 1}` or `task=`."
            ),
        )


def _layers_of(file: WeightFile) -> list[dict[str, Tensor]]:
    flat = _parameters(file.contents)
    found = {name: match for name in flat if (match := _PART.fullmatch(name))}
    others = [name for name in flat if name not in found]
    weights = to_float32(file.path, {name: flat[name] for name in found})
    layers: dict[int, dict[str, Tensor]] = {}
    for name, match in found.items():
        layers.setdefault(int(match.group(1) or 0), {})[match.group(2)] = weights[name]
    wrong = [f"unexpected {few(others)}"] * bool(others)
    wrong += [f"no {kind} in layer {n}" for n, parts in sorted(layers.items()) for kind in _KINDS if kind not in parts]
    wrong += ["a module twice"] * (sum(map(len, layers.values())) < len(found))
    if not wrong:
        shapes = {kind: {tuple(parts[kind].shape) for parts in layers.values()} for kind in _KINDS}
        if not _fit(*(next(iter(shapes[kind])) if len(shapes[kind]) == 1 else () for kind in _KINDS)):
            wrong = [f"{kind} {', '.join(str(list(s)) for s in sorted(shapes[kind]))}" for kind in _KINDS]
    if wrong:
        raise CheckpointError(
            "von Oswald et al.'s linear attention needs key, query and value [d_token, heads * width] and linear "
            f"[heads * width, d_token] in every layer, and nothing else, got {few(wrong)}: {file.path}; norms, biases, "
            "MLPs and input projections are not read."
        )
    return [layers[n] for n in sorted(layers)]


def _fit(key: tuple[int, ...], query: tuple[int, ...], value: tuple[int, ...], linear: tuple[int, ...]) -> bool:
    if len(key) != 2 or len(value) != 2 or key[0] < 2 or 0 in (*key, *value):
        return False
    return query == key and value[0] == key[0] and linear == value[::-1]


def _converted(layers: list[dict[str, Tensor]], heads: int) -> dict[str, Tensor]:
    ours = {}
    for n, parts in enumerate(layers):
        for letter, kind in zip("QKV", ("query", "key", "value"), strict=True):
            ours[f"blocks.{n}.attn.W_{letter}"] = rearrange(parts[kind], "m (h c) -> h m c", h=heads)
        ours[f"blocks.{n}.attn.W_O"] = rearrange(parts["linear"], "(h c) m -> h c m", h=heads)
    return {name: weight.contiguous() for name, weight in ours.items()}


def _channel(layout: Layout, n_dims: int, width: int, *, default: int) -> int | None:
    words = {"label": n_dims, "last": width - 1}
    channel = number_or_word(layout, "channel", words, default=default, most=width - 1)
    return None if channel == n_dims else channel


def _said_by(config: ModelConfig) -> dict[str, tuple[str, str]]:
    """Say how tokens are read, by the keys of `_READ`: a clause, and an example of how to say otherwise."""
    place = config.answer_coordinate
    counted = {"mean": "pairs", "tokens": "tokens"}.get(config.normalise)
    channel = "the last channel" if place == config.d_model - 1 else f"channel {place}"
    channel = "the label's channel" if place == config.label_coordinate else channel
    minus = config.output_sign < 0
    return {
        "query": ("the query is no key", "query=key") if config.mask_query else ("the query is a key", "query=no_key"),
        "divide": (
            f"attention is {f'divided by the number of {counted}' if counted else 'not divided'}",
            "divide=pairs",
        ),
        "sign": (f"the prediction is {'minus' if minus else 'plus'} what is read", f"sign={1 if minus else -1}"),
        "channel": (f"{channel} of the query is read", f"channel={0 if place == config.label_coordinate else 'label'}"),
    }


def _assumed(clauses: Mapping[str, tuple[str, str]], layout: Layout) -> tuple[str, ...]:
    open_ones = [clause for key, clause in clauses.items() if key not in layout]
    if not open_ones:
        return ()
    said, example = ", ".join(clause for clause, _ in open_ones), open_ones[-1][1]
    return (_TOKENS_UNKNOWN.format(said=said, example=example),)


class MergedMatrices(Reader):
    """One layer of linear attention whose matrices are merged: X X^T W X, or P X X^T W X, with tokens as columns of X.

    Rows of W meet the keys, columns the query; `rows=query` turns that round.
    """

    name = "merged matrices of linear attention"
    signs = ("W_KQ", "W_PV")
    options: ClassVar[Mapping[str, str]] = {
        "rows": "keys or query, what the rows of the key-query matrix meet",
        "residual": "yes or no, whether attention is added to its input",
        **_READ,
    }

    def recognises(self, contents: Any) -> bool:
        return _merged(contents) is not None

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        if n_heads not in (None, 1):
            raise StatedHeadsError(
                f"a merged matrix needs one head, got {n_heads}: {file.path}; leave out --heads (n_heads=)."
            )
        found = to_float32(file.path, dict(zip(("key-query", "value"), _merged(file.contents) or (), strict=False)))
        meet = found["key-query"]
        if choose(layout, "rows", {"keys": True, "query": False}, default=True):
            meet = meet.T
        width, n_dims = len(meet), len(meet) - 1
        eye = torch.eye(width)
        config = ModelConfig(
            family="lsa",
            n_dims=n_dims,
            n_points=2 * n_dims + 1,
            normalise=choose(layout, "divide", _DIVIDE, default="tokens"),
            mask_query=choose(layout, "query", _QUERY, default=False),
            attn_skip=choose(layout, "residual", {"yes": True, "no": False}, default=False),
            output_sign=choose(layout, "sign", _SIGNS, default=1),
            answer_channel=_channel(layout, n_dims, width, default=n_dims),
        )
        n_points = assumed_points(n_dims, config.n_points)
        parts = {"Q": meet, "K": eye, "V": eye, "O": found["value"].T if "value" in found else eye}
        clauses = {
            "rows": (f"rows of the matrix meet {layout.get('rows', 'keys')}", "rows=query"),
            "residual": ("attention is not added to its input", "residual=yes"),
            **_said_by(config),
        }
        return Reading(
            config=config,
            weights={f"blocks.0.attn.W_{letter}": w[None].clone().contiguous() for letter, w in parts.items()},
            task=LinearRegression(n_dims, n_points=n_points),
            n_points_trained=n_points,
            origin="merged matrices of linear attention",
            notes=(
                f"{file.path.name} was read as one layer of linear attention with merged matrices.",
                "What meets the query's label, which is 0, is in no prediction and need not have been trained.",
            ),
            task_assumptions=(TASK_UNKNOWN,),
            other_assumptions=_assumed(clauses, layout),
            points_assumption=POINTS_UNKNOWN.format(n_points=n_points),
        )


def _merged(contents: object) -> tuple[Tensor, ...] | None:
    """Find the key-query matrix and, where there is one, the value matrix."""
    named: Mapping[Any, Any] = contents if isinstance(contents, Mapping) else {"W": contents}
    names = [[name for name in named if name in known] for known in (_QUERY_KEY, _VALUE)]
    if len(names[0]) != 1 or len(names[1]) > 1 or len(named) != len(names[0]) + len(names[1]):
        return None
    found = tuple(named[name] for name in (*names[0], *names[1]))
    for matrix in found:
        if not isinstance(matrix, Tensor) or matrix.ndim != 2 or len({*matrix.shape, *found[0].shape}) != 1:
            return None
    return found if len(found[0]) > 1 else None
