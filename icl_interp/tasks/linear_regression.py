"""Linear tasks: y = w.x + noise with one w per prompt; with Gaussian inputs and weights of any mean and covariance."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import field_validator, model_validator
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import stream
from icl_interp.tasks.base import FunctionTask, Labels
from icl_interp.tasks.subspaces import Subspace


class LinearTask(FunctionTask):
    """A task y_k = w.x_k + noise_std e_k whose weights are independent of its inputs."""

    @abstractmethod
    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        """Draw the weights of a seed."""

    @property
    @abstractmethod
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x x'], float64."""

    @property
    @abstractmethod
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[w w'], float64."""

    @property
    def weight_mean(self) -> Float[Tensor, " dim"]:
        """E[w], float64."""
        return torch.zeros(self.n_dims, dtype=torch.float64)

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float:
        """E[y^2] = tr(E[x x'] E[w w']) + noise_std^2."""
        return float((input_second_moment * self.weight_second_moment).sum() + self.noise_std**2)

    @property
    def input_rank(self) -> int:
        return numerical_rank(self.input_second_moment)

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        ws = self.draw_weights(len(xs), seed=seed)
        return Labels((xs @ ws[:, :, None])[:, :, 0], ws)  # the product that einsum would call, at a fifth of its cost

    def label_second_moment(self) -> float:
        return self.label_second_moment_at(self.input_second_moment)


class GaussianWeights(LinearTask):
    """A linear task with w ~ N(0, I), whatever its inputs."""

    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        return torch.randn(n_prompts, self.n_dims, generator=stream(seed, "weights"))

    @property
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        return torch.eye(self.n_dims, dtype=torch.float64)


def numerical_rank(matrix: Float[Tensor, "dim other"]) -> int:
    """Count the directions of a symmetric, positive semi-definite matrix."""
    values = torch.linalg.eigvalsh(matrix)
    return int((values > 1e-12 * values[-1]).sum())


_Vector = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]


def _mean_vector(value: float | Sequence[float], n_dims: int, name: str) -> Tensor:
    vector = torch.as_tensor(value, dtype=torch.float64)
    if vector.ndim == 0:
        vector = vector.expand(n_dims)
    if vector.shape != (n_dims,) or not vector.isfinite().all():
        raise InputError(f"{name} needs one number or {n_dims} finite numbers, got {value!r}.")
    return vector


def _plain_law(value: object, name: str) -> object:
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


def _covariance_matrix(value: float | Sequence[float] | Matrix | Subspace | None, n_dims: int, name: str) -> Tensor:
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


def _check_covariance(cov: Tensor, name: str) -> None:
    tolerance = 1e-6 * float(cov.abs().max())  # config files hold float32 digits
    if not torch.allclose(cov, cov.T, rtol=0, atol=tolerance):
        raise InputError(f"{name} needs a symmetric matrix, got one that differs from its transpose; symmetrise it.")
    if float(torch.linalg.eigvalsh(cov).min()) < -tolerance:
        raise InputError(f"{name} needs a positive semi-definite matrix, got a negative eigenvalue; check its sign.")


def _without_rounding(cov: Tensor) -> Tensor:
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


def _draw_gaussian(
    z: Tensor, mean: float | _Vector, cov: float | _Vector | Matrix | Subspace | None, n_dims: int
) -> Tensor:
    # Standard normal numbers, last axis n_dims, become those of a law; in place where that is enough.
    root, centre = _float_law(mean, cov, n_dims)
    if root is not None:
        z = z @ root if root.ndim == 2 else z.mul_(root)
    return z if centre is None else z.add_(centre)


@lru_cache(maxsize=256)
def _float_law(
    mean: float | _Vector, cov: float | _Vector | Matrix | Subspace | None, n_dims: int
) -> tuple[Tensor | None, Tensor | None]:
    # Root and mean in float32, which training asks for at every step: a diagonal root as a vector (its products have
    # the same bits, the other terms being zeros), None where it is the identity or the mean is zero.
    root = symmetric_root(_without_rounding(_covariance_matrix(cov, n_dims, "cov"))).float()
    centre = _mean_vector(mean, n_dims, "mean").float()
    scales: Tensor | None = root
    if torch.equal(root, torch.diag(root.diagonal())):
        scales = None if bool((root.diagonal() == 1).all()) else root.diagonal().clone()
    return scales, centre.clone() if centre.any() else None


