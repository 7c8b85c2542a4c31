"""Read the weights of a TransformerLens HookedTransformer, kept with its config.

Keys: "cfg" (the fields of HookedTransformerConfig, plain values), "state_dict", and where numbers were fed in as
embeddings "read_in.weight" [d_model d_token] and "read_in.bias" [d_model], and "layout", how examples became tokens.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast, get_args

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points
from icl_interp.checkpoints.record import Layout, Reader, Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.weights import stated_heads, to_float32, without_prefix
from icl_interp.errors import CheckpointError, one_line
from icl_interp.models.architecture import Tokens
from icl_interp.models.transformer_lens.read import from_lens_weights
from icl_interp.tasks.linear_regression import LinearRegression

_NAME = re.compile(r"(embed\.W_E|unembed\.W_U|blocks\.\d+\.attn\.W_[QKVO])")
_READ_IN = ("read_in.weight", "read_in.bias")
_LAYOUT_UNKNOWN = (
    "The file does not say how pairs become tokens: x1, y1, x2, y2, ... with y in the first coordinate is assumed; "
    "say otherwise with `--layout tokens=separate` or `layout=`."
)


def is_hooked_transformer(contents: object) -> bool:
    """Tell whether a file holds weights under HookedTransformer's names, with or without a config."""
    if not isinstance(contents, Mapping):
        return False
    inner = contents.get("state_dict", contents)
    return isinstance(inner, Mapping) and without_prefix(inner, _are_own) is not None


def _are_own(names: Iterable[str]) -> bool:
    return any(_NAME.fullmatch(name) for name in names)


class HookedTransformerFile(Reader):
    """A HookedTransformer's state dict with its cfg."""

    name = "a HookedTransformer's state dict with its cfg"
    signs = ("cfg*", "blocks.0.attn.W_Q", "blocks.0.attn.W_O", "unembed.W_U")
    options: ClassVar[Mapping[str, str]] = {"tokens": f"how pairs become tokens, {', '.join(get_args(Tokens))}"}

    def recognises(self, contents: Any) -> bool:
        return is_hooked_transformer(contents)

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        tokens = layout.get("tokens")
        contents, path = file.contents, file.path
        cfg, stated = contents.get("cfg"), contents.get("layout")
        spoken = tokens if stated is None else stated
        if tokens not in (None, spoken):
            raise CheckpointError(
                f"the layout of a HookedTransformer needs to be the one in the file, which is {spoken!r}, got "
                f"{tokens!r}: {path}; leave out --layout (layout=)."
            )
        if "state_dict" not in contents or not isinstance(cfg, Mapping):
            raise CheckpointError(
                f"weights of a HookedTransformer need its config beside them, which shapes do not tell, got none: "
                f'{path}; save {{"cfg": its fields as plain values, "state_dict": model.state_dict()}}.'
            )
        if spoken is not None and spoken not in get_args(Tokens):
            raise CheckpointError(
                f"the layout of a HookedTransformer needs to be one of {', '.join(get_args(Tokens))}, got {spoken!r}: "
                f"{path}; write it anew."
            )
        weights = to_float32(path, _weights(contents))
        read_in = None
        if _READ_IN[0] in weights:
            read_in = weights.pop(_READ_IN[0]), weights.pop(_READ_IN[1], None)
        try:
            config, converted = from_lens_weights(weights, cfg, read_in=read_in, layout=cast(Tokens | None, spoken))
        except (ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{one_line(error)}: {path}.") from error
        stated_heads(path, config.n_heads, n_heads, place="in the file")
        entry = "with its token table as the read-in of one-hot tokens" if read_in is None else "with its read-in"
        n_points = assumed_points(config.n_dims, config.n_points)
        return Reading(
            config=config,
            weights=converted,
            task=LinearRegression(config.n_dims, n_points=n_points),
            n_points_trained=n_points,
            origin="HookedTransformer of TransformerLens",
            notes=(f"{path.name} was read as a HookedTransformer, {entry}, in the layout {config.tokens!r}.",),
            task_assumptions=(TASK_UNKNOWN,),
            other_assumptions=(_LAYOUT_UNKNOWN,) if spoken is None else (),
            points_assumption=POINTS_UNKNOWN.format(n_points=n_points),
        )


def _weights(contents: Mapping[str, Any]) -> dict[str, Any]:
    named = without_prefix(contents["state_dict"], _are_own) or {}
    kept = {name: weight for name, weight in named.items() if not name.endswith((".attn.mask", ".attn.IGNORE"))}
    return kept | {name: contents[name] for name in _READ_IN if contents.get(name) is not None}
