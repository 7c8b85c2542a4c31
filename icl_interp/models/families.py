"""What sets the model families apart: which options each one leaves open, and what the others are there."""

from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["INITS", "LINEAR_FAMILIES", "Family", "fill_family", "refused_options"]

Family = Literal["gpt2", "lsa", "ltb", "softmax_layer"]

LINEAR_FAMILIES: tuple[Family, ...] = ("lsa", "ltb", "softmax_layer")
"""The families over joint tokens whose residual stream is the token matrix itself."""

# Options that only the softmax family leaves open, with what the others are.
_JOINT: dict[str, Any] = {
    "tokens": "joint",
    "attention": "full",
    "mask_query": True,
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

_FIXED: dict[str, dict[str, Any]] = {
    "gpt2": {
        "d_v": None,
        "share_layers": False,
        "normalise": "mean",
        "normalise_by": None,
        "attn_skip": True,
        "output_sign": 1,
        "init_std": None,
    },
    "lsa": {**_JOINT, "attn_only": True, "d_mlp": None},
    "ltb": {**_JOINT, "attn_only": False, "output_sign": 1},
    "softmax_layer": {
        **_JOINT,
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

INITS: dict[str, tuple[str, ...]] = {
    "gpt2": ("dtsip", "gpt2", "transformer_lens", "torch", "zhang"),
    "lsa": ("normal", "von_oswald"),
    "ltb": ("normal", "von_oswald"),
    "softmax_layer": ("zeros", "normal"),
}
"""The initialisations of each family, the default first."""


def fill_family(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a config's fields with what its family fixes and what it takes by default.

    Args:
        fields: As a user gives them; values of a wrong kind are left for the config's own checks.

    Returns:
        New fields; nothing that was given is changed.
    """
    filled = dict(fields)
    family = filled.get("family", "gpt2")
    if family not in _FIXED:
        return filled
    for name, value in _FIXED[family].items():
        filled.setdefault(name, value)
    filled.setdefault("init", INITS[family][0])
    if family in LINEAR_FAMILIES:
        filled.setdefault("n_layers", 1)
        filled.setdefault("n_heads", 1)
    if family in LINEAR_FAMILIES and isinstance(filled.get("n_dims"), int):
        filled.setdefault("d_model", filled["n_dims"] + 1)
    if family == "gpt2" and filled.get("final_norm") is None:
        with_norm = filled.get("normalization_type", "LN") is not None
        filled["final_norm"] = with_norm and filled.get("read_out", "free") == "free"
    if filled.get("read_out") == "pinned":
        filled.setdefault("bias_read_in", False)
        filled.setdefault("bias_read_out", False)
    if filled.get("attn_out_proj") is False:
        filled.setdefault("bias_attn_out", False)
    return filled


def refused_options(family: Family, fields: Mapping[str, Any]) -> list[str]:
    """List what was asked of a family that it cannot be.

    Args:
        family: Of the config.
        fields: All fields of the config.

    Returns:
        A clause for each option; empty if there is none.
    """
    wrong = [
        f"family {family!r} has {name}={value!r} only, got {fields[name]!r}"
        for name, value in _FIXED[family].items()
        if fields[name] != value
    ]
    if fields["init"] not in INITS[family]:
        wrong.append(f"family {family!r} has init {' or '.join(INITS[family])}, got {fields['init']!r}")
    return wrong
