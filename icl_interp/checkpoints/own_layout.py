"""Whether a file's weights are those of its config, checked before anything of the config's size is made."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.weights import check_names, check_shapes
from icl_interp.models.config import ModelConfig
from icl_interp.models.shapes import parameter_shapes

__all__ = ["check_own_layout"]

_BLOCK = re.compile(r"blocks\.(\d+)\.")


def check_own_layout(path: Path, weights: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Check that weights are those of their config, before anything of the config's size is made.

    Args:
        path: The file, for the sentence.
        weights: By name.
        config: What the file says of its model; nothing in it is trusted.

    Raises:
        CheckpointError: If the number of blocks differs, a name is missing or unexpected, or a shape differs.
    """
    # First the one size that costs time: a config may speak of 10**9 layers.
    n_blocks = len({match.group(1) for name in weights if (match := _BLOCK.match(name))})
    if n_blocks != (1 if config.share_layers else config.n_layers):
        asked = "one block, shared by" if config.share_layers else "a block for each of"
        raise CheckpointError(
            f"weights need {asked} the n_layers={config.n_layers} that the file states, got {n_blocks}: "
            f"{path}; check which program wrote it."
        )
    shapes = parameter_shapes(config)
    check_names(path, weights, shapes, what="weights")
    check_shapes(path, weights, shapes, what="weights")