class LinearRegression(LinearTask):
    """Linear regression with Gaussian inputs x ~ N(x_mean, x_cov) and weights w ~ N(w_mean, w_cov), one w per prompt.

    Formula: y_k = w.x_k + noise_std * e_k with e_k ~ N(0, 1). Covariances may be rank-deficient, which restricts
    inputs or weights to a subspace.

    Args:
        n_dims: Number of coordinates of x.
        noise_std: Standard deviation of the label noise, in units of y.
        x_mean: Mean of x: one number for all coordinates, or one per coordinate.
        x_cov: Covariance of x: None for the identity, one number (a multiple of it), a diagonal, a full symmetric
            matrix, or a random subspace by name: {"rank": r, "seed": s, "complement": False}.
        w_mean: As `x_mean`, for the weights: the signal that all tasks share.
        w_cov: As `x_cov`, for the weights.
        n_points: Number of examples per prompt if `sample` gets none; None means 2 * n_dims + 1, so that the last label
            is predicted from 2 * n_dims examples.

    A subspace and its complement share rank and seed; `icl_interp.subspace_covariance` writes their matrices out.

    Raises:
        ValueError: If a mean or covariance does not fit n_dims, a covariance is not symmetric and positive
            semi-definite, or a name is unknown. (pydantic reports all such problems at once.)

    Source:
        Garg et al. (2022), section 2 (identity covariances, n_points = 2 n_dims + 1); Zhang, Wu and Bartlett (2024),
        Assumption 3.1 (general means and covariances).

    Example:
        >>> task = LinearRegression(n_dims=4, w_cov=[2.0, 2.0, 0.0, 0.0])
        >>> prompts = task.sample(8, seed=0)
        >>> torch.testing.assert_close(prompts.ys, torch.einsum("bpd,bd->bp", prompts.xs, prompts.ws))
        >>> task.weight_rank, prompts.n_points
        (2, 9)
    """

    family: Literal["linear_regression"] = "linear_regression"
    x_mean: float | _Vector = 0.0
    x_cov: float | _Vector | Matrix | Subspace | None = None
    w_mean: float | _Vector = 0.0
    w_cov: float | _Vector | Matrix | Subspace | None = None

    def __init__(self, n_dims: int, **fields: Any) -> None:
        super().__init__(**{"n_dims": n_dims, **fields})

    @field_validator("x_mean", "x_cov", "w_mean", "w_cov", mode="before")
    @classmethod
    def _plain(cls, value: object, info: Any) -> object:  # pydantic's ValidationInfo cannot be checked at run time
        return _plain_law(value, info.field_name or "")

    @model_validator(mode="after")
    def _check_shapes(self) -> "LinearRegression":
        problems = []
        for name in ("x_mean", "x_cov", "w_mean", "w_cov"):
            try:
                if name.endswith("_mean"):
                    _mean_vector(getattr(self, name), self.n_dims, name)
                else:
                    _check_covariance(_covariance_matrix(getattr(self, name), self.n_dims, name), name)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise InputError(" ".join(problems))
        return self

    @property
    def input_mean(self) -> Float[Tensor, " dim"]:
        return _mean_vector(self.x_mean, self.n_dims, "x_mean")

    @property
    def input_cov(self) -> Float[Tensor, "dim dim"]:
        """Covariance of x, float64."""
        return _without_rounding(_covariance_matrix(self.x_cov, self.n_dims, "x_cov"))

    @property
    def weight_mean(self) -> Float[Tensor, " dim"]:
        """Mean of w, float64."""
        return _mean_vector(self.w_mean, self.n_dims, "w_mean")

    @property
    def weight_cov(self) -> Float[Tensor, "dim dim"]:
        """Covariance of w, float64."""
        return _without_rounding(_covariance_matrix(self.w_cov, self.n_dims, "w_cov"))

    @property
    def weight_rank(self) -> int:
        """Dimension of the subspace that the weights vary in."""
        return numerical_rank(self.weight_cov)

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        return self.input_cov + torch.outer(self.input_mean, self.input_mean)

    @property
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        return self.weight_cov + torch.outer(self.weight_mean, self.weight_mean)

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        z = torch.randn(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))
        return _draw_gaussian(z, self.x_mean, self.x_cov, self.n_dims)

    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        v = torch.randn(n_prompts, self.n_dims, generator=stream(seed, "weights"))
        return _draw_gaussian(v, self.w_mean, self.w_cov, self.n_dims)

    def describe(self) -> str:
        inputs = _describe_law("inputs", self.input_mean, self.input_cov)
        weights = _describe_law("weights", self.weight_mean, self.weight_cov)
        return self._in_words("linear regression", f"{inputs}, {weights}")


def _describe_law(what: str, mean: Tensor, cov: Tensor) -> str:
    rank, n_dims = numerical_rank(cov), len(cov)
    if torch.equal(cov, torch.eye(n_dims, dtype=cov.dtype)):
        law = "standard Gaussian"
    else:
        law = "Gaussian" if rank == n_dims else f"Gaussian in a {rank}-dimensional subspace"
    centre = f" around a mean of norm {float(mean.norm()):.3g}" if mean.any() else ""
    return f"{what} {law}{centre}"
