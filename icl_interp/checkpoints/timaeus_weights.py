"""Turn state dicts of timaeus-research/icl into weights under HookedTransformer's names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.weights import check_names, check_shapes

__all__ = ["TimaeusSizes", "check_layout", "convert", "drop_unused", "is_timaeus", "sizes_of"]

_ROOT = "token_sequence_transformer."
_MASK = re.compile(r"\.attention\.causal_mask$")  # a buffer
_LAYER = re.compile(re.escape(_ROOT) + r"blocks\.(\d+)\.")
_READ_IN, _POSITIONS, _MLP = "token_embedding.weight", "postn_embedding.weight", "blocks.0.compute.0.weight"
_OUTPUT = "attention.output.weight"
_WHAT = "weights of timaeus-research/icl"


@dataclass(frozen=True, slots=True)
class TimaeusSizes:
    """What shapes tell."""

    d_token: int
    """Coordinates of a token: one more than of x."""
    d_model: int
    """Width of the residual stream."""
    d_mlp: int
    """Hidden width of the MLP."""
    n_layers: int
    """Number of blocks."""
    n_positions: int
    """Columns of the position matrix, two a point."""
    attn_out_proj: bool
    """Whether attention has an output projection."""

    def __repr__(self) -> str:
        return f"TimaeusSizes({self.n_layers} layers, width {self.d_model}, tokens of width {self.d_token})"


def is_timaeus(weights: Mapping[str, Any]) -> bool:
    """Tell whether names look like this program's.

    Args:
        weights: By name.

    Returns:
        True if one has its prefix.
    """
    return any(name.startswith(_ROOT) for name in weights)


def drop_unused(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the causal masks.

    Args:
        weights: By this program's names.

    Returns:
        The rest.
    """
    return {name: weight for name, weight in weights.items() if not _MASK.search(name)}


def sizes_of(path: Path, weights: Mapping[str, Tensor]) -> TimaeusSizes:
    """Read off the shapes all that they tell, which is everything but the number of heads.

    Args:
        path: The file, for the sentence.
        weights: By this program's names.

    Returns:
        The sizes.

    Raises:
        CheckpointError: If read-in, position matrix or first MLP are missing or no matrices, or there are not two
            positions a point and two coordinates a token.
    """
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
    """Check that every weight of the model is there in its shape, and nothing else.

    Args:
        path: The file, for the sentence.
        weights: By this program's names.
        sizes: As `sizes_of` gives them.

    Raises:
        CheckpointError: If a name is missing or unexpected, or a shape differs.
    """
    shapes = {_ROOT + name: shape for name, shape in _shapes(sizes).items()}
    check_names(path, weights, shapes, what=_WHAT)
    check_shapes(path, weights, shapes, what=_WHAT)


def convert(weights: Mapping[str, Tensor], sizes: TimaeusSizes, *, n_heads: int) -> dict[str, Tensor]:
    """Rename and reshape into HookedTransformer's weights.

    All matrices are torch.nn.Linear's, [out, in]; positions are the columns of one. Query, key and value lie together
    within each head.

    Args:
        weights: By this program's names, checked by `check_layout`.
        sizes: As `sizes_of` gives them.
        n_heads: Heads a block.

    Returns:
        Weights under the names of the model.
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
