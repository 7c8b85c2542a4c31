"""Read checkpoints of timaeus-research/icl under HookedTransformer's names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.distribution import TASK_UNKNOWN
from icl_interp.checkpoints.record import Layout, Reader, Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import check_heads, check_names, check_shapes, state_dict_in, to_float32
from icl_interp.errors import CheckpointError
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression

_ROOT = "token_sequence_transformer."
_MASK = re.compile(r"\.attention\.causal_mask$")  # a buffer
_LAYER = re.compile(re.escape(_ROOT) + r"blocks\.(\d+)\.")
_READ_IN, _POSITIONS, _MLP = "token_embedding.weight", "postn_embedding.weight", "blocks.0.compute.0.weight"
_OUTPUT = "attention.output.weight"
_WHAT = "weights of timaeus-research/icl"
_PAPER = " (Hoogland et al. use 4 for width 64)"


@dataclass(frozen=True, slots=True)
class TimaeusSizes:
    """What shapes tell."""

    d_token: int
    """Coordinates of a token: one more than of x."""
    d_model: int
    d_mlp: int
    n_layers: int
    n_positions: int
    """Columns of the position matrix, two a point."""
    attn_out_proj: bool

    def __repr__(self) -> str:
        return f"TimaeusSizes({self.n_layers} layers, width {self.d_model}, tokens of width {self.d_token})"


def _is_timaeus(weights: Mapping[str, Any]) -> bool:
    return any(name.startswith(_ROOT) for name in weights)


def drop_unused(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name: weight for name, weight in weights.items() if not _MASK.search(name)}


def sizes_of(path: Path, weights: Mapping[str, Tensor]) -> TimaeusSizes:
    """Read off the shapes all that they tell, which is everything but the number of heads."""
    anchors = [_ROOT + name for name in (_READ_IN, _POSITIONS, _MLP)]
    missing = [name for name in anchors if name not in weights or weights[name].ndim != 2 or not weights[name].numel()]
    if missing:
        raise CheckpointError(
            f"{_WHAT} need the matrices {', '.join(anchors)}, got a file without {', '.join(missing)}: {path}; check "
            "which program wrote it."
        )
    (d_model, d_token), n_positions = weights[anchors[0]].shape, weights[anchors[1]].shape[1]
    if n_positions % 2 or d_token < 2:
        raise CheckpointError(
            f"{_WHAT} need two positions a point and a coordinate for y beside those of x, got {n_positions} positions "
            f"and tokens of width {d_token}: {path}; check which program wrote it."
        )
    # Counted, not the highest number plus 1: one name with a number of ten digits must not cost time.
    layers = {match.group(1) for name in weights if (match := _LAYER.match(name))}
    return TimaeusSizes(
        d_token=d_token,
        d_model=d_model,
        d_mlp=weights[anchors[2]].shape[0],
        n_layers=len(layers),
        n_positions=n_positions,
        attn_out_proj=any(name.endswith(_OUTPUT) for name in weights),
    )


def check_layout(path: Path, weights: Mapping[str, Tensor], sizes: TimaeusSizes) -> None:
    """Check that every weight of the model is there in its shape, and nothing else."""
    shapes = {_ROOT + name: shape for name, shape in _shapes(sizes).items()}
    check_names(path, weights, shapes, what=_WHAT)
    check_shapes(path, weights, shapes, what=_WHAT)


def convert(weights: Mapping[str, Tensor], sizes: TimaeusSizes, *, n_heads: int) -> dict[str, Tensor]:
    """Rename and reshape into HookedTransformer's weights.

    All matrices are torch.nn.Linear's, [out, in]; positions are the columns of one. Query, key and value lie together
    within each head.
    """
    theirs = {name.removeprefix(_ROOT): weight for name, weight in weights.items()}
    ours = {
        "embed.W_E": theirs[_READ_IN].T,
        "pos_embed.W_pos": theirs[_POSITIONS].T,
        "ln_final.w": theirs["unembedding.0.weight"],
        "ln_final.b": theirs["unembedding.0.bias"],
        "unembed.W_U": theirs["unembedding.1.weight"].T,
        "unembed.b_U": theirs["unembedding.1.bias"],
    }
    for layer in range(sizes.n_layers):
        prefix = f"blocks.{layer}."
        block = {name.removeprefix(prefix): w for name, w in theirs.items() if name.startswith(prefix)}
        ours |= {prefix + name: weight for name, weight in _convert_block(block, n_heads).items()}
    return {name: weight.contiguous() for name, weight in ours.items()}


def _convert_block(theirs: Mapping[str, Tensor], n_heads: int) -> dict[str, Tensor]:
    q, k, v = rearrange(theirs["attention.attention.weight"], "(h qkv c) m -> qkv h m c", qkv=3, h=n_heads)
    ours = {
        "attn.W_Q": q,
        "attn.W_K": k,
        "attn.W_V": v,
        "mlp.W_in": theirs["compute.0.weight"].T,
        "mlp.b_in": theirs["compute.0.bias"],
        "mlp.W_out": theirs["compute.2.weight"].T,
        "mlp.b_out": theirs["compute.2.bias"],
    }
    for norm in (0, 1):
        ours[f"ln{norm + 1}.w"] = theirs[f"layer_norms.{norm}.weight"]
        ours[f"ln{norm + 1}.b"] = theirs[f"layer_norms.{norm}.bias"]
    if _OUTPUT in theirs:
        ours["attn.W_O"] = rearrange(theirs[_OUTPUT], "m (h c) -> h c m", h=n_heads)
    return ours


def _shapes(sizes: TimaeusSizes) -> dict[str, tuple[int, ...]]:
    width, d_mlp = sizes.d_model, sizes.d_mlp
    block: dict[str, tuple[int, ...]] = {
        "attention.attention.weight": (3 * width, width),
        "compute.0.weight": (d_mlp, width),
        "compute.0.bias": (d_mlp,),
        "compute.2.weight": (width, d_mlp),
        "compute.2.bias": (width,),
        **{f"layer_norms.{norm}.{part}": (width,) for norm in (0, 1) for part in ("weight", "bias")},
    }
    if sizes.attn_out_proj:
        block[_OUTPUT] = (width, width)
    return {
        _READ_IN: (width, sizes.d_token),
        _POSITIONS: (width, sizes.n_positions),
        **{f"blocks.{layer}.{name}": shape for layer in range(sizes.n_layers) for name, shape in block.items()},
        "unembedding.0.weight": (width,),
        "unembedding.0.bias": (width,),
        "unembedding.1.weight": (sizes.d_token, width),
        "unembedding.1.bias": (sizes.d_token,),
    }


def timaeus_weights(contents: object) -> dict[str, Any] | None:
    """Find this program's weights in what a file held."""
    return state_dict_in(contents, _is_timaeus)


