"""The training loop that people would write, after dtsip/in-context-learning as published.

A GPT-2 of Hugging Face between two linear maps, torch's Adam with its defaults, prompts drawn on the fly, the loss read
at every step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class _PublishedModel(nn.Module):
    # What the published loop trains.

    def __init__(self, n_dims: int, n_points: int, n_layers: int, n_heads: int, d_model: int) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model  # seconds, which --help need not take

        self.backbone = GPT2Model(
            GPT2Config(
                n_positions=2 * n_points, n_embd=d_model, n_layer=n_layers, n_head=n_heads, resid_pdrop=0.0,
                embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
            )
        )  # fmt: skip
        self.read_in, self.read_out = nn.Linear(n_dims, d_model), nn.Linear(d_model, 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        batch, points, dims = xs.shape
        wide = torch.cat([ys[..., None], torch.zeros(batch, points, dims - 1)], dim=2)
        tokens = torch.stack([xs, wide], dim=2).reshape(batch, 2 * points, dims)
        return self.read_out(self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state)[:, ::2, 0]


def published_step(sizes: tuple[int, int, int, int, int], batch_size: int) -> Callable[[], float]:
    """Make a function that takes one step of the published loop.

    Args:
        sizes: n_dims, points, layers, heads, width.
        batch_size: Number of prompts per step.

    Returns:
        Each call draws a batch, changes the weights and reads the loss.
    """
    model = _PublishedModel(*sizes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    n_dims, n_points = sizes[:2]

    def step() -> float:
        xs, w = torch.randn(batch_size, n_points, n_dims), torch.randn(batch_size, n_dims, 1)
        ys = (xs @ w)[:, :, 0]
        optimizer.zero_grad()
        loss = (ys - model(xs, ys)).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach().item()

    return step
