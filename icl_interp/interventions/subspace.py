"""Interventions along a subspace: take it out, swap it between prompts, push along it, erase a target."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.interventions.record import Edit, Intervention, Positions
from probes._core.arrays import takes_arrays
from probes.erasure import Eraser

_ORTHONORMAL = 1e-4  # float32 directions of a float64 decomposition are orthonormal to about 1e-7


@takes_arrays
def project_out(
    subspace: Float[Tensor, "d_model rank"],
    name: str,
    *,
    positions: Positions = "all",
    mean: Float[Tensor, " d_model"] | Float[Tensor, "pos d_model"] | None = None,
) -> Intervention:
    """Take a subspace out of an activation.

    Formula: h <- h - V V'(h - m): the component along V becomes that of the mean m, or 0 without one.

    Args:
        subspace: Orthonormal columns V.
        name: Hook, of width d_model.
        positions: Which positions.
        mean: m, in activation units; one row, or one for each position of the sequence. None ablates to zero.

    Returns:
        The intervention.

    Raises:
        InputError: If the columns are not orthonormal.

    Example:
        >>> axis = torch.tensor([[1.0], [0.0]])
        >>> project_out(axis, "blocks.0.hook_resid_post").edits[0].change(torch.tensor([[[3.0, 4.0]]]), [0])
        tensor([[[0., 4.]]])
    """
    basis = _check_basis("project_out", subspace)
    what = "to zero" if mean is None else "to its mean"
    return _along(f"project {basis.shape[1]} directions {what}", name, positions, partial(_project_out, basis, mean))


@takes_arrays
def swap(
    subspace: Float[Tensor, "d_model rank"], name: str, *, positions: Positions = "all", offset: int = 1
) -> Intervention:
    """Exchange the component along a subspace between prompts.

    Formula: h_i <- h_i - V V'h_i + V V'h_j with j = i + offset, in a circle over the prompts of a batch. What the
    subspace tells of one prompt is then told to another; what it tells of the distribution stays.

    Args:
        subspace: Orthonormal columns V.
        name: Hook, of width d_model.
        positions: Which positions.
        offset: Distance to the partner, at least 1; with a batch of one prompt, or a multiple of the batch, nothing
            changes.

    Returns:
        The intervention.

    Raises:
        InputError: If the columns are not orthonormal or offset is below 1.
    """
    basis = _check_basis("swap", subspace)
    if offset < 1:
        raise InputError(f"swap needs an offset of at least 1, got {offset}; 1 takes the next prompt.")
    return _along(f"swap {basis.shape[1]} directions between prompts", name, positions, partial(_swap, basis, offset))


@takes_arrays
def steer(
    direction: Float[Tensor, " d_model"], name: str, *, amount: float, positions: Positions = "all"
) -> Intervention:
    """Push an activation along a direction.

    Formula: h <- h + amount * v / |v|.

    Args:
        direction: v, of any length but 0.
        name: Hook, of width d_model.
        amount: In activation units; negative pushes back.
        positions: Which positions.

    Returns:
        The intervention.

    Raises:
        InputError: If the direction is not a vector of finite numbers, or zero.
    """
    if direction.ndim != 1 or not direction.isfinite().all() or not float(direction.norm()) > 0:
        raise InputError(
            f"steer needs a direction [d_model] of finite numbers other than 0, got shape {tuple(direction.shape)} and "
            f"norm {float(direction.norm()):g}."
        )
    push = amount * _wide(direction) / _wide(direction).norm()
    return _along(f"steer by {amount:g}", name, positions, partial(_push, push))


@takes_arrays
def exchange_for_random(
    subspace: Float[Tensor, "d_model rank"],
    name: str,
    *,
    seed: int,
    positions: Positions = "all",
    mean: Float[Tensor, " d_model"] | Float[Tensor, "pos d_model"] | None = None,
) -> Intervention:
    """Do as much harm as `project_out`, in directions that mean nothing: its control.

    Formula: h <- h - U V'(h - m) with U uniform among the orthonormal bases of the same rank. What is taken away has
    at every position exactly the length that `project_out` takes, so rank and energy are equal. This matching is our
    choice: a random subspace that is merely projected out would take rank / d_model of the energy only.

    Args:
        subspace: Orthonormal columns V, of which only the coefficients V'(h - m) are used.
        name: Hook, of width d_model.
        seed: Of U.
        positions: Which positions.
        mean: m, as in `project_out`.

    Returns:
        The intervention.

    Raises:
        InputError: If the columns are not orthonormal.
    """
    basis = _check_basis("exchange_for_random", subspace)
    drawn = torch.randn(basis.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    random = torch.linalg.qr(drawn).Q.to(_wide(basis))
    change = partial(_exchange, basis, random, mean)
    return _along(f"take as much along {basis.shape[1]} random directions", name, positions, change)


def erase(eraser: Eraser, name: str, *, positions: Positions = "all") -> Intervention:
    """Take away what a linear probe could read of a target.

    Formula: h <- r(h), see `probes.erasure.fit_eraser`. Its control is `eraser.along_random_directions(seed=...)`,
    which changes every activation by as much.

    Args:
        eraser: Fitted on activations of this hook.
        name: Hook, of the eraser's width.
        positions: Which positions; those that the eraser was fitted on, if the guarantee is to hold.

    Returns:
        The intervention.

    Source:
        Belrose et al. (2023), arXiv 2306.03819.

    Example:
        >>> from probes.erasure import fit_eraser
        >>> held = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> erase(fit_eraser(held, held[:, 0]), "hook_embed").edits[0].change(held[:1, None], [0])
        tensor([[[2., 5.]]])
    """
    return _along(f"erase {eraser.rank} directions", name, positions, partial(_erase, eraser))


def _along(description: str, name: str, positions: Positions, change: partial[Tensor]) -> Intervention:
    return Intervention((Edit(name, change, positions),), f"{description} at {name}")


def _deviation(h: Tensor, mean: Tensor | None, positions: list[int]) -> Tensor:
    if mean is None:
        return h
    return h - (mean if mean.ndim == 1 else mean[positions]).to(h)


# A network of 16 bits is changed in float32, so that a basis stays orthonormal, and takes the result in its own dtype.
def _wide(h: Tensor) -> Tensor:
    return h.to(torch.promote_types(h.dtype, torch.float32))


def _project_out(basis: Tensor, mean: Tensor | None, h: Tensor, positions: list[int]) -> Tensor:
    wide = _wide(h)
    basis = basis.to(wide)
    return (wide - _deviation(wide, mean, positions) @ basis @ basis.T).to(h)


def _erase(eraser: Eraser, h: Tensor, positions: list[int]) -> Tensor:  # noqa: ARG001
    return eraser(h).to(h)


def _exchange(basis: Tensor, random: Tensor, mean: Tensor | None, h: Tensor, positions: list[int]) -> Tensor:
    wide = _wide(h)
    return (wide - _deviation(wide, mean, positions) @ basis.to(wide) @ random.to(wide).T).to(h)


def _swap(basis: Tensor, offset: int, h: Tensor, positions: list[int]) -> Tensor:  # noqa: ARG001
    wide = _wide(h)
    basis = basis.to(wide)
    return (wide + (wide.roll(-offset, dims=0) - wide) @ basis @ basis.T).to(h)


def _push(push: Tensor, h: Tensor, positions: list[int]) -> Tensor:  # noqa: ARG001
    wide = _wide(h)
    return (wide + push.to(wide)).to(h)


def _check_basis(who: str, subspace: Tensor) -> Tensor:
    gram = subspace.double().T @ subspace.double() if subspace.ndim == 2 else None
    eps = torch.finfo(subspace.dtype).eps if subspace.is_floating_point() else 0.0
    tolerance = max(_ORTHONORMAL, eps**0.5)
    if gram is None or not torch.allclose(gram, torch.eye(len(gram), dtype=gram.dtype), atol=tolerance):
        raise InputError(
            f"{who} needs orthonormal columns [d_model rank], got shape {tuple(subspace.shape)}; pass "
            "torch.linalg.qr(directions).Q."
        )
    return subspace
