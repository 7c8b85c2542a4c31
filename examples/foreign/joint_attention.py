"""A loader for `icl-probe FILE --model joint_attention.py:load --task n_dims=20`: causal attention over tokens [x; y].

The file does not describe the architecture. Its authors' code has one head, norms before the branch and after the sum,
and a branch that is scaled by 0.1. "lsa" uses the scores unchanged, "softmax" normalises them.
"""

import torch
from torch import nn

import icl_interp as icl
from icl_interp.checkpoints.registry import open_file


class Layer(nn.Module):
    def __init__(self, width, d_key, kind):
        super().__init__()
        self.W_q, self.W_k = (nn.Linear(width, d_key, bias=False) for _ in range(2))
        self.W_v, self.W_o = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.norm1, self.norm2, self.kind = nn.LayerNorm(width), nn.LayerNorm(width), kind

    def forward(self, tokens):
        read = self.norm1(tokens)
        scores = self.W_q(read) @ self.W_k(read).mT / self.W_q.out_features**0.5
        future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
        linear = self.kind == "lsa"
        pattern = scores.masked_fill(future, 0.0) if linear else scores.masked_fill(future, -torch.inf).softmax(-1)
        return self.norm2(tokens + 0.1 * self.W_o(pattern @ self.W_v(read)))


class Net(nn.Module):
    def __init__(self, n_layers, n_dims, kind):
        super().__init__()
        self.layers = nn.ModuleList(Layer(n_dims + 1, n_dims, kind) for _ in range(n_layers))
        self.pred_head = nn.Linear(n_dims + 1, 1, bias=False)

    def forward(self, xs, ys):
        labels = torch.cat([ys[:, :-1], torch.zeros_like(ys[:, :1])], 1)
        tokens = torch.cat([xs, labels[..., None]], 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.pred_head(tokens[:, -1])[:, 0]


def load(path):
    file = open_file(path).contents  # nothing in it is executed
    how = file["num_layers"], file["d"], file["model_type"]
    net = Net(*how)
    net.load_state_dict(file["model_state_dict"])
    return icl.wrap(net, query_only=True, positions="joint", make=lambda: Net(*how))
