"""At which positions of a layer is a quantity decodable, if a probe may choose where to look?

The probe has one attention vector over positions for each coordinate of the target, the same in all prompts, then a
linear or a two-layer read-out of what it collects. Adam trains it, and its control is trained in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import cast_like, in_dtype, widened
from probes._core.ridge import resampled_r2
from probes.bootstrap import percentile_interval

__all__ = ["Head", "PositionProbe", "fit_position_probe"]

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


@dataclass(frozen=True, eq=False, repr=False)
class PositionProbe:
    """A read-out that chooses positions, with its held-out score and its control."""

    r2: Float[Tensor, " target"]
    """R² on test prompts, at most 1; 0 is what the training prompts' mean achieves."""
    r2_interval: Float[Tensor, "target 2"]
    """Bootstrap interval of `r2` over test prompts; the training is not repeated."""
    r2_shuffled: Float[Tensor, " target"] | None
    """R² of the same probe trained and tested on the targets of other prompts; None without controls."""
    error: Float[Tensor, " target"]
    """Mean squared error on test prompts, squared target units."""
    attention: Float[Tensor, "target pos"]
    """Attention over positions for each coordinate; each row sums to 1."""
    parameters: Mapping[str, Tensor]
    """What `predict` needs; features and targets standardised as in training."""
    head: Head
    """The read-out after pooling."""
    n_prompts: tuple[int, int, int]
    """Prompts for training, validation and test."""

    @property
    def selectivity(self) -> Float[Tensor, " target"]:
        """Excess of R² over the control, r2 - r2_shuffled.

        Raises:
            InputError: If the probe was trained without controls.
        """
        if self.r2_shuffled is None:
            raise InputError("selectivity needs the shuffled control, got a probe without; pass controls=True.")
        return self.r2 - self.r2_shuffled

    @takes_arrays
    def predict(self, hidden: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch target"]:
        """Predict targets from activations of any prompts.

        Formula: FF(sum_t alpha_t h_t), standardised as in training.

        Args:
            hidden: In the units of the fit, with as many positions.

        Returns:
            Predictions in target units.
        """
        checks.activations("predict", "hidden", hidden, "batch pos d_model")
        checks.same_length("predict", ("positions", "positions fitted"), hidden.shape[1], self.attention.shape[1])
        mean = self.parameters["feature_mean"]
        checks.same_length("predict", ("features", "features fitted"), hidden.shape[2], len(mean))
        with torch.no_grad():
            return _forward(self.parameters, hidden)

    def __repr__(self) -> str:
        scores = ", ".join(f"{value:.3f}" for value in self.r2.tolist())
        return f"PositionProbe(r2=[{scores}], head={self.head!r}, n_prompts={self.n_prompts})"


@takes_arrays
def fit_position_probe(
    hidden: Float[Tensor, "batch pos d_model"],
    targets: Float[Tensor, "batch target"],
    *,
    head: Head = "linear",
    d_hidden: int = 512,
    steps: int = 1000,
    lr: float = 1e-3,
    batch_size: int = 64,
    controls: bool = True,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PositionProbe:
    """Train a probe that learns at which positions to read a quantity of the whole prompt.

    Formula: v_j = FF_j(sum_t softmax(s_j)_t h_t), one score vector s_j per target coordinate, whatever the prompt;
    least mean squared error by Adam. The "mlp" collects W_v h_t with a shared W_v and reads it by one hidden GELU
    layer per coordinate; it computes much by itself, so its gain over the embedding layer is the finding. Fit one
    probe for each layer, target and number of examples. Decodable does not mean used.

    Args:
        hidden: Activations of one layer at all positions of prompts with equally many examples.
        targets: One row per prompt, such as X^T y or least-squares weights.
        head: The read-out; "linear" needs no W_v of its own, since a product of linear maps is one.
        d_hidden: Width of W_v and of the hidden layer of "mlp"; 512 in the paper.
        steps: Number of steps of Adam; the parameters with the least validation error are kept.
        lr: Learning rate; 1e-3 in the paper, chosen there on validation prompts.
        batch_size: Number of prompts per step; 64 in the paper.
        controls: Also train on targets of other prompts.
        seed: Seed of split, initialisation, minibatches, shuffle and bootstrap.
        n_bootstrap: Number of bootstrap resamples of test prompts.
        confidence: The share of replicates inside the interval.

    Returns:
        Scores on the fifth of the prompts that neither training nor validation saw, in the dtype of hidden.

    Raises:
        InputError: If a target does not vary, or there are fewer than 10 prompts.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 5 and appendix E; the released code has a simpler probe.
        Scores for each coordinate, standardising, and keeping the best validation step are our reading or choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden = torch.randn(300, 4, 3, generator=generator)
        >>> probe = fit_position_probe(hidden, hidden[:, 2, :1], lr=0.03, steps=300)
        >>> assert probe.attention[0].argmax() == 2
        >>> assert probe.r2 > 0.9 and probe.r2_shuffled < 0.2
    """
    who = "fit_position_probe"
    checks.activations(who, "hidden", hidden, "batch pos d_model")
    checks.activations(who, "targets", targets, "batch target")
    checks.same_length(who, ("prompts of hidden", "of targets"), len(hidden), len(targets))
    checks.option(who, "head", head, get_args(Head))
    checks.count(who, "a number of prompts", len(hidden), 10)
    for name, count in (("d_hidden", d_hidden), ("steps", steps), ("batch_size", batch_size)):
        checks.count(who, name, count, 1)
    if not lr > 0:
        raise InputError(f"{who} needs a positive lr, got {lr}; 1e-3 is the default.")
    checks.varies(who, "target", targets)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    n_prompts = len(hidden)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n_prompts, generator=generator).to(hidden.device)
    cuts = (n_prompts - 2 * (n_prompts // 5), n_prompts // 5, n_prompts // 5)
    splits = torch.split(order, list(cuts))
    data = widened(hidden.detach())
    wanted = targets.detach().to(data.dtype)

    def trained(columns: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        parameters = _train(data, columns, splits, head, d_hidden, steps, lr, batch_size, seed)
        with torch.no_grad():
            said = _forward(parameters, data[splits[2]]).double()
        truth, mean = columns[splits[2]].double(), columns[splits[0]].double().mean(dim=0)
        return parameters, torch.stack([(truth - said).square(), (truth - mean).square()])

    parameters, squares = trained(wanted)
    shuffled = None
    if controls:  # a circle of prompts, so that none keeps its own target
        circle = torch.randperm(n_prompts, generator=generator).to(hidden.device)
        exchanged = torch.empty_like(wanted)
        exchanged[circle] = wanted[circle.roll(1)]
        shuffled = in_dtype(_score(trained(exchanged)[1]), hidden.dtype)
    codes = torch.arange(cuts[2], device=hidden.device)
    replicates = resampled_r2(squares, codes, seed=seed, n_bootstrap=n_bootstrap)
    ends = torch.tensor([list(percentile_interval(column, confidence)) for column in replicates.T])
    return PositionProbe(
        r2=in_dtype(_score(squares), hidden.dtype),
        r2_interval=cast_like(ends, hidden),
        r2_shuffled=shuffled,
        error=in_dtype(squares[0].mean(dim=0), hidden.dtype),
        attention=parameters["scores"].softmax(dim=1),
        parameters=parameters,
        head=head,
        n_prompts=cuts,
    )


def _score(squares: Float[Tensor, "2 batch target"]) -> Float[Tensor, " target"]:
    errors, spread = squares.sum(dim=1)
    return 1.0 - errors / spread
