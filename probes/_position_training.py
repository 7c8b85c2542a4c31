"""The position-attention probe as a function of its parameters, and its training by Adam."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Head = Literal["linear", "mlp"]


def _forward(p: Mapping[str, Tensor], hidden: Tensor) -> Float[Tensor, "batch target"]:
    pooled = torch.einsum("tp,bpd->btd", p["scores"].softmax(dim=1), hidden)
    pooled = (pooled - p["feature_mean"]) / p["feature_scale"]  # weights sum to 1, so it may come after pooling
    if "value" in p:
        inner = torch.einsum("btd,tdh->bth", pooled @ p["value"], p["first"]) + p["first_bias"]
        pooled = torch.nn.functional.gelu(inner)
    said = torch.einsum("btd,td->bt", pooled, p["weight"]) + p["bias"]
    return said * p["target_scale"] + p["target_mean"]


def _train(
    hidden: Tensor,
    targets: Tensor,
    splits: tuple[Tensor, ...],
    head: Head,
    d_hidden: int,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
) -> dict[str, Tensor]:
    train, validation, _ = splits
    generator = torch.Generator().manual_seed(seed)
    fixed = _scales(hidden[train], targets[train])
    free = _initial(hidden, targets, head, d_hidden, generator)
    best, least = free, float("inf")
    with torch.enable_grad():
        for tensor in free.values():
            tensor.requires_grad_(True)  # noqa: FBT003  (torch's own positional flag)
        optimizer = torch.optim.Adam(free.values(), lr=lr)
        for step in range(steps):
            drawn = torch.randint(len(train), (min(batch_size, len(train)),), generator=generator)
            rows = train[drawn.to(train.device)]
            errors = (_forward({**fixed, **free}, hidden[rows]) - targets[rows]) / fixed["target_scale"]
            optimizer.zero_grad()
            torch.autograd.backward(errors.square().mean(dim=0).sum())
            optimizer.step()
            if (step + 1) % 25 == 0 or step + 1 == steps:
                with torch.no_grad():
                    misses = (_forward({**fixed, **free}, hidden[validation]) - targets[validation]).square()
                    error = float((misses / fixed["target_scale"].square()).mean())
                if error < least:
                    least, best = error, {name: tensor.detach().clone() for name, tensor in free.items()}
    return {**fixed, **{name: tensor.detach() for name, tensor in best.items()}}


def _scales(hidden: Tensor, targets: Tensor) -> dict[str, Tensor]:
    spread, width = hidden.std(dim=(0, 1), unbiased=False), targets.std(dim=0, unbiased=False)
    return {
        "feature_mean": hidden.mean(dim=(0, 1)),
        "feature_scale": torch.where(spread > 0, spread, 1.0),
        "target_mean": targets.mean(dim=0),
        "target_scale": torch.where(width > 0, width, 1.0),
    }


# Uniform attention, a prediction of the mean, and fan-in scaled random layers before it.
def _initial(
    hidden: Tensor, targets: Tensor, head: Head, d_hidden: int, generator: torch.Generator
) -> dict[str, Tensor]:
    n_pos, d_model = hidden.shape[1:]
    n_targets, width = targets.shape[1], d_model if head == "linear" else d_hidden

    def normal(*shape: int) -> Tensor:
        drawn: Tensor = torch.randn(*shape, generator=generator) / shape[-2] ** 0.5
        return drawn.to(hidden)

    free = {
        "scores": hidden.new_zeros(n_targets, n_pos),
        "weight": hidden.new_zeros(n_targets, width),
        "bias": hidden.new_zeros(n_targets),
    }
    if head == "mlp":
        free["value"] = normal(d_model, d_hidden)
        free["first"] = normal(n_targets, d_hidden, d_hidden)
        free["first_bias"] = hidden.new_zeros(n_targets, d_hidden)
    return free
