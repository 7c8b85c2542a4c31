"""Gaussian linear regression: y = w.x + noise, with Gaussian inputs and weights of any mean and covariance."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from icl_interp.prompts import Prompts, stream

__all__ = ["LinearRegression"]

Vector = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]


class LinearRegression(BaseModel):
    """Linear regression with Gaussian inputs x ~ N(x_mean, x_cov) and weights w ~ N(w_mean, w_cov), one w a prompt.

    Formula: y_k = w.x_k + noise_std * e_k with e_k ~ N(0, 1). Covariances may be rank-deficient, which restricts
    inputs or weights to a subspace.

    Args:
        n_dims: Coordinates of x.
        noise_std: Standard deviation of the label noise, in units of y.
        x_mean: One number for all coordinates, or one for each.
        x_cov: None for the identity, one number (a multiple of it), a diagonal, or a full symmetric matrix.
        w_mean: As `x_mean`, for the weights: the signal that all tasks share.
        w_cov: As `x_cov`, for the weights.
        n_points: Pairs a prompt when `sample` is not told; None means 2 * n_dims + 1, so that the last label is
            predicted from 2 * n_dims pairs.

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

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_dims: int = Field(ge=1)
    noise_std: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    x_mean: float | Vector = 0.0
    x_cov: float | Vector | Matrix | None = None
    w_mean: float | Vector = 0.0
    w_cov: float | Vector | Matrix | None = None
    n_points: int | None = Field(default=None, ge=1)

    def __init__(self, n_dims: int, **fields: object) -> None:
        super().__init__(n_dims=n_dims, **fields)

    @field_validator("x_mean", "x_cov", "w_mean", "w_cov", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return value.tolist() if isinstance(value, Tensor) else value

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
            raise ValueError(" ".join(problems))
        return self

    @property
    def input_mean(self) -> Float[Tensor, " dim"]:
        """Mean of x, float64."""
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
        return _rank(self.weight_cov)

    @property
    def default_points(self) -> int:
        """Pairs a prompt when `sample` is not told."""
        return self.n_points if self.n_points is not None else 2 * self.n_dims + 1

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts as a pure function of the arguments.

        Inputs, weights and noise come from separate streams of the seed, so that two tasks that differ in one of the
        three share the other two, prompt by prompt.

        Args:
            n_prompts: How many, at least 1.
            n_points: Pairs a prompt, at least 1; None takes `default_points`.
            seed: The only source of randomness.

        Returns:
            float32 prompts on the CPU, with their weights.

        Raises:
            ValueError: If a count is below 1.
        """
        n_points = self.default_points if n_points is None else n_points
        if n_prompts < 1 or n_points < 1:
            raise ValueError(
                f"sample needs at least one prompt and one point, got {n_prompts} prompts of {n_points} points; "
                "ask for more."
            )
        z = torch.randn(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))
        v = torch.randn(n_prompts, self.n_dims, generator=stream(seed, "weights"))
        xs = z @ _symmetric_root(self.input_cov).float() + self.input_mean.float()
        ws = v @ _symmetric_root(self.weight_cov).float() + self.weight_mean.float()
        ys = torch.einsum("bpd,bd->bp", xs, ws)
        if self.noise_std > 0:
            ys = ys + self.noise_std * torch.randn(n_prompts, n_points, generator=stream(seed, "noise"))
        return Prompts(xs=xs, ys=ys, ws=ws, source=f"LinearRegression, seed {seed}")

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero.

        Formula: tr(E[x x'] E[w w']) + noise_std^2.

        Returns:
            In squared units of y.
        """
        second_x = self.input_cov + torch.outer(self.input_mean, self.input_mean)
        second_w = self.weight_cov + torch.outer(self.weight_mean, self.weight_mean)
        return float((second_x * second_w).sum() + self.noise_std**2)

    def describe(self) -> str:
        """Say in one clause what is drawn.

        Returns:
            A clause without full stop, for headers and notes.
        """
        parts = [f"linear regression in {self.n_dims} dimensions"]
        parts.append(_describe_law("inputs", self.input_mean, self.input_cov))
        parts.append(_describe_law("weights", self.weight_mean, self.weight_cov))
        parts.append(f"label noise of standard deviation {self.noise_std:g}" if self.noise_std else "no label noise")
        return ", ".join(parts)


def _describe_law(what: str, mean: Tensor, cov: Tensor) -> str:
    rank, n_dims = _rank(cov), len(cov)
    if torch.equal(cov, torch.eye(n_dims, dtype=cov.dtype)):
        law = "standard Gaussian"
    else:
        law = "Gaussian" if rank == n_dims else f"Gaussian in a {rank}-dimensional subspace"
    centre = f" around a mean of norm {float(mean.norm()):.3g}" if mean.any() else ""
    return f"{what} {law}{centre}"


def _mean_vector(value: float | Sequence[float], n_dims: int, name: str) -> Tensor:
    vector = torch.as_tensor(value, dtype=torch.float64)
    if vector.ndim == 0:
        vector = vector.expand(n_dims)
    if vector.shape != (n_dims,) or not vector.isfinite().all():
        raise ValueError(f"{name} needs one number or {n_dims} finite numbers, got {value!r}.")
    return vector


def _covariance_matrix(value: float | Sequence[float] | Matrix | None, n_dims: int, name: str) -> Tensor:
    cov = torch.as_tensor(1.0 if value is None else value, dtype=torch.float64)
    if cov.ndim < 2:
        cov = torch.diag(cov.expand(n_dims) if cov.ndim == 0 or cov.shape == (n_dims,) else cov)
    if cov.shape != (n_dims, n_dims) or not cov.isfinite().all():
        raise ValueError(
            f"{name} needs None, one number, {n_dims} numbers (a diagonal) or a {n_dims} x {n_dims} matrix, all "
            f"finite, got shape {tuple(torch.as_tensor(value).shape)}."
        )
    return cov


def _check_covariance(cov: Tensor, name: str) -> None:
    tolerance = 1e-6 * float(cov.abs().max())  # config files hold float32 digits
    if not torch.allclose(cov, cov.T, rtol=0, atol=tolerance):
        raise ValueError(f"{name} needs a symmetric matrix, got one that differs from its transpose; symmetrise it.")
    if float(torch.linalg.eigvalsh(cov).min()) < -tolerance:
        raise ValueError(f"{name} needs a positive semi-definite matrix, got a negative eigenvalue; check its sign.")


def _without_rounding(cov: Tensor) -> Tensor:
    # Eigenvalues that are rounding of float32 digits become 0: a subspace stays one, and no variance is negative.
    if torch.equal(cov, torch.diag(cov.diagonal())):
        return cov.clamp(min=0)
    cov = (cov + cov.T) / 2
    values, vectors = torch.linalg.eigh(cov)
    kept = values > len(values) * torch.finfo(torch.float32).eps * values[-1]
    return cov if kept.all() else (vectors[:, kept] * values[kept]) @ vectors[:, kept].T


def _rank(cov: Tensor) -> int:
    values = torch.linalg.eigvalsh(cov)
    return int((values > 1e-12 * values[-1]).sum())  # above what float64 leaves of a zero eigenvalue


def _symmetric_root(cov: Tensor) -> Tensor:
    if torch.equal(cov, torch.diag(cov.diagonal())):
        return torch.diag(cov.diagonal().sqrt())  # exact, so that a zero direction stays exactly zero
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
