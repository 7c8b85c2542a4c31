"""The record that tasks make and models read: prompts of (x, y) pairs, and the seeds behind them."""

import hashlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PromptSource", "Prompts", "derive_seed", "stream"]


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
class Prompts:
    """A batch of prompts: in each, `point` pairs (x, y) that share one task.

    A *point* is one (x, y) pair; a *position* is a token slot of a model and does not occur here.

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
    """Where the prompts came from: task and seed, for people."""

    def __post_init__(self) -> None:
        _check_prompts(self.xs, self.ys, self.ws)

    def __len__(self) -> int:
        return self.xs.shape[0]

    @property
    def n_points(self) -> int:
        """Number of (x, y) pairs in each prompt."""
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
        ws = None if self.ws is None else self.ws[which]
        return Prompts(xs=self.xs[which], ys=self.ys[which], ws=ws, source=self.source)

    def to(self, device: str | torch.device) -> "Prompts":
        """Copy the tensors to a device.

        Args:
            device: As torch names it.

        Returns:
            The same prompts over there.
        """
        ws = None if self.ws is None else self.ws.to(device)
        return Prompts(xs=self.xs.to(device), ys=self.ys.to(device), ws=ws, source=self.source)

    def __repr__(self) -> str:
        return (
            f"Prompts({len(self)} prompts x {self.n_points} points x {self.n_dims} dims, {self.source or 'no source'})"
        )


@runtime_checkable
class PromptSource(Protocol):
    """Anything that makes prompts: a task, or a task under a shift.

    `sample` is a pure function of its arguments: the same seed gives the same prompts, whatever was drawn before.
    """

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts.

        Args:
            n_prompts: How many.
            n_points: Pairs a prompt; None takes the task's usual number.
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
        raise ValueError(
            f"Prompts need xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
            f"{tuple(ys.shape)}; put the pairs of one prompt along the second axis of both."
        )
    if ws is not None and ws.shape != (xs.shape[0], xs.shape[2]):
        raise ValueError(
            f"Prompts need one row of ws for each of {xs.shape[0]} prompts of {xs.shape[2]} dimensions, got shape "
            f"{tuple(ws.shape)}; leave ws out where the labels have no weights."
        )
