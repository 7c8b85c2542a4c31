"""Regression on orthonormal categorical features, balanced or with one that dominates."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import stream
from icl_interp.tasks.linear_regression import GaussianWeights
from icl_interp.tasks.subspaces import random_basis


class CategoricalRegression(GaussianWeights):
    """Linear regression whose inputs are one of K orthonormal features v_1, ..., v_K.

    Formula: x_k = v_c with P(c = 1) = dominant_share and the rest shared evenly; y_k = w.x_k + noise_std * e_k with
    w ~ N(0, I). Without a dominant share all features are as likely (the balanced case). The features are the first K
    coordinates, or a random rotation of them where a basis_seed is given (our choice; the theory does not depend on
    it).

    Args:
        n_features: K, from 1 to n_dims; None takes n_dims.
        dominant_share: Probability of the first feature, between 0 and 1, both excluded; None for balanced features.
        basis_seed: Seed of the rotation; None for no rotation.
        n_dims, noise_std, n_points: As in `LinearRegression`.

    Raises:
        ValueError: If there are more features than dimensions, or a share is given to the only one.

    Source:
        Huang, Cheng and Liang (2024), arXiv 2310.05249, section 2. A convenient simulation has 10 features and 200
        examples, balanced or with dominant_share 0.5.

    Example:
        >>> prompts = CategoricalRegression(n_dims=4, dominant_share=0.7).sample(1000, 1, seed=0)
        >>> bool(0.6 < prompts.xs[:, 0, 0].mean() < 0.8)
        True
    """

    family: Literal["categorical_regression"] = "categorical_regression"
    n_features: int | None = Field(default=None, ge=1)
    dominant_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    basis_seed: int | None = None

    continuous_inputs: ClassVar[bool] = False

    @model_validator(mode="after")
    def _check_features(self) -> "CategoricalRegression":
        if len(self.shares) > self.n_dims:
            raise InputError(
                f"n_features needs at most {self.n_dims}, the number of dimensions, got {self.n_features}."
            )
        if self.dominant_share is not None and len(self.shares) == 1:
            raise InputError("dominant_share needs at least two features, got one; leave it out.")
        return self

    @property
    def shares(self) -> Float[Tensor, " feature"]:
        """Probability of each feature, float64."""
        n = self.n_features or self.n_dims
        shares = torch.full((n,), 1 / n, dtype=torch.float64)
        if self.dominant_share is not None and n > 1:
            shares[0], shares[1:] = self.dominant_share, (1 - self.dominant_share) / (n - 1)
        return shares

    @property
    def features(self) -> Float[Tensor, "feature dim"]:
        """v_1, ..., v_K, one per row, float64."""
        basis = torch.eye(self.n_dims, dtype=torch.float64)
        if self.basis_seed is not None:
            basis = random_basis(self.n_dims, seed=self.basis_seed, purpose="features").T
        return basis[: len(self.shares)]

    @property
    def input_mean(self) -> Float[Tensor, " dim"]:
        return self.shares @ self.features

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x x'] = sum_c P(c) v_c v_c', float64."""
        return (self.features.T * self.shares) @ self.features

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        coins = torch.rand(n_prompts, n_points, generator=stream(seed, "inputs"), dtype=torch.float64)
        which = torch.searchsorted(self.shares.cumsum(0), coins, right=True).clamp(max=len(self.shares) - 1)
        return self.features.float()[which]

    def describe(self) -> str:
        law = "balanced" if self.dominant_share is None else f"the first with probability {self.dominant_share:g}"
        what = f"regression on {len(self.shares)} orthonormal features"
        return self._in_words(what, f"{law}, weights standard Gaussian")
