"""A decoder as somebody else would write it: plain PyTorch, names of its own, places to look at; and ours copied in."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import icl_interp as icl


class Looking(nn.Module):
    """Which tokens each head looks at: a submodule, so that its output can be a site."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1)


class Mixing(nn.Module):
    """What each head collects, [batch pos head d_head]."""

    def forward(self, pattern: Tensor, value: Tensor) -> Tensor:
        return (pattern @ value).transpose(1, 2)


class Layer(nn.Module):
    """One block; it returns a tuple, as many do."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.looking, self.mixing = Looking(), Mixing()
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, stream: Tensor) -> tuple[Tensor, None]:
        parts = self.qkv(self.before(stream)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        stream = stream + self.out(self.mixing(self.looking(query, key), value).flatten(2))
        hidden = F.gelu(self.wide(self.middle(stream)), approximate="tanh")
        return stream + self.narrow(hidden), None


class PlainDecoder(nn.Module):
    """Tokens x1, y1, x2, y2, ...; a label fills the first coordinate of its token."""

    def __init__(self, n_dims: int, n_points: int, width: int = 8, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(n_dims, width)
        self.places = nn.Parameter(0.02 * torch.randn(2 * n_points, width))
        self.stack = nn.ModuleList([Layer(width, heads) for _ in range(layers)])
        self.last_norm = nn.LayerNorm(width)
        self.answer = nn.Linear(width, 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        tokens = torch.stack([xs, F.pad(ys[..., None], (0, xs.shape[-1] - 1))], dim=2).flatten(1, 2)
        stream = self.enter(tokens) + self.places[: tokens.shape[1]]
        for layer in self.stack:
            stream, _ = layer(stream)
        return self.answer(self.last_norm(stream))[:, ::2, 0]


SITES = {
    "read-in": "stack.0:input",
    "block 0": "stack.0",
    "block 1": "stack.1",
    "final norm": "last_norm",
    "heads of block 0": "stack.0.mixing",
    "heads of block 1": "stack.1.mixing",
    "patterns of block 0": "stack.0.looking",
    "patterns of block 1": "stack.1.looking",
}


def copied(ours: icl.HookedICLTransformer) -> PlainDecoder:
    """Write the weights of a network of ours into a plain decoder."""
    cfg = ours.cfg
    plain = PlainDecoder(cfg.n_dims, cfg.n_points, cfg.d_model, cfg.n_heads, cfg.n_layers)
    theirs = ours.state_dict()

    def put(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        linear.weight.copy_(weight.T)
        linear.bias.copy_(bias)

    def put_norm(norm: nn.LayerNorm, name: str) -> None:
        norm.weight.copy_(theirs[f"{name}.w"])
        norm.bias.copy_(theirs[f"{name}.b"])

    with torch.no_grad():
        put(plain.enter, theirs["embed.W_E"], theirs["embed.b_E"])
        plain.places.copy_(theirs["pos_embed.W_pos"])
        put_norm(plain.last_norm, "ln_final")
        put(plain.answer, theirs["unembed.W_U"], theirs["unembed.b_U"])
        for i, layer in enumerate(plain.stack):
            name = f"blocks.{i}"
            put_norm(layer.before, f"{name}.ln1")
            put_norm(layer.middle, f"{name}.ln2")
            weights = [theirs[f"{name}.attn.W_{part}"].transpose(0, 1).flatten(1) for part in "QKV"]
            biases = [theirs[f"{name}.attn.b_{part}"].flatten() for part in "QKV"]
            put(layer.qkv, torch.cat(weights, dim=1), torch.cat(biases))
            put(layer.out, theirs[f"{name}.attn.W_O"].flatten(0, 1), theirs[f"{name}.attn.b_O"])
            put(layer.wide, theirs[f"{name}.mlp.W_in"], theirs[f"{name}.mlp.b_in"])
            put(layer.narrow, theirs[f"{name}.mlp.W_out"], theirs[f"{name}.mlp.b_out"])
    return plain
