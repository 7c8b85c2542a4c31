"""Read checkpoints of dtsip/in-context-learning, the code of Garg et al. (2022), under HookedTransformer's names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops import rearrange
from torch import Tensor

from icl_interp.checkpoints.distribution import fit_points
from icl_interp.checkpoints.dtsip_config import DtsipConfig, read_dtsip_config, training_distribution
from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.reader import Layout, Reader
from icl_interp.checkpoints.record import Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import check_heads, check_names, check_shapes, few, state_dict_in, to_float32
from icl_interp.models.config import ModelConfig

__all__ = ["Dtsip", "check_layout", "convert", "drop_unused", "dtsip_weights", "read_dtsip", "sizes_of"]

# Causal masks that old transformers versions wrote into files; `.attn.c_attn.bias` is a weight: no match.
_LEGACY_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")
_TOKEN_TABLE = "_backbone.wte.weight"  # GPT-2 has one; the model reads numbers instead
_LAYER = re.compile(r"_backbone\.h\.(\d+)\.")
_WHAT = "weights of dtsip/in-context-learning"

_Shapes = dict[str, tuple[int, ...]]


def _is_dtsip(weights: Mapping[str, Any]) -> bool:
    """Tell whether names look like this program's."""
    return "_read_in.weight" in weights or any(name.startswith("_backbone.") for name in weights)


def drop_unused(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the model never reads: the token table, and buffers of old transformers versions."""
    return {n: w for n, w in weights.items() if n != _TOKEN_TABLE and not _LEGACY_BUFFER.search(n)}


def sizes_of(path: Path, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Read off the shapes all that they tell, which is everything but the number of heads."""
    anchors = ("_read_in.weight", "_backbone.wpe.weight", "_backbone.h.0.attn.c_attn.weight")
    missing = [name for name in anchors if name not in weights or weights[name].ndim != 2]
    if missing:
        raise CheckpointError(
            f"{_WHAT} need the matrices {', '.join(anchors)}, got a file without {', '.join(missing)}: "
            f"{path}; check which program wrote it."
        )
    n_embd, n_dims = weights[anchors[0]].shape
    rows = weights[anchors[1]].shape[0]
    if rows < 2 or rows % 2 or not n_embd or not n_dims:
        raise CheckpointError(
            f"{_WHAT} need two positions a point and widths above 0, got a position table of {rows} rows and "
            f"a read-in of shape {[n_embd, n_dims]}: {path}; check which program wrote it."
        )
    # Counted, not the highest number plus 1: one name with a number of ten digits must not cost time.
    layers = {match.group(1) for name in weights if (match := _LAYER.match(name))}
    return {"n_dims": n_dims, "n_embd": n_embd, "n_layer": len(layers), "n_positions": rows // 2}


def check_layout(path: Path, weights: Mapping[str, Tensor], sizes: Mapping[str, int]) -> None:
    """Check that every weight of the model is there in its shape, and nothing else."""
    shapes = _shapes(sizes)
    check_names(path, weights, shapes, what=_WHAT)
    check_shapes(path, weights, shapes, what=_WHAT)


def convert(weights: Mapping[str, Tensor], *, n_layers: int, n_heads: int) -> dict[str, Tensor]:
    """Rename and reshape into HookedTransformer's weights.

    Hugging Face's Conv1D keeps matrices as [in, out], so nothing inside a block is transposed; c_attn holds
    query, key and value side by side, and within each the heads side by side. Read-in and read-out are
    torch.nn.Linear, [out, in].
    """
    ours = {
        "embed.W_E": weights["_read_in.weight"].T,
        "embed.b_E": weights["_read_in.bias"],
        "pos_embed.W_pos": weights["_backbone.wpe.weight"],
        "ln_final.w": weights["_backbone.ln_f.weight"],
        "ln_final.b": weights["_backbone.ln_f.bias"],
        "unembed.W_U": weights["_read_out.weight"].T,
        "unembed.b_U": weights["_read_out.bias"],
    }
    for layer in range(n_layers):
        ours |= _convert_block(weights, f"_backbone.h.{layer}.", f"blocks.{layer}.", n_heads)
    return {name: weight.contiguous() for name, weight in ours.items()}


def _convert_block(weights: Mapping[str, Tensor], theirs: str, ours: str, n_heads: int) -> dict[str, Tensor]:
    block = {
        f"{ours}attn.W_O": rearrange(weights[f"{theirs}attn.c_proj.weight"], "(h c) m -> h c m", h=n_heads),
        f"{ours}attn.b_O": weights[f"{theirs}attn.c_proj.bias"],
        f"{ours}mlp.W_in": weights[f"{theirs}mlp.c_fc.weight"],
        f"{ours}mlp.b_in": weights[f"{theirs}mlp.c_fc.bias"],
        f"{ours}mlp.W_out": weights[f"{theirs}mlp.c_proj.weight"],
        f"{ours}mlp.b_out": weights[f"{theirs}mlp.c_proj.bias"],
    }
    for norm in ("1", "2"):
        block[f"{ours}ln{norm}.w"] = weights[f"{theirs}ln_{norm}.weight"]
        block[f"{ours}ln{norm}.b"] = weights[f"{theirs}ln_{norm}.bias"]
    fused = rearrange(weights[f"{theirs}attn.c_attn.weight"], "m (qkv h c) -> qkv h m c", qkv=3, h=n_heads)
    biases = rearrange(weights[f"{theirs}attn.c_attn.bias"], "(qkv h c) -> qkv h c", qkv=3, h=n_heads)
    for letter, weight, bias in zip("QKV", fused, biases, strict=True):
        block[f"{ours}attn.W_{letter}"] = weight
        block[f"{ours}attn.b_{letter}"] = bias
    return block


def _shapes(sizes: Mapping[str, int]) -> _Shapes:
    n_dims, width = sizes["n_dims"], sizes["n_embd"]
    shapes: _Shapes = {
        "_read_in.weight": (width, n_dims),
        "_read_in.bias": (width,),
        "_backbone.wpe.weight": (2 * sizes["n_positions"], width),
        "_backbone.ln_f.weight": (width,),
        "_backbone.ln_f.bias": (width,),
        "_read_out.weight": (1, width),
        "_read_out.bias": (1,),
    }
    maps = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
    maps |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
    for layer in range(sizes["n_layer"]):
        prefix = f"_backbone.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{prefix}{norm}.weight": (width,), f"{prefix}{norm}.bias": (width,)}
        for name, shape in maps.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[1:]}
    return shapes


