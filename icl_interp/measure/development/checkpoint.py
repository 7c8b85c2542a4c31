"""All that is measured at one checkpoint: predictions, spectra, probes, heads and weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.controls import untrained_networks
from icl_interp.measure.development.material import Material, answers
from icl_interp.measure.development.record import ByHead, CheckpointRecord, demand_finite
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.linear_probes import probe_features
from icl_interp.measure.sites import Conventions, answering_features
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import answering_positions
from icl_interp.prompts import Prompts
from probes._core.results import short_repr
from probes.attention import normalised_entropy, pattern_variability
from probes.signature import SpectralSignature, fit_signature

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
    """
    weights = {name: value.detach().double() for name, value in model.named_parameters()}
    found = {"weight norm": float(torch.cat([w.flatten() for w in weights.values()]).norm())}
    for name in weights:
        owner, _, leaf = name.rpartition(".")
        if leaf == "w" and owner.rpartition(".")[2] in _NORMS and f"{owner}.b" in weights:
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


@dataclass(frozen=True, eq=False)
class Measured:
    """One checkpoint: its numbers, and what only means something beside other checkpoints."""

    record: CheckpointRecord
    outputs: Tensor
    """[output] float32: predictions on the shared prompts, prompt by prompt; empty where runs share none."""
    signature: SpectralSignature
    """After the last block."""

    __repr__ = short_repr


def measure_checkpoint(checkpoint: Checkpoint, material: Material, *, step: int) -> Measured:
    model = checkpoint.model
    said = {
        label: demand_finite(f"answers ({label})", answers(model, family.prompts))
        for label, family in material.families.all_families.items()
    }
    entropy, variability = _attention(model, material.probe_prompts)
    targets, sites = material.targets, model.cfg.residual_sites()
    features = answering_features(model, material.probe_prompts, sites)
    for label, rows in features.items():
        demand_finite(f"activations ({label})", rows)
    probes = probe_features(features, material.probe_prompts, targets, controls=False, seed=material.settings.seed)
    record = CheckpointRecord(
        step=step,
        sha256=checkpoint.sha256,
        losses={
            label: tuple((said[label] - family.prompts.targets).square().mean(0).tolist())
            for label, family in material.families.all_families.items()
        },
        distances={
            label: {name: float((said[label] - other).square().mean()) for name, other in by_name.items()}
            for label, by_name in material.said.items()
        },
        mean_square=float(said[IN_DISTRIBUTION].square().mean()),
        probe_r2={site: dict(zip(targets, p.r2.tolist(), strict=True)) for site, p in probes.items()},
        attention_entropy=entropy,
        attention_variability=variability,
        weights=weight_metrics(model),
    )
    shared = material.shared_prompts
    outputs = torch.zeros(0) if shared is None else demand_finite("answers", answers(model, shared)).float().flatten()
    return Measured(record, outputs, _signature_of(model, material.probe_prompts))


def _signature_of(model: HookedModel, prompts: Prompts) -> SpectralSignature:
    """Fit the signature after the last block, by the conventions that `spectral_signature` has by default."""
    site = model.cfg.last_block
    conventions = Conventions(layout=model.cfg.tokens).of_prompts(prompts.n_points, model.cfg)
    rows = conventions.rows(demand_finite(f"activations ({site.label})", collect(model, prompts, site.hook)[site.hook]))
    return fit_signature(rows, k=conventions.k, center=conventions.center, side=conventions.side)


def control_overlaps(model: HookedModel, prompts: Prompts, n: int, *, seed: int) -> tuple[float, ...]:
    """Measure the overlap within untrained networks, the control of the signature."""
    networks = untrained_networks(model, n, seed=seed)
    return tuple(float(_signature_of(network, prompts).pairwise_overlap) for network in networks)


def _attention(model: HookedModel, prompts: Prompts) -> tuple[ByHead, ByHead]:
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    if not set(names) <= set(model.hook_dict):
        return (), ()
    patterns = collect(model, prompts, names)
    causal = model.cfg.attention == "causal"
    n_positions = next(iter(patterns.values())).shape[-1]
    asking = answering_positions(model.cfg.tokens, n_positions)
    if any(not _sums_to_one(pattern) for pattern in patterns.values()):
        return (), ()  # linear attention is no distribution
    entropy, variability = [], []
    for name in names:
        pattern = patterns[name]
        broad = normalised_entropy(pattern, causal=causal)[:, :, asking]
        entropy.append(tuple(broad.double().nanmean(dim=(0, 2)).tolist()))
        variability.append(tuple(pattern_variability(pattern)[:, :, asking].double().mean(dim=(0, 2)).tolist()))
    return tuple(entropy), tuple(variability)


def _sums_to_one(pattern: Tensor) -> bool:
    sums = pattern.sum(dim=-1)
    return bool((pattern >= 0).all()) and bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-4).all())
