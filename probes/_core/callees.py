"""How the agreement probes ask a model or a predictor, what they refuse, and cosines that may be undefined.

A callee is called f(xs, ys, points=[...]) and answers [batch asked]: entry k predicts ys[:, k] from xs[:, k]
and the k pairs before it.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.errors import InputError

Callee = Callable[..., Tensor]


def ask(who: str, f: Callee, xs: Tensor, ys: Tensor, points: Sequence[int]) -> Tensor:
    """Ask for some entries and check the answer's shape."""
    answer = f(xs, ys, points=list(points))
    expected = (len(xs), len(points))
    if tuple(answer.shape) != expected:
        raise InputError(
            f"{who} needs f(xs, ys, points={list(points)}) to answer [batch asked] = {expected}, "
            f"got {tuple(answer.shape)}; answer the asked entries only."
        )
    return answer


def check_prompts(who: str, xs: Tensor, ys: Tensor) -> None:
    """Refuse what are no prompts."""
    checks.activations(who, "xs", xs, "batch point dim")
    checks.activations(who, "ys", ys, "batch point")
    checks.same_length(who, ("prompts of xs", "of ys"), len(xs), len(ys))
    checks.same_length(who, ("points of xs", "of ys"), xs.shape[1], ys.shape[1])


def resolve_points(who: str, points: Sequence[int] | None, n_points: int) -> list[int]:
    """Turn entries that count from the end into indices."""
    asked = list(range(n_points)) if points is None else list(points)
    checks.count(who, "a number of points", len(asked), 1)
    wrong = [point for point in asked if not -n_points <= point < n_points]
    if wrong:
        raise InputError(f"{who} needs points in [-{n_points}, {n_points}), got {wrong}; ask for entries that exist.")
    return [point % n_points for point in asked]


def context_point(who: str, point: int, n_points: int) -> int:
    """Resolve one entry that has a pair before it."""
    (k,) = resolve_points(who, [point], n_points)
    if k == 0:
        raise InputError(f"{who} needs an entry with a pair before it, got entry 0; ask for a later one.")
    return k


def gradient_of(who: str, f: Callee, xs: Tensor, ys: Tensor, k: int, *, of_labels: bool) -> tuple[Tensor, Tensor]:
    """Ask for entry k and differentiate it with respect to its query, or to the labels before it."""
    xs, ys = xs.detach(), ys.detach()
    with torch.enable_grad():
        # Prompts do not influence each other, so the gradient of their sum holds the gradient of each.
        leaf = (ys[:, :k] if of_labels else xs[:, k]).clone().requires_grad_()
        answers = ask(who, f, *_replace(xs, ys, k, leaf, of_labels=of_labels), [k])[:, 0]
        if answers.requires_grad:
            (gradient,) = torch.autograd.grad(answers.sum(), leaf, allow_unused=True)
            return answers.detach(), torch.zeros_like(leaf) if gradient is None else gradient
    with torch.no_grad():
        size = leaf.abs().amax()
        nudge = torch.finfo(leaf.dtype).eps ** 0.5 * torch.where(size > 0, size, 1.0)
        nudged = ask(who, f, *_replace(xs, ys, k, leaf + nudge, of_labels=of_labels), [k])[:, 0]
    if not torch.equal(nudged, answers):
        raise InputError(
            f"{who} needs answers that carry a gradient, got detached ones; take torch.no_grad and .detach out of f."
        )
    return answers.detach(), torch.zeros_like(leaf)


def _replace(xs: Tensor, ys: Tensor, k: int, leaf: Tensor, *, of_labels: bool) -> tuple[Tensor, Tensor]:
    if of_labels:
        return xs, torch.cat([leaf, ys[:, k:]], dim=1)
    return torch.cat([xs[:, :k], leaf[:, None], xs[:, k + 1 :]], dim=1), ys


# Of every first predictor with every second one.
def error_cosines(
    who: str,
    a: Float[Tensor, "first batch point"],
    b: Float[Tensor, "second batch point"],
    ys: Float[Tensor, "batch point"],
) -> Float64[Tensor, "first second batch"]:
    check_two(who, a[0], ys, "batch point")
    check_two(who, b[0], ys, "batch point")
    labels = ys.double()
    # A residual that is the rounding of predictions and labels has no direction.
    scale = torch.stack([labels.abs().amax(dim=1), a.abs().amax(dim=(0, 2)), b.abs().amax(dim=(0, 2))]).amax(dim=0)
    floor = 8 * torch.finfo(ys.dtype).eps * scale.double() * ys.shape[1] ** 0.5
    errors_a, errors_b = (unit_rows(values.double() - labels, floor) for values in (a, b))
    return torch.einsum("ibp,jbp->ijb", errors_a, errors_b).clamp(-1.0, 1.0)


# Of every first predictor with every second one, averaged over the entries in which both have a direction.
def weight_cosines(
    who: str, a: Float[Tensor, "first batch point dim"], b: Float[Tensor, "second batch point dim"]
) -> Float64[Tensor, "first second batch"]:
    check_two(who, a[0], b[0], "batch point dim")
    zero = torch.zeros((), dtype=torch.float64, device=a.device)
    units_a, units_b = (unit_rows(values.double(), zero) for values in (a, b))
    rows = [torch.einsum("bpd,jbpd->jbp", one, units_b).clamp(-1.0, 1.0).nanmean(dim=2) for one in units_a]
    return torch.stack(rows)


# NaN where a row is not longer than the floor.
def unit_rows(rows: Float64[Tensor, "*batch dim"], floor: Tensor) -> Float64[Tensor, "*batch dim"]:
    length = rows.norm(dim=-1, keepdim=True)
    return torch.where(length > floor[..., None], rows / length, torch.nan)


def check_two(who: str, a: Tensor, b: Tensor, axes: str) -> None:
    """Refuse two tensors that do not describe the same prompts."""
    checks.activations(who, "a", a, axes)
    checks.activations(who, "b", b, axes)
    checks.same_shape(who, ("a", "b"), a, b)
