# %% [markdown]
# # Activations and prompts from elsewhere
#
# If another framework ran the network, you may have only arrays on disk. They are enough for the signature, spectra,
# detectors and similarity of sites, with the same code and the same controls as for a model. Set ICL_EXAMPLE_PROMPTS to
# a small number for a quick pass.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))

# %% [markdown]
# Somebody else's program: a small recurrent network with weights of its own, which reads pairs x, y and keeps a state
# per position. Nobody trains it here: a longer memory stands in for what training would do.


# %%
def run(prompts: dict[str, np.ndarray], seed: int, memory: float) -> dict[str, np.ndarray]:
    weights = np.random.default_rng(seed)
    read_in, mix = weights.standard_normal((4, 24)), weights.standard_normal((24, 24)) / 24**0.5
    found = {}
    for label, pairs in prompts.items():
        state, states = np.zeros((len(pairs), 24)), []
        for position in range(pairs.shape[1]):
            state = np.tanh(pairs[:, position] @ read_in + memory * state @ mix)
            states.append(state)
        found[label] = np.stack(states, axis=1).astype(np.float16)
    return found


task = icl.LinearRegression(n_dims=3, n_points=8)
sources = {
    "in distribution": task,
    "x_scale=3": icl.shifted(task, "x_scale", 3.0),
    "label_noise=1": icl.shifted(task, "label_noise", 1.0),
}
drawn = {label: source.sample(2 * N_PROMPTS, seed=1) for label, source in sources.items()}
pairs = {label: torch.cat([p.xs, p.ys[..., None]], dim=2).numpy() for label, p in drawn.items()}
own = run(pairs, seed=0, memory=0.9)
untrained = [run(pairs, seed=seed, memory=0.1) for seed in (1, 2, 3)]

# %% [markdown]
# Half of the prompts in distribution are fitted. Sample i of another family is prompt i, changed; it is left out if
# prompt i was fitted. Verdicts need controls; without them there are numbers only.

# %%
found = icl.activation_study(own, controls=untrained)
print(found.to_frame()[["family", "leading_value", "overlap_with_id", "ood_score"]].round(2))
for claim, excess in found.verdicts.items():
    print(f"{claim:18} {excess}")
found.plot()

# %% [markdown]
# The arrays may also be in a file, which `icl-probe activations.npz` turns into a report. `absent` lists what cannot be
# measured on activations alone, with the reason.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "activations.npz")
    arrays = own | {f"control {i}/{label}": a for i, of in enumerate(untrained, 1) for label, a in of.items()}
    arrays |= {f"inputs/{label}": p.xs.numpy() for label, p in drawn.items()}
    arrays |= {f"targets/{label}": p.ys.numpy() for label, p in drawn.items()}
    np.savez(path, **arrays)
    again = icl.activation_study(path)
print(again.detectors.to_frame()["auroc"].unstack().round(2))
print(f"left out: {', '.join(again.absent)}")

# %% [markdown]
# Saved prompts can replace a task everywhere.

# %%
saved = icl.FixedPrompts({label: (p.xs.numpy(), p.ys.numpy()) for label, p in drawn.items()})
print(saved.describe())
model = icl.load_checkpoint(icl.demo_path()).model
demo = icl.FixedPrompts({"mine": icl.LinearRegression(n_dims=6, n_points=13).sample(2 * N_PROMPTS, seed=0)})
errors = icl.error_curves(model, demo, n_prompts=N_PROMPTS)
print(
    f"late error {errors.in_distribution.curves['model'].late.value:.2f}, closest to {errors.in_distribution.closest()}"
)