_STEP_IN_NAME = re.compile(r"model_(\d+)\.(?:pt|safetensors)")
_ROWS_IN_HEAD = 32  # widths 64, 128 and 256 have 2, 4 and 8 heads in Garg et al. (2022)


def dtsip_weights(contents: object) -> dict[str, Any] | None:
    """Find dtsip's weights in what a file held: the training state of state.pt, or a bare state dict."""
    return state_dict_in(contents, _is_dtsip)


def read_dtsip(file: WeightFile, *, n_heads: int | None = None) -> Reading:
    """Read state.pt or model_N.pt, with the config.yaml beside it where there is one.

    Without a config.yaml the shapes tell everything but the number of heads.
    """
    named = dtsip_weights(file.contents) or {}
    weights = to_float32(file.path, drop_unused(named))
    sizes = sizes_of(file.path, weights)
    check_layout(file.path, weights, sizes)
    beside = file.path.with_name("config.yaml")
    config = read_dtsip_config(beside) if beside.is_file() else None
    _check_sizes(file.path, config, sizes)
    heads = _heads(file.path, config, sizes["n_embd"], n_heads)
    step = _step(file)
    try:
        found = training_distribution(config, n_dims=sizes["n_dims"], n_positions=sizes["n_positions"], step=step)
    except CheckpointError as error:
        raise CheckpointError(f"{beside}: {error}") from error
    return Reading(
        config=ModelConfig(
            n_dims=sizes["n_dims"],
            n_points=sizes["n_positions"],
            n_layers=sizes["n_layer"],
            n_heads=heads,
            d_model=sizes["n_embd"],
            init="dtsip",
        ),
        weights=convert(weights, n_layers=sizes["n_layer"], n_heads=heads),
        task=fit_points(found.task, found.n_points),
        n_points_trained=found.n_points,
        origin=f"dtsip/in-context-learning {'run folder' if config else 'weights without config.yaml'}",
        step=step,
        notes=(*_notes(file, config, heads, [name for name in named if name not in weights]), *found.notes),
        task_assumptions=tuple(found.assumptions),
        points_assumption=found.points_assumption,
    )


class Dtsip(Reader):
    """Checkpoints of dtsip/in-context-learning."""

    name = "state.pt or model_N.pt of dtsip/in-context-learning"
    signs = (
        "_read_in.weight",
        "_backbone.wpe.weight",
        "_backbone.h.0.attn.c_attn.weight",
        "_backbone.ln_f.weight",
        "_read_out.weight",
    )

    def recognises(self, contents: Any) -> bool:
        return dtsip_weights(contents) is not None

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:  # noqa: ARG002
        return read_dtsip(file, n_heads=n_heads)


def _step(file: WeightFile) -> int | None:
    for name in ("train_step", "global_step"):  # the second is Lightning's
        if type(step := file.contents.get(name)) is int:
            return step
    match = _STEP_IN_NAME.fullmatch(file.path.name)
    return int(match.group(1)) if match else None


def _check_sizes(path: Path, config: DtsipConfig | None, sizes: Mapping[str, int]) -> None:
    stated = sizes if config is None else config.sizes
    wrong = [f"{name} is {stated[name]} there and {size} here" for name, size in sizes.items() if stated[name] != size]
    if wrong:
        raise CheckpointError(
            f"weights need the sizes that the config.yaml beside them states, got {'; '.join(wrong)}: "
            f"{path}; move config.yaml away if it belongs to another run."
        )


def _heads(path: Path, config: DtsipConfig | None, width: int, n_heads: int | None) -> int:
    stated = None if config is None else config.sizes["n_head"]
    if stated is not None and n_heads is not None and stated != n_heads:
        raise CheckpointError(
            f"the number of heads needs to be the one in the config.yaml beside the weights, which is "
            f"{stated}, got {n_heads}: {path}; leave out --heads (n_heads=)."
        )
    heads = n_heads if stated is None else stated
    usual = f" (Garg et al. use {width // _ROWS_IN_HEAD} for that width)" if width % _ROWS_IN_HEAD == 0 else ""
    return check_heads(path, width, heads, absent="no config.yaml that says so", hint=usual)


def _notes(file: WeightFile, config: DtsipConfig | None, heads: int, unused: list[str]) -> list[str]:
    source = "the config.yaml beside it" if config else "the shapes of its weights"
    notes = [f"{file.path.name} was read as weights of dtsip/in-context-learning, with sizes from {source}."]
    if config is None:
        notes.append(f"The number of heads, {heads}, was given.")
    if unused:
        notes.append(f"Left out, since the model never reads them: {few(unused)}.")
    return notes
