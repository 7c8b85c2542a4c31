"""What can be read off the weights alone: norms, and directions that a network has given up."""

from collections.abc import Mapping

import torch
from torch import Tensor

from icl_interp.models.hooked import HookedModel

__all__ = ["DEAD_SCALE", "weight_metrics"]

DEAD_SCALE = 0.1
"""A normalisation scale below this in size counts as dead (Hoogland et al.)."""

_NORMS = ("ln1", "ln2", "ln_final")


def weight_metrics(model: HookedModel) -> dict[str, float]:
    """Measure how far norms and embeddings have collapsed.

    Formula: "weight norm" |w| over all parameters. For each LayerNorm with scale g and shift b: "<name> scale mean",
    "scale std", "scale norm" |g|, "shift norm" |b| and "dead scales", the share of |g_i| < 0.1. For read-in and
    position table: "rank", the participation ratio (sum s^2)^2 / sum s^4 of the singular values. For the read-out: the
    same ratio of the entries of the effective row W_U[:, 0] * g of the final norm ("read-out width"), and the
    "effective bias" W_U[:, 0] . b + b_U[0].

    Args:
        model: Of any family; what a family lacks is left out.

    Returns:
        By name, float64.

    Source:
        Hoogland et al. (2024), section on collapse; the participation ratio as its summary is ours.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> model = build_model(ModelConfig(n_dims=2, n_points=3, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> found = weight_metrics(model)
        >>> found["ln_final scale norm"] == 8**0.5, found["ln_final dead scales"]
        (True, 0.0)
    """
    weights = {name: value.detach().double() for name, value in model.named_parameters()}
    found = {"weight norm": float(torch.cat([w.flatten() for w in weights.values()]).norm())}
    for name in weights:
        owner, _, leaf = name.rpartition(".")
        if leaf == "w" and owner.rpartition(".")[2] in _NORMS:
            found |= _norm_metrics(owner, weights[name], weights[f"{owner}.b"])
    for name, label in (("embed.W_E", "read-in rank"), ("pos_embed.W_pos", "position rank")):
        if name in weights:
            found[label] = _participation(torch.linalg.svdvals(weights[name]))
    return found | _read_out(weights)


def _norm_metrics(name: str, scale: Tensor, shift: Tensor) -> dict[str, float]:
    return {
        f"{name} scale mean": float(scale.mean()),
        f"{name} scale std": float(scale.std()),
        f"{name} scale norm": float(scale.norm()),
        f"{name} shift norm": float(shift.norm()),
        f"{name} dead scales": float((scale.abs() < DEAD_SCALE).double().mean()),
    }


def _read_out(weights: Mapping[str, Tensor]) -> dict[str, float]:
    if not {"unembed.W_U", "ln_final.w", "ln_final.b"} <= weights.keys():
        return {}
    row = weights["unembed.W_U"][:, 0]
    bias = row @ weights["ln_final.b"]
    if "unembed.b_U" in weights:
        bias = bias + weights["unembed.b_U"][0]
    return {"read-out width": _participation(row * weights["ln_final.w"]), "effective bias": float(bias)}


def _participation(values: Tensor) -> float:
    squares = values.square()
    total = squares.square().sum()
    return float(squares.sum().square() / total) if float(total) > 0 else 0.0
