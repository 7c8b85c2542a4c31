"""Prompts of (x, y) examples, which tasks make and models read, and the seeds behind them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from icl_interp.errors import InputError
from probes._core.arrays import tensor_of


def derive_seed(seed: int, name: str) -> int:
    """Derive the seed of one purpose from a seed that a person typed.

    Formula: the first 8 bytes of sha256("name:seed"), halved. Purposes get unrelated seeds, none of them as small as
    those that are typed by hand. (torch's CPU generator reads the low 32 bits, so among very many seeds two may agree.)

    Args:
        seed: Any integer.
        name: The purpose, such as "train step 7".

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> derive_seed(0, "a") != derive_seed(0, "b") and derive_seed(0, "a") > 10**12
        True
    """
    digest = hashlib.sha256(f"{name}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, name: str) -> torch.Generator:
    """Open the random stream of one purpose under one seed.

    Args:
        seed: Any integer.
        name: The purpose: "inputs", "weights", "noise", ...

    Returns:
        A fresh CPU generator; the global generator is untouched.

    Example:
        >>> a = torch.randn(3, generator=stream(0, "inputs"))
        >>> b = torch.randn(3, generator=stream(0, "inputs"))
        >>> torch.testing.assert_close(a, b, rtol=0, atol=0)
    """
    return torch.Generator().manual_seed(derive_seed(seed, name))


@dataclass(frozen=True, slots=True)
class TokenPrompts:
    """A batch of token sequences, which a wrapped language model reads instead of `Prompts`."""

    tokens: Int[Tensor, "batch pos"]
    """Numbers of vocabulary entries."""

    def __repr__(self) -> str:
        return f"TokenPrompts({len(self)} sequences of {self.n_points} tokens)"

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, which: slice) -> "TokenPrompts":
        return TokenPrompts(self.tokens[which])

    def to(self, device: str | torch.device) -> "TokenPrompts":
        """Copy the tokens to a device."""
        return TokenPrompts(self.tokens.to(device))

    @property
    def xs(self) -> Int[Tensor, "batch pos"]:
        """The tokens, in the place where a model looks for its inputs."""
        return self.tokens

    @property
    def ys(self) -> None:
        """None: tokens have no labels."""

    @property
    def n_points(self) -> int:
        """Tokens per sequence."""
        return self.tokens.shape[1]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Prompts:
    """A batch of prompts: in each, `point` examples (x, y) that share one task.

    Arrays of numpy become tensors of their dtype. A *point* is one (x, y) example; a *position* is a token slot of a
    model and does not occur here.

    Example:
        >>> prompts = Prompts(xs=torch.zeros(4, 3, 2), ys=torch.zeros(4, 3))
        >>> len(prompts), prompts.n_points, prompts.n_dims
        (4, 3, 2)
    """

    xs: Float[Tensor, "batch point dim"]
    """Inputs."""
    ys: Float[Tensor, "batch point"]
    """Labels, noise included."""
    ws: Float[Tensor, "batch dim"] | None = None
    """The weights behind the labels, where the task is linear."""
    source: str = ""
    """Task and seed that the prompts came from, in words."""
    query_xs: Float[Tensor, "batch point dim"] | None = None
    """Query of entry k, asked after the examples before k; None means that entry k is asked at xs[:, k]."""
    query_ys: Float[Tensor, "batch point"] | None = None
    """The labels of `query_xs`, noise included."""

    def __post_init__(self) -> None:
        for name in ("xs", "ys", "ws", "query_xs", "query_ys"):
            if isinstance(value := getattr(self, name), np.ndarray):
                object.__setattr__(self, name, tensor_of(value))
        _check_prompts(self.xs, self.ys, self.ws)
        _check_queries(self.xs, self.ys, self.query_xs, self.query_ys)

    def __len__(self) -> int:
        return self.xs.shape[0]

    @property
    def n_points(self) -> int:
        """Number of (x, y) examples in each prompt."""
        return self.xs.shape[1]

    @property
    def n_dims(self) -> int:
        """Number of coordinates of each x."""
        return self.xs.shape[2]

    def __getitem__(self, which: slice) -> "Prompts":
        """Take some of the prompts.

        Args:
            which: A slice over the batch.

        Returns:
            Views of the tensors.
        """
        return self._each(lambda tensor: tensor[which])

    def to(self, device: str | torch.device) -> "Prompts":
        """Copy the tensors to a device.

        Args:
            device: As torch names it.

        Returns:
            The same prompts on that device.
        """
        return self._each(lambda tensor: tensor.to(device))

    @property
    def targets(self) -> Float[Tensor, "batch point"]:
        """The labels that are asked for: those of the queries where there are queries."""
        return self.ys if self.query_ys is None else self.query_ys

    def first_points(self, n_points: int) -> "Prompts":
        """Keep the beginning of each prompt.

        Args:
            n_points: Number of examples to keep, at least 1; all if there are fewer.

        Returns:
            Views of the tensors.

        Raises:
            InputError: If n_points is below 1.
        """
        if n_points < 1:
            raise InputError(f"first_points needs at least one point, got {n_points}.")
        return replace(replace(self, ws=None)._each(lambda tensor: tensor[:, :n_points]), ws=self.ws)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Prompts":
        def maybe(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return Prompts(
            xs=change(self.xs),
            ys=change(self.ys),
            ws=maybe(self.ws),
            source=self.source,
            query_xs=maybe(self.query_xs),
            query_ys=maybe(self.query_ys),
        )

    def __repr__(self) -> str:
        asked = "" if self.query_xs is None else ", with queries"
        size = f"{len(self)} prompts x {self.n_points} points x {self.n_dims} dims{asked}"
        return f"Prompts({size}, {self.source or 'no source'})"


@runtime_checkable
class PromptSource(Protocol):
    """Anything that makes prompts: a task, or a task under a shift.

    `sample` is a pure function of its arguments: the same seed gives the same prompts, whatever was drawn before.
    """

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts.

        Args:
            n_prompts: Number of prompts.
            n_points: Number of examples per prompt; None takes the task's usual number.
            seed: The only source of randomness.

        Returns:
            float32 prompts on the CPU.
        """
        ...

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero."""
        ...


def _check_prompts(xs: Tensor, ys: Tensor, ws: Tensor | None = None) -> None:
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape:
        raise InputError(
            f"Prompts need xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
            f"{tuple(ys.shape)}; put the pairs of one prompt along the second axis of both."
        )
    if ws is not None and ws.shape != (xs.shape[0], xs.shape[2]):
        raise InputError(
            f"Prompts need one row of ws for each of {xs.shape[0]} prompts of {xs.shape[2]} dimensions, got shape "
            f"{tuple(ws.shape)}; leave ws out where the labels have no weights."
        )


def _check_queries(xs: Tensor, ys: Tensor, query_xs: Tensor | None, query_ys: Tensor | None) -> None:
    if query_xs is None and query_ys is None:
        return
    if query_xs is None or query_ys is None or query_xs.shape != xs.shape or query_ys.shape != ys.shape:
        came = [None if tensor is None else tuple(tensor.shape) for tensor in (query_xs, query_ys)]
        raise InputError(
            f"Prompts need query_xs and query_ys together, shaped as xs {tuple(xs.shape)} and ys {tuple(ys.shape)}, "
            f"got {came[0]} and {came[1]}; give one query a point, or leave both out."
        )
