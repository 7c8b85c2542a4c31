"""Read GPT-2s under the names of nanoGPT or Hugging Face, with linear maps that read numbers in and out.

Names and shapes determine the sizes, the transposed matrices, the biases, and mostly the two maps. They do not
determine how examples become tokens.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points
from icl_interp.checkpoints.record import Layout, Reader, Reading, choose, number_or_word
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import (
    check_heads,
    check_names,
    check_shapes,
    few,
    state_dict_in,
    stated_heads,
    to_float32,
)
from icl_interp.errors import CheckpointError, one_line
from icl_interp.models.architecture import Tokens
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression

_BLOCK = re.compile(r"(?P<root>(?:.*\.)?)h\.(?P<layer>\d+)\.attn\.c_attn\.weight")
_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")
_WHAT = "weights of a GPT-2"
_Activation = Literal["gelu_new", "gelu", "relu"]
_ACTIVATIONS: dict[str, _Activation] = {name: name for name in get_args(_Activation)}
_TOKENS: dict[str, Tokens | None] = {name: name for name in get_args(Tokens)}
_STEPS = ("iter_num", "step", "train_step", "global_step")
_UNHEARD = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
"""Settings of Hugging Face that change the formula, with the only values that are read."""


class GPT2(Reader):
    """nanoGPT's and Hugging Face's names, the latter with config.json beside the weights where there is one."""

    name = "state dicts of nanoGPT or Hugging Face's GPT-2 with a read-in of numbers"
    signs = ("h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "h.0.ln_1.weight", "wpe.weight", "ln_f.weight")
    options: ClassVar[Mapping[str, str]] = {
        "tokens": f"how pairs become tokens, {', '.join(_TOKENS)}",
        "read_in": "name of the matrix [d_model, d_token] that reads tokens in",
        "read_out": "name of the matrix [d_out, d_model] that reads predictions out",
        "channel": "first, last or a number, the output that is the prediction",
        "activation": f"of the MLPs, {', '.join(_ACTIVATIONS)}",
    }

    def recognises(self, contents: Any) -> bool:
        return state_dict_in(contents, _is_gpt2) is not None

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        network = _Network(file, layout)
        said = _said_beside(file)
        heads = _heads(file.path, said, network.width, n_heads)
        stated = _activation(file.path, said)
        usual: _Activation = "gelu" if network.is_linear else "gelu_new"
        activation = choose(layout, "activation", _ACTIVATIONS, default=stated or usual)
        eps = float(said.get("layer_norm_epsilon", 1e-5))
        config = _config(network, *_pairs(file.path, network, layout), n_heads=heads, act_fn=activation, eps=eps)
        trained = assumed_points(config.n_dims, config.n_points)
        program = "nanoGPT" if network.is_linear else "Hugging Face"
        return Reading(
            config=config,
            weights=network.converted(heads, channel=_channel(layout, len(network.read_out))),
            task=LinearRegression(config.n_dims, n_points=trained),
            n_points_trained=trained,
            origin=f"GPT-2 under {program}'s names",
            step=_step(file.contents),
            notes=(
                f"{file.path.name} was read as a GPT-2 whose read-in is {network.names[0]} and whose read-out is "
                f"{network.names[1]}, with {config.tokens} tokens.",
                *((f"Left out, since the model never reads them: {few(network.unused)}.",) if network.unused else ()),
            ),
            task_assumptions=(TASK_UNKNOWN,),
            other_assumptions=() if stated is not None or "activation" in layout else (
                f"The file does not say which activation its MLPs have: {activation} is assumed, as in {program}; say "
                "otherwise with `--layout activation=relu` or `layout=`.",
            ),
            points_assumption=POINTS_UNKNOWN.format(n_points=trained),
        )  # fmt: skip


def _pairs(path: Path, network: "_Network", layout: Layout) -> tuple[Tokens, int, int, int]:
    """Say how examples become tokens, which no weight tells, and so the dimensions, points and tokens per point."""
    tokens = choose(layout, "tokens", _TOKENS, default=None)
    if tokens is None:
        raise CheckpointError(
            f"{_WHAT} need to be told how pairs become tokens of width {network.d_token}, got no such word: {path}; "
            "pass --layout tokens=interleaved (x1, y1, ... with y in the first coordinate), separate ((0, x), (y, 0), "
            "...), joint ([x; y]) or sequence (layout={'tokens': ...})."
        )
    n_dims = {"interleaved": network.d_token, "sequence": 1}.get(tokens, network.d_token - 1)
    a_point = 2 if tokens in ("interleaved", "separate") else 1
    rows = network.n_positions
    n_points = 2 * n_dims + 1 if rows is None else rows // a_point
    if n_dims < 1 or n_points < 1 or (tokens == "sequence" and network.d_token != 1):
        raise CheckpointError(
            f"{tokens} tokens need a wider read-in or more positions, got tokens of width {network.d_token} and "
            f"{rows} positions: {path}; pass another --layout tokens=."
        )
    return tokens, n_dims, n_points, a_point


def _config(network: "_Network", tokens: Tokens, n_dims: int, n_points: int, a_point: int, **told: Any) -> ModelConfig:
    rows = network.n_positions
    return ModelConfig(
        n_dims=n_dims,
        n_points=n_points,
        n_layers=network.n_layers,
        d_model=network.width,
        d_mlp=network.d_mlp,
        tokens=tokens,
        d_out=len(network.read_out),
        final_norm=network.has_final_norm,
        positional_embedding_type="none" if rows is None else "standard",
        n_positions=rows if rows is not None and rows != n_points * a_point else None,
        bias_read_in=network.read_in_bias is not None,
        bias_qkv=network.has("attn.c_attn.bias"),
        bias_attn_out=network.has("attn.c_proj.bias"),
        bias_mlp=network.has("mlp.c_fc.bias"),
        bias_read_out=network.read_out_bias is not None,
        init="gpt2" if network.is_linear else "dtsip",
        **told,
    )


def _is_gpt2(names: Mapping[str, Any]) -> bool:
    return any(_BLOCK.fullmatch(name) for name in names)


class _Network:
    """What names and shapes tell."""

    def __init__(self, file: WeightFile, layout: Layout) -> None:
        path = file.path
        named = {n: w for n, w in (state_dict_in(file.contents, _is_gpt2) or {}).items() if not _BUFFER.search(n)}
        found = [match for name in named if (match := _BLOCK.fullmatch(name))]
        roots = {match["root"] for match in found}
        if len(roots) > 1:
            raise CheckpointError(
                f"{_WHAT} need to be those of one network, got names that begin with "
                f"{few(sorted(root or 'h.' for root in roots))}: {path}; save one of them."
            )
        self.root, self.n_layers = roots.pop(), len(found)
        weights = to_float32(path, named)
        self.blocks = {n.removeprefix(self.root): w for n, w in weights.items() if n.startswith(f"{self.root}h.")}
        norm = self.blocks.get("h.0.ln_1.weight")
        if norm is None or norm.ndim != 1 or not len(norm):
            raise CheckpointError(f"{_WHAT} need {self.root}h.0.ln_1.weight [d_model], got no such vector: {path}.")
        self.width = len(norm)
        none = torch.zeros(0, 0)
        self.is_linear = tuple(self.blocks.get("h.0.attn.c_attn.weight", none).shape) == (3 * self.width, self.width)
        fc = self.blocks.get("h.0.mlp.c_fc.weight", none)
        self.d_mlp = fc.shape[0 if self.is_linear else 1] if fc.ndim == 2 else 0
        ends = {n: w for n, w in weights.items() if not n.startswith(f"{self.root}h.")}
        self.positions = ends.pop(f"{self.root}wpe.weight", None)
        self.final = [ends.pop(f"{self.root}ln_f.{part}", None) for part in ("weight", "bias")]
        self._check_blocks(path)
        self._take_ends(path, ends, layout)

    def has(self, name: str) -> bool:
        return f"h.0.{name}" in self.blocks

    @property
    def has_final_norm(self) -> bool:
        return self.final[0] is not None

    @property
    def n_positions(self) -> int | None:
        return None if self.positions is None else len(self.positions) if self.positions.ndim else 0

    @property
    def d_token(self) -> int:
        return self.read_in.shape[1]

    def _check_blocks(self, path: Path) -> None:
        n, wide = self.width, self.d_mlp
        maps = {"attn.c_attn": (n, 3 * n), "attn.c_proj": (n, n), "mlp.c_fc": (n, wide), "mlp.c_proj": (wide, n)}
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.n_layers):
            for name, shape in maps.items():
                shapes[f"h.{layer}.{name}.weight"] = shape[::-1] if self.is_linear else shape
                if self.has(f"{name}.bias") or (name == "mlp.c_proj" and self.has("mlp.c_fc.bias")):
                    shapes[f"h.{layer}.{name}.bias"] = shape[1:]
            for name in ("ln_1", "ln_2"):
                shapes[f"h.{layer}.{name}.weight"] = (n,)
                if self.has(f"{name}.bias"):
                    shapes[f"h.{layer}.{name}.bias"] = (n,)
        check_names(path, self.blocks, shapes, what=_WHAT)
        check_shapes(path, self.blocks, shapes, what=_WHAT)
        ends = {"wpe.weight": self.positions, "ln_f.weight": self.final[0], "ln_f.bias": self.final[1]}
        there = {name: weight for name, weight in ends.items() if weight is not None}
        rows = self.n_positions or 0
        check_shapes(path, there, {name: (rows, n) if name == "wpe.weight" else (n,) for name in there}, what=_WHAT)

    def _take_ends(self, path: Path, ends: dict[str, Tensor], layout: Layout) -> None:
        table = f"{self.root}wte.weight"
        matrices = {name: w for name, w in ends.items() if w.ndim == 2}
        ins = [name for name, w in matrices.items() if w.shape[0] == self.width and w.shape[1]]
        outs = [name for name, w in matrices.items() if w.shape[1] == self.width and w.shape[0] and name != table]
        read_in = _one(path, layout, "read_in", ins, "[d_model, d_token], which reads numbers in", self.width)
        outs = [name for name in outs if name != read_in] if "read_out" not in layout else outs
        read_out = _one(path, layout, "read_out", outs, "[d_out, d_model], which reads predictions out", self.width)
        self.names = read_in, read_out
        self.read_in, self.read_out = ends.pop(read_in), ends.pop(read_out)
        biases = [ends.pop(f"{name.removesuffix('weight')}bias", None) for name in self.names]
        self.read_in_bias, self.read_out_bias = biases
        there = {name: bias for name, bias in zip(self.names, biases, strict=True) if bias is not None}
        check_shapes(path, there, {n: (matrices[n].shape[0],) for n in there}, what="biases of read-in and read-out")
        # Token tables, and what another choice of the two maps would have taken.
        self.unused = [name for name in ends if name in (table, *ins, *outs)]
        check_names(path, [name for name in ends if name not in self.unused], [], what=_WHAT)

    def converted(self, n_heads: int, *, channel: int) -> dict[str, Tensor]:
        order = [channel, *(k for k in range(len(self.read_out)) if k != channel)]  # ours is the first
        ours = {"embed.W_E": self.read_in.T, "unembed.W_U": self.read_out[order].T}
        more = {
            "embed.b_E": self.read_in_bias,
            "unembed.b_U": None if self.read_out_bias is None else self.read_out_bias[order],
            "pos_embed.W_pos": self.positions,
            "ln_final.w": self.final[0],
            "ln_final.b": _or_zeros(self.final[1], self.final[0]),
        }
        ours |= {name: weight for name, weight in more.items() if weight is not None}
        for layer in range(self.n_layers):
            prefix = f"h.{layer}."
            block = {n.removeprefix(prefix): w for n, w in self.blocks.items() if n.startswith(prefix)}
            ours |= {f"blocks.{layer}.{n}": w for n, w in self._block(block, n_heads).items()}
        return {name: weight.contiguous() for name, weight in ours.items()}

    def _block(self, theirs: Mapping[str, Tensor], n_heads: int) -> dict[str, Tensor]:
        turned = {n: w.T if self.is_linear and w.ndim == 2 else w for n, w in theirs.items()}  # all [in, out]
        ours = {
            "attn.W_O": rearrange(turned["attn.c_proj.weight"], "(h c) m -> h c m", h=n_heads),
            "mlp.W_in": turned["mlp.c_fc.weight"],
            "mlp.W_out": turned["mlp.c_proj.weight"],
        }
        fused = rearrange(turned["attn.c_attn.weight"], "m (qkv h c) -> qkv h m c", qkv=3, h=n_heads)
        ours |= {f"attn.W_{letter}": weight for letter, weight in zip("QKV", fused, strict=True)}
        if "attn.c_attn.bias" in turned:
            biases = rearrange(turned["attn.c_attn.bias"], "(qkv h c) -> qkv h c", qkv=3, h=n_heads)
            ours |= {f"attn.b_{letter}": bias for letter, bias in zip("QKV", biases, strict=True)}
        names = {"attn.b_O": "attn.c_proj.bias", "mlp.b_in": "mlp.c_fc.bias", "mlp.b_out": "mlp.c_proj.bias"}
        ours |= {name: turned[other] for name, other in names.items() if other in turned}
        for norm in (1, 2):
            ours[f"ln{norm}.w"] = turned[f"ln_{norm}.weight"]
            ours[f"ln{norm}.b"] = turned.get(f"ln_{norm}.bias", torch.zeros(self.width))
        return ours


def _or_zeros(bias: Tensor | None, weight: Tensor | None) -> Tensor | None:
    return torch.zeros_like(weight) if bias is None and weight is not None else bias


def _one(path: Path, layout: Layout, key: str, names: list[str], what: str, width: int) -> str:
    given = layout.get(key)
    if given in names:
        return str(given)
    if given is None and len(names) == 1:
        return names[0]
    if not names:
        raise CheckpointError(
            f"{_WHAT} that does regression need a matrix {what}, got none beside the blocks of width {width}: {path}; "
            "a model of words is not read as one of numbers."
        )
    raise CheckpointError(
        f"{_WHAT} need one matrix {what}, got {few(names) if given is None else repr(given)}: {path}; pass --layout "
        f"{key}={names[0]} (layout=) or another of {few(names)}."
    )


def _said_beside(file: WeightFile) -> dict[str, Any]:
    """Collect settings from config.json of `save_pretrained`, or from what nanoGPT keeps with the weights."""
    beside = file.path.with_name("config.json")
    held = [file.contents.get(key) for key in ("model_args", "config")]
    said: dict[str, Any] = next((dict(inner) for inner in held if isinstance(inner, Mapping) and "n_head" in inner), {})
    if not said and beside.is_file():
        try:
            read = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"config.json beside the weights needs to be readable JSON, got {one_line(error)[:100]}: {beside}; "
                "mend it or move it away."
            ) from error
        said = read if isinstance(read, dict) else {}
    wrong = [f"{name} {said[name]!r}" for name, value in _UNHEARD.items() if said.get(name, value) != value]
    eps = said.get("layer_norm_epsilon", 1e-5)
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
        wrong.append(f"layer_norm_epsilon {eps!r}")
    if wrong:
        raise CheckpointError(
            f"the config of a GPT-2 needs the settings of the usual formula, got {few(wrong)}: {file.path}; move a "
            "config.json beside it away if that belongs to something else."
        )
    return said


def _heads(path: Path, said: Mapping[str, Any], width: int, n_heads: int | None) -> int:
    stated = said.get("n_head")
    heads = stated_heads(path, stated if type(stated) is int else None, n_heads, place="that the file states")
    return check_heads(path, width, heads, absent="no number", hint="")


def _activation(path: Path, said: Mapping[str, Any]) -> _Activation | None:
    stated = said.get("activation_function")
    stated = "gelu_new" if stated == "gelu_pytorch_tanh" else stated  # one formula
    if stated is not None and stated not in _ACTIVATIONS:
        raise CheckpointError(
            f"a GPT-2 needs an activation out of {', '.join(_ACTIVATIONS)}, got {stated!r} in config.json: {path}; "
            f"move that away if it belongs to something else."
        )
    return None if stated is None else _ACTIVATIONS[stated]


def _channel(layout: Layout, d_out: int) -> int:
    return number_or_word(layout, "channel", {"first": 0, "last": d_out - 1}, default=0, most=d_out - 1)


def _step(contents: Mapping[str, Any]) -> int | None:
    return next((step for name in _STEPS if type(step := contents.get(name)) is int and step >= 0), None)
