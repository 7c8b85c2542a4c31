"""Means and covariances as configs write them: read, checked, and turned into samples."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.tasks.subspaces import Subspace

__all__ = [
    "Matrix",
    "Vector",
    "check_covariance",
    "covariance_matrix",
    "draw_gaussian",
    "mean_vector",
    "plain_law",
    "symmetric_root",
    "without_rounding",
]

Vector = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]


def mean_vector(value: float | Sequence[float], n_dims: int, name: str) -> Tensor:
    vector = torch.as_tensor(value, dtype=torch.float64)
    if vector.ndim == 0:
        vector = vector.expand(n_dims)
    if vector.shape != (n_dims,) or not vector.isfinite().all():
        raise InputError(f"{name} needs one number or {n_dims} finite numbers, got {value!r}.")
    return vector


def plain_law(value: object, name: str) -> object:
    # What pydantic shall see: numbers and nested lists as they are, mappings as subspaces. One sentence for the rest.
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, Mapping) and name.endswith("_cov"):
        unknown = [str(key) for key in value if key not in Subspace.model_fields]
        if unknown or not isinstance(value.get("rank"), int):
            raise InputError(
                f"{name} needs a subspace as {{rank: r, seed: s, complement: true}}, got {dict(value)!r}; rank is a "
                "whole number, seed and complement may be left out."
            )
        return Subspace(**value)
    if not (value is None or isinstance(value, Subspace) or _are_numbers(value)):
        allowed = "one number or a list of numbers"
        if name.endswith("_cov"):
            allowed += ", a matrix as a list of lists, or a subspace such as {rank: 10}"
        raise InputError(f"{name} needs {allowed}, got {value!r}.")
    return value


def _are_numbers(value: object) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(_are_numbers(entry) for entry in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def covariance_matrix(value: float | Sequence[float] | Matrix | Subspace | None, n_dims: int, name: str) -> Tensor:
    if isinstance(value, Subspace):
        try:
            return value.covariance(n_dims)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
    cov = torch.as_tensor(1.0 if value is None else value, dtype=torch.float64)
    if cov.ndim < 2:
        cov = torch.diag(cov.expand(n_dims) if cov.ndim == 0 or cov.shape == (n_dims,) else cov)
    if cov.shape != (n_dims, n_dims) or not cov.isfinite().all():
        raise InputError(
            f"{name} needs None, one number, {n_dims} numbers (a diagonal) or a {n_dims} x {n_dims} matrix, all "
            f"finite, got shape {tuple(torch.as_tensor(value).shape)}."
        )
    return cov


def check_covariance(cov: Tensor, name: str) -> None:
    tolerance = 1e-6 * float(cov.abs().max())  # config files hold float32 digits
    if not torch.allclose(cov, cov.T, rtol=0, atol=tolerance):
        raise InputError(f"{name} needs a symmetric matrix, got one that differs from its transpose; symmetrise it.")
    if float(torch.linalg.eigvalsh(cov).min()) < -tolerance:
        raise InputError(f"{name} needs a positive semi-definite matrix, got a negative eigenvalue; check its sign.")


def without_rounding(cov: Tensor) -> Tensor:
    # Eigenvalues that are rounding of float32 digits become 0: a subspace stays one, and no variance is negative.
    if torch.equal(cov, torch.diag(cov.diagonal())):
        return cov.clamp(min=0)
    cov = (cov + cov.T) / 2
    values, vectors = torch.linalg.eigh(cov)
    kept = values > len(values) * torch.finfo(torch.float32).eps * values[-1]
    return cov if kept.all() else (vectors[:, kept] * values[kept]) @ vectors[:, kept].T


def symmetric_root(cov: Tensor) -> Tensor:
    if torch.equal(cov, torch.diag(cov.diagonal())):
        return torch.diag(cov.diagonal().sqrt())  # exact, so that a zero direction stays exactly zero
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def draw_gaussian(
    z: Tensor, mean: float | Vector, cov: float | Vector | Matrix | Subspace | None, n_dims: int
) -> Tensor:
    # Standard normal numbers, last axis n_dims, become those of a law; in place where that is enough.
    root, centre = _float_law(mean, cov, n_dims)
    if root is not None:
        z = z @ root if root.ndim == 2 else z.mul_(root)
    return z if centre is None else z.add_(centre)


@lru_cache(maxsize=256)
def _float_law(
    mean: float | Vector, cov: float | Vector | Matrix | Subspace | None, n_dims: int
) -> tuple[Tensor | None, Tensor | None]:
    # Root and mean in float32, which training asks for at every step: a diagonal root as a vector (its products have
    # the same bits, the other terms being zeros), None where it is the identity or the mean is zero.
    root = symmetric_root(without_rounding(covariance_matrix(cov, n_dims, "cov"))).float()
    centre = mean_vector(mean, n_dims, "mean").float()
    scales: Tensor | None = root
    if torch.equal(root, torch.diag(root.diagonal())):
        scales = None if bool((root.diagonal() == 1).all()) else root.diagonal().clone()
    return scales, centre.clone() if centre.any() else None
