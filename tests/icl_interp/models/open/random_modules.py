"""Small modules at random, as other people might write them, each with what `icl.wrap` has to be told of it."""

import math
import random
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import icl_interp as icl

Pair = namedtuple("Pair", ["weights", "stream"])  # whose first tensor is not its first entry


@dataclass(frozen=True)
class Said:
    """An output with fields."""

    stream: Tensor
    cached: None = None


OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "tensor": (lambda x: x, lambda said: said),
    "tuple": (lambda x: (x, None), lambda said: said[0]),
    "list": (lambda x: [x], lambda said: said[0]),
    "namedtuple": (lambda x: Pair(None, x), lambda said: said.stream),
    "dict": (lambda x: {"note": "hello", "stream": x}, lambda said: said["stream"]),
    "dataclass": (lambda x: Said(x), lambda said: said.stream),
}
AXES = ("batch pos width", "pos batch width", "batch width pos")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Sketch:
    """What was drawn."""

    n_dims: int
    n_points: int
    layers: int
    heads: int
    d_head: int
    layout: str
    query_only: bool
    full: bool
    norm: str
    final_norm: bool
    mlp: bool
    places: bool
    output: str
    axes: str
    dtype: str
    looped: bool
    sites: str
    make: str
    constant: bool

    @property
    def width(self) -> int:
        return self.heads * self.d_head

    @property
    def d_token(self) -> int:
        return self.n_dims + (self.layout != "interleaved")

    @property
    def n_positions(self) -> int:
        return self.n_points * (2 if self.layout in ("interleaved", "separate") else 1)


def sketch(seed: int) -> Sketch:
    """Draw one."""
    pick = random.Random(seed)
    layout = pick.choice(["interleaved", "separate", "joint", "sequence"])
    query_only = layout == "joint" or pick.random() < 0.2
    return Sketch(
        n_dims=pick.randint(1, 4),
        n_points=pick.choice([2, 3, 5, 7]),
        layers=pick.randint(1, 3),
        heads=pick.randint(1, 3),
        d_head=pick.choice([1, 1, 2, 3, 4, 5]),
        layout=layout,
        query_only=query_only,
        full=query_only and pick.random() < 0.5,
        norm=pick.choice(["none", "layer", "rms"]),
        final_norm=pick.random() < 0.5,
        mlp=pick.random() < 0.6,
        places=pick.random() < 0.6,
        output=pick.choice(list(OUTPUTS)),
        axes=pick.choice([AXES[0], *AXES]),
        dtype=pick.choice(["float32"] * 6 + list(DTYPES)),
        looped=pick.random() < 0.15,
        sites=pick.choice(["found", "found", "named", "heads", "bare", "none"]),
        make=pick.choice(["fresh", "fresh", "fresh", "nothing"]),
        constant=pick.random() < 0.05,
    )


class Pattern(nn.Module):
    """Attention patterns [batch head query key]."""

    def __init__(self, *, full: bool) -> None:
        super().__init__()
        self.full = full

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        if not self.full:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(-1)


class Collected(nn.Module):
    """Head outputs [batch pos head d_head]."""

    def forward(self, pattern: Tensor, value: Tensor) -> Tensor:
        return (pattern @ value).transpose(1, 2)


def a_norm(kind: str, width: int) -> nn.Module:
    return {"none": nn.Identity(), "layer": nn.LayerNorm(width), "rms": nn.RMSNorm(width)}[kind]