class Timaeus(Reader):
    """Checkpoints of timaeus-research/icl."""

    name = "checkpoints of timaeus-research/icl"
    signs = (_READ_IN, _POSITIONS, _MLP, "blocks.0.attention.attention.weight", "unembedding.1.weight")

    def recognises(self, contents: Any) -> bool:
        return timaeus_weights(contents) is not None

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:  # noqa: ARG002
        weights = to_float32(file.path, drop_unused(timaeus_weights(file.contents) or {}))
        sizes = sizes_of(file.path, weights)
        check_layout(file.path, weights, sizes)
        heads = check_heads(file.path, sizes.d_model, n_heads, absent="no number", hint=_PAPER)
        config = ModelConfig(
            n_dims=sizes.d_token - 1,
            n_points=sizes.n_positions // 2,
            n_layers=sizes.n_layers,
            n_heads=heads,
            d_model=sizes.d_model,
            d_mlp=sizes.d_mlp,
            tokens="separate",
            d_out=sizes.d_token,
            act_fn="relu",
            attn_out_proj=sizes.attn_out_proj,
            doubled_residual=True,
            bias_read_in=False,
            bias_qkv=False,
            bias_attn_out=False,
            init="torch",
        )
        return Reading(
            config=config,
            weights=convert(weights, sizes, n_heads=heads),
            task=LinearRegression(config.n_dims, n_points=config.n_points),
            n_points_trained=config.n_points,
            origin="timaeus-research/icl checkpoint",
            step=_step(file.contents),
            notes=(
                f"{file.path.name} was read as weights of timaeus-research/icl, with sizes from the shapes of its "
                "weights.",
                f"The number of heads, {heads}, was given.",
                f"Prompts had {config.n_points} points, for which the model has positions.",
            ),
            task_assumptions=(TASK_UNKNOWN,),
        )


def _step(contents: Mapping[str, Any]) -> int | None:
    # Adam counts the steps it takes, for each weight.
    optimizer = contents.get("optimizer")
    states = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    first = next(iter(states.values()), None) if isinstance(states, Mapping) else None
    step = first.get("step") if isinstance(first, Mapping) else None
    if isinstance(step, Tensor) and step.numel() == 1 and step.device.type == "cpu":
        step = step.item()
    return int(step) if isinstance(step, int | float) and 0 <= step < 2**63 else None
