# %% [markdown]
# # A model of your own
#
# Any PyTorch module can be measured: `icl.wrap` finds its blocks, and you say how untrained networks are made.
# Set ICL_EXAMPLE_STEPS and ICL_EXAMPLE_PROMPTS to small numbers for a quick pass.

# %%
import os

import torch
from torch import Tensor, nn

import icl_interp as icl

N_STEPS, N_PROMPTS = (int(os.environ.get(f"ICL_EXAMPLE_{name}", n)) for name, n in (("STEPS", 600), ("PROMPTS", 64)))
TASK = icl.LinearRegression(n_dims=3, n_points=10)


# %% [markdown]
# ## The network
#
# It does not use icl-interp. Tokens are x1, y1, x2, y2, ..., and each label is predicted at its x.


# %%
class MyDecoder(nn.Module):
    def __init__(self, n_dims: int = 3, width: int = 32, n_layers: int = 2) -> None:
        super().__init__()
        self.read_in = nn.Linear(n_dims + 1, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(n_layers)
        )
        self.norm, self.read_out = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        labels = nn.functional.pad(ys[..., None], (xs.shape[-1], 0))
        stream = self.read_in(torch.stack([nn.functional.pad(xs, (0, 1)), labels], dim=2).flatten(1, 2))
        hidden = nn.Transformer.generate_square_subsequent_mask(stream.shape[1])
        for layer in self.layers:
            stream = layer(stream, src_mask=hidden, is_causal=True)
        return self.read_out(self.norm(stream))[:, ::2, 0]


torch.manual_seed(0)
network = MyDecoder()
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
for step in range(N_STEPS):
    prompts = TASK.sample(64, seed=step)
    loss = (network(prompts.xs, prompts.ys) - prompts.ys).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss after {N_STEPS} steps: {loss.item():.3f}")

# %% [markdown]
# ## What are its submodules, and which of them are taken for blocks?

# %%
first = TASK.sample(4, seed=0)
print(icl.sites(network, first.xs, first.ys))

# %% [markdown]
# ## Wrap it, and measure it like any other model
#
# `make=MyDecoder` builds the untrained networks that every number is compared with.

# %%
model = icl.wrap(network, make=MyDecoder)
shifts = ["x_scale=3", "label_noise=1"]
study = icl.study(model, TASK, n_prompts=N_PROMPTS, n_controls=4 if N_PROMPTS < 64 else 20, shifts=shifts)
for claim, found in study.verdicts.items():
    print(f"{claim:24} {found.verdict:10} {found.value:6.2f}, in untrained networks {found.control:6.2f}")
for measure, reason in study.absent.items():
    print(f"left out: {measure}: {reason}")

# %%
late = study.errors.in_distribution.curves["model"].late
print(f"late error in distribution: {late.value:.3f} [{late.low:.3f}, {late.high:.3f}]")
study.errors.plot("in distribution")