class Piece(nn.Module):
    """One block."""

    def __init__(self, of: Sketch) -> None:
        super().__init__()
        self.of = of
        width = of.width
        self.first, self.second = a_norm(of.norm, width), a_norm(of.norm, width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.pattern, self.collected = Pattern(full=of.full), Collected()
        if of.mlp:
            self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, stream: Tensor) -> Any:
        stream = _turned(stream, self.of.axes)
        parts = self.qkv(self.first(stream)).unflatten(-1, (3, self.of.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        stream = stream + self.out(self.collected(self.pattern(query, key), value).flatten(2))
        if self.of.mlp:
            stream = stream + self.narrow(F.relu(self.wide(self.second(stream))))
        return OUTPUTS[self.of.output][0](_turned(stream, self.of.axes))


def _turned(stream: Tensor, axes: str) -> Tensor:
    """Go from [batch pos width] to other axes, or back: each of these orders is its own inverse."""
    return {AXES[0]: stream, AXES[1]: stream.transpose(0, 1), AXES[2]: stream.transpose(1, 2)}[axes]


class Drawn(nn.Module):
    """The whole network."""

    def __init__(self, of: Sketch) -> None:
        super().__init__()
        self.of = of
        self.enter = nn.Linear(of.d_token, of.width)
        self.places = nn.Parameter(torch.randn(2 * of.n_points, of.width)) if of.places else None
        self.pieces = nn.ModuleList([Piece(of) for _ in range(1 if of.looped else of.layers)])
        self.leave = nn.LayerNorm(of.width) if of.final_norm else nn.Identity()
        self.answer = nn.Linear(of.width, 1)
        if of.constant:
            nn.init.zeros_(self.answer.weight)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        of = self.of
        stream = self.enter(_tokens(of.layout, xs, ys))
        if self.places is not None:
            stream = stream + self.places[: stream.shape[1]]
        stream = _turned(stream, of.axes)
        for piece in [*self.pieces] * (of.layers if of.looped else 1):
            stream = OUTPUTS[of.output][1](piece(stream))
        said = self.answer(self.leave(_turned(stream, of.axes)))[..., 0]
        said = said[:, ::2] if of.layout in ("interleaved", "separate") else said
        return said[:, -1] if of.query_only else said


def _tokens(layout: str, xs: Tensor, ys: Tensor) -> Tensor:
    labels = ys[..., None]
    if layout == "sequence":
        return torch.cat([xs, F.pad(labels, (0, 0, 1, 0))[:, :-1]], dim=2)
    if layout == "joint":
        return torch.cat([xs, F.pad(labels[:, :-1], (0, 0, 0, 1))], dim=2)
    # Full attention would read the label of the query behind it.
    labels = F.pad(labels[:, :-1], (0, 0, 0, 1))
    pairs = (
        (F.pad(xs, (1, 0)), F.pad(labels, (0, xs.shape[2])))
        if layout == "separate"
        else (xs, F.pad(labels, (0, xs.shape[2] - 1)))
    )
    return torch.stack(pairs, dim=2).flatten(1, 2)


def wrapped(of: Sketch, *, seed: int) -> Any:
    """Build the network and wrap it."""

    def build() -> Drawn:
        return Drawn(of).to(DTYPES[of.dtype])

    torch.manual_seed(seed)
    return icl.wrap(
        build(),
        sites=_sites(of),
        query_only=of.query_only,
        positions=of.layout,  # type: ignore[arg-type]  # one of the literals
        axes=of.axes,
        attention="full" if of.full else "causal",
        max_points=2 * of.n_points if of.places else None,
        make=build if of.make == "fresh" else None,
    )


def _sites(of: Sketch) -> dict[str, str] | None:
    if of.sites == "found":
        return None
    if of.sites == "none":
        return {}
    places = ["pieces.0"] if of.looped else [f"pieces.{i}" for i in range(of.layers)]
    found = {f"after {place}": place for place in places}
    if of.sites == "bare":
        return found
    if of.axes == AXES[0]:
        found = {"read-in": "enter", **found}
    if of.sites == "heads":
        found |= {f"z {place}": f"{place}.collected" for place in places}
        found |= {f"pattern {place}": f"{place}.pattern" for place in places}
    return found


def task_for(of: Sketch) -> icl.Task:
    """What it is asked."""
    return icl.LinearRegression(n_dims=of.n_dims, n_points=of.n_points)
