"""Read checkpoints of dtsip/in-context-learning, the code of Garg et al. (2022)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icl_interp.checkpoints.distribution import fit_points
from icl_interp.checkpoints.dtsip_config import DtsipConfig, read_dtsip_config, training_distribution
from icl_interp.checkpoints.dtsip_weights import check_layout, convert, drop_unused, is_dtsip, sizes_of
from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.record import Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import check_heads, few, state_dict_in, to_float32
from icl_interp.models.config import ModelConfig

__all__ = ["dtsip_weights", "read_dtsip"]

_STEP_IN_NAME = re.compile(r"model_(\d+)\.(?:pt|safetensors)")
_ROWS_IN_HEAD = 32  # widths 64, 128 and 256 have 2, 4 and 8 heads in Garg et al. (2022)


def dtsip_weights(contents: object) -> dict[str, Any] | None:
    """Find dtsip's weights in what a file held: the training state of state.pt, or a bare state dict.

    Args:
        contents: As loaded.

    Returns:
        Weights by name, or None where the file is another program's.
    """
    return state_dict_in(contents, is_dtsip)


def read_dtsip(file: WeightFile, *, n_heads: int | None = None) -> Reading:
    """Read state.pt or model_N.pt, with the config.yaml beside it where there is one.

    Without a config.yaml the shapes tell everything but the number of heads.

    Args:
        file: A file for which `dtsip_weights` finds weights.
        n_heads: Attention heads a block, where no config.yaml says so.

    Returns:
        The model's config and weights, with the training distribution as far as the config tells it.

    Raises:
        CheckpointError: If names, shapes or values of the weights are wrong, config.yaml is unreadable or
            contradicts the weights or n_heads, or the number of heads is neither there nor given, or
            impossible.
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
    found = training_distribution(config, n_dims=sizes["n_dims"], n_positions=sizes["n_positions"], step=step)
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
