"""What would each layer answer? One linear read-out per layer, tuned to the labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import cast_like, in_dtype, widened
from probes._core.ridge import assign_folds, cross_predict, leave_one_out_error
from probes.curves import Curve, curve_over_prompts

__all__ = ["LayerReadouts", "Method", "fit_layer_readouts", "readout_errors"]

Method = Literal["ridge", "sgd"]


@dataclass(frozen=True, eq=False, repr=False)
class LayerReadouts:
    """The predictions of one linear read-out per layer."""

    predictions: Float[Tensor, "layer batch point"]
    """Predictions held out by prompt: each comes from a fit without its prompt; label units."""
    errors: tuple[Curve, ...]
    """Squared held-out error by entry, one curve per layer; squared label units."""
    weight: Float[Tensor, "layer d_model"]
    """Refitted on all prompts; label units per activation unit."""
    bias: Float[Tensor, " layer"]
    """Refitted on all prompts; label units."""
    method: Method
    """Method by which the read-outs were tuned."""

    def __repr__(self) -> str:
        errors = ", ".join(f"{curve.mean.value:.3g}" for curve in self.errors)
        return f"LayerReadouts(errors=[{errors}], method={self.method!r})"


@takes_arrays
def fit_layer_readouts(
    hidden: Float[Tensor, "layer batch point d_model"],
    ys: Float[Tensor, "batch point"],
    *,
    method: Method = "ridge",
    penalties: Sequence[float] | None = None,
    steps: int = 500,
    lr: float = 0.01,
    batch_size: int = 64,
    n_folds: int = 5,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> LayerReadouts:
    """Tune one linear read-out for each layer to the labels, over all entries.

    Formula: min over w, b of sum_k (w^T h_k + b - y_k)^2, one read-out for all entries of a layer; by ridge with a
    leave-one-out penalty, or by Adam on minibatches of prompts. What a read-out finds need not be what the network
    uses. Take the last layer either before or after its final norm, and say which.

    Args:
        hidden: Activations at the x tokens of each layer, entry k before its label was seen.
        ys: Labels.
        method: "ridge" in closed form; "sgd" as in the paper, on features standardised by the training folds.
        penalties: Candidates for "ridge", as in `fit_linear_probe`.
        steps: Number of steps of "sgd", for each fit.
        lr: Learning rate of "sgd"; falls to zero along a cosine.
        batch_size: Number of prompts per step of "sgd".
        n_folds: Number of folds that the prompts are divided into.
        seed: Seed of folds, minibatches and bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Held-out predictions and read-outs in the activations' dtype.

    Raises:
        InputError: If there are fewer prompts than folds, or a penalty or lr is not positive.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 4.1 (a new linear layer per hidden state, trained with Adam over
        all prefixes); ridge, standardising, the cosine and the hold-out are ours.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden = torch.randn(2, 50, 4, 3, generator=generator)
        >>> found = fit_layer_readouts(hidden, 2 * hidden[1, :, :, 0] + 1)
        >>> assert found.errors[1].mean.value < 1e-6 < 1 < found.errors[0].mean.value
    """
    who = "fit_layer_readouts"
    checks.activations(who, "hidden", hidden, "layer batch point d_model")
    checks.activations(who, "ys", ys, "batch point")
    checks.same_shape(who, ("hidden (without d_model)", "ys"), hidden[0, :, :, 0], ys)
    checks.option(who, "method", method, get_args(Method))
    checks.folds(who, "prompts", len(ys), n_folds)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    checks.penalties(who, penalties)
    for name, count in (("steps", steps), ("batch_size", batch_size)):
        checks.count(who, name, count, 1)
    if not lr > 0:
        raise InputError(f"{who} needs a positive lr, got {lr}; 0.01 is the default.")
    prompts = torch.arange(len(ys), device=ys.device)
    folds = assign_folds(prompts, n_folds, seed)
    if method == "ridge":
        predictions, weight, bias = _by_ridge(hidden, ys, folds, penalties)
    else:
        predictions, weight, bias = _by_sgd(widened(hidden), ys, folds, steps, lr, batch_size, seed)
    squares = (predictions - ys.double()).square()
    errors = [
        curve_over_prompts(layer, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)
        for layer in in_dtype(squares, hidden.dtype)
    ]
    said, weight, bias = (cast_like(exact, hidden) for exact in (predictions, weight, bias))
    return LayerReadouts(said, tuple(errors), weight, bias, method)


@takes_arrays
def readout_errors(
    hidden: Float[Tensor, "layer batch point d_model"],
    ys: Float[Tensor, "batch point"],
    *,
    penalties: Sequence[float] | None = None,
) -> Float[Tensor, "layer point"]:
    """Measure how well a linear read-out of its own predicts the labels from each layer at each entry.

    Formula: min over penalties of mean_b (y_b - yhat_b)^2, where yhat_b comes from a ridge regression on all other
    prompts. Choosing the penalty by the same errors makes them too small by a little; where there are fewer prompts
    than dimensions, most read-outs are poor and the errors too large.

    Args:
        hidden: Activations at the x tokens of each layer, entry k before its label was seen.
        ys: Labels.
        penalties: Candidates, as in `fit_linear_probe`.

    Returns:
        Leave-one-out mean squared errors in squared label units, computed in float64, dtype of the activations.

    Raises:
        InputError: If there are fewer than 3 prompts, or a penalty is not positive.

    Source:
        Belrose et al. (2023), arXiv 2303.08112, fit one map per layer; Fu et al. (2024), arXiv 2310.17086, one read-out
        per layer. One per layer and entry is our choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden = torch.randn(2, 50, 4, 3, generator=generator)
        >>> found = readout_errors(hidden, 2 * hidden[1, :, :, 0] + 1)
        >>> assert float(found[1].max()) < 1e-6 < 1 < float(found[0].min())
    """
    who = "readout_errors"
    checks.activations(who, "hidden", hidden, "layer batch point d_model")
    checks.activations(who, "ys", ys, "batch point")
    checks.same_shape(who, ("hidden (without d_model)", "ys"), hidden[0, :, :, 0], ys)
    checks.penalties(who, penalties)
    checks.count(who, "a number of prompts", len(ys), 3)
    grid = None if penalties is None else torch.tensor(penalties, dtype=torch.float64, device=ys.device)
    found = [
        leave_one_out_error(layer[:, k].double(), ys[:, k : k + 1].double(), grid)
        for layer in hidden
        for k in range(ys.shape[1])
    ]
    return in_dtype(torch.stack(found).reshape(len(hidden), ys.shape[1]), hidden.dtype)


def _by_ridge(
    hidden: Tensor, ys: Tensor, folds: Int64[Tensor, " batch"], penalties: Sequence[float] | None
) -> tuple[Tensor, Tensor, Tensor]:
    grid = None if penalties is None else torch.tensor(penalties, dtype=torch.float64, device=ys.device)
    labels = rearrange(ys.double(), "batch point -> (batch point) 1")
    rows = folds.repeat_interleave(ys.shape[1])
    predictions, weights, biases = [], [], []
    for layer in hidden:
        features = rearrange(layer.double(), "batch point d_model -> (batch point) d_model")
        said, refit = cross_predict(features, labels, rows, grid)
        predictions.append(rearrange(said[0], "(batch point) 1 -> batch point", batch=len(ys)))
        weights.append(refit.weight[:, 0])
        biases.append(refit.bias[0])
    return torch.stack(predictions), torch.stack(weights), torch.stack(biases)


def _by_sgd(
    hidden: Tensor, ys: Tensor, folds: Int64[Tensor, " batch"], steps: int, lr: float, batch_size: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    predictions = torch.empty(hidden.shape[:3], dtype=torch.float64, device=ys.device)
    for fold in range(int(folds.max()) + 1):
        test = folds == fold
        weight, bias = _descend(hidden[:, ~test], ys[~test], steps, lr, batch_size, seed)
        said = torch.einsum("lbpd,ld->lbp", hidden[:, test].double(), weight)
        predictions[:, test] = said + bias[:, None, None]
    return predictions, *_descend(hidden, ys, steps, lr, batch_size, seed)


# All layers at once: their losses add up and share no parameter.
def _descend(
    hidden: Tensor, ys: Tensor, steps: int, lr: float, batch_size: int, seed: int
) -> tuple[Float[Tensor, "layer d_model"], Float[Tensor, " layer"]]:
    n_layers, n_prompts, _, d_model = hidden.shape
    mean, scale = hidden.mean(dim=(1, 2)), hidden.std(dim=(1, 2), unbiased=False)
    scale = torch.where(scale > 0, scale, 1.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        weight = torch.zeros(n_layers, d_model, dtype=hidden.dtype, device=hidden.device, requires_grad=True)
        bias = torch.zeros(n_layers, dtype=hidden.dtype, device=hidden.device, requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(n_prompts, (min(batch_size, n_prompts),), generator=generator).to(hidden.device)
            inputs = (hidden[:, rows].detach() - mean[:, None, None]) / scale[:, None, None]
            said = torch.einsum("lbpd,ld->lbp", inputs, weight) + bias[:, None, None]
            loss = (said - ys[rows].detach()).square().mean(dim=(1, 2)).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    raw = weight.detach().double() / scale.double()
    return raw, bias.detach().double() - (raw * mean.double()).sum(dim=1)
