"""Shifts of Gaussian linear regression that are another Gaussian linear regression: exact changes of its fields."""

import torch
from torch import Tensor

from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.subspaces import random_basis

_ROTATION_SEED = 0
"""Seed of the rotation behind `x_skewed` and `x_half_subspace` (our choice; Garg et al. leave it unseeded)."""


def _with(task: LinearRegression, **changes: object) -> LinearRegression:
    plain = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in changes.items()}
    return type(task)(**{**task.model_dump(), **plain})  # a class of the user's own stays what it is


def transform_inputs(task: LinearRegression, transform: Tensor | float, offset: float = 0.0) -> LinearRegression:
    """Multiply inputs by a number or a symmetric matrix, then move every coordinate."""
    if not isinstance(transform, Tensor):
        return _with(task, x_mean=task.input_mean * transform + offset, x_cov=task.input_cov * transform**2)
    cov = _symmetric(transform @ task.input_cov @ transform)
    return _with(task, x_mean=transform @ task.input_mean + offset, x_cov=cov)


def transform_weights(task: LinearRegression, factor: float, offset: float = 0.0) -> LinearRegression:
    """Multiply weights, then move every coordinate."""
    return _with(task, w_mean=task.weight_mean * factor + offset, w_cov=task.weight_cov * factor**2)


def reshaping(scales: Tensor, second_moment: Tensor | None = None) -> Tensor:
    """Write the matrix that gives inputs other scales along random axes, their energy E|x|^2 kept.

    Formula: A = c U diag(s) U' with c such that tr(A E[x x'] A) = tr(E[x x']); for isotropic inputs c^2 sum s^2 = d,
    as in dtsip's code. Inputs that all lie where s is 0 would have no energy left: c is 1 then.
    """
    basis = random_basis(len(scales), seed=_ROTATION_SEED, purpose="shift")
    matrix = (basis * scales) @ basis.T
    before = torch.eye(len(scales)).to(matrix) if second_moment is None else second_moment
    after = (matrix @ before @ matrix).trace()
    return matrix * (before.trace() / after).sqrt() if after > 0 else matrix


def add_label_noise(task: LinearRegression, std: float) -> LinearRegression:
    """Add label noise and rescale labels by the population's standard deviation.

    So E[y^2] stays, and no prompt depends on its batch, as it does in dtsip's code.
    """
    clean = task.label_second_moment()
    factor = (clean / (clean + std**2)) ** 0.5 if clean else 0.0
    noisy = (task.noise_std**2 + std**2) ** 0.5
    return _with(transform_weights(task, factor), noise_std=noisy * factor)


def rotate_weights(task: LinearRegression, alpha: float) -> LinearRegression:
    """Turn weights out of their subspace, energy kept.

    Formula: w' = sqrt(1 - alpha) w + sqrt(alpha) w_out, E|w_out|^2 = E|w|^2, both about the mean. Its law is Gaussian
    again, so the shift is a change of covariance.
    """
    outside = _complement(task.weight_cov)
    return _with(task, w_cov=_symmetric((1 - alpha) * task.weight_cov + alpha * outside))


def other_weights(task: LinearRegression) -> LinearRegression:
    """Put weights into the complement of their subspace, energy kept."""
    return rotate_weights(task, 1.0)


def complement_inputs(task: LinearRegression) -> LinearRegression:
    """Put inputs into the complement of their subspace, energy kept."""
    return _with(task, x_cov=_symmetric(_complement(task.input_cov)))


def has_weight_subspace(task: object) -> bool:
    """Tell whether weights vary, in a subspace."""
    return isinstance(task, LinearRegression) and 0 < task.weight_rank < task.n_dims


def has_input_subspace(task: object) -> bool:
    """Tell whether inputs vary, in a subspace."""
    if not isinstance(task, LinearRegression):
        return False
    values = torch.linalg.eigvalsh(task.input_cov)
    return bool(values[-1] > 0) and bool(values[0] <= 1e-9 * values[-1])


def _complement(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    outside = vectors[:, values <= 1e-9 * values.max()]
    return outside @ outside.T * (cov.trace() / outside.shape[1])


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2
