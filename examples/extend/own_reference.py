# %% [markdown]
# # A reference predictor of your own
#
# Does the model forget? We compare it with least squares on the last five examples, beside the task's own reference
# predictors.

# %%
import os

import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))


def last_five(xs, ys):
    """Entry k uses x_k and the five examples before it."""
    solve = icl.predictors.least_squares()
    columns = [solve(xs[:, max(0, k - 5) : k + 1], ys[:, max(0, k - 5) : k + 1])[:, -1] for k in range(xs.shape[1])]
    return torch.stack(columns, dim=1)


# %%
checkpoint = icl.load_checkpoint(icl.demo_path())
own = {"last five": last_five}
errors = icl.error_curves(checkpoint, shifts=["x_scale=3"], references=own, n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    distances = {name: found.value for name, found in family.distances.items()}
    print(f"{label:16} distance from last five {distances['last five']:.3f}, closest to {family.closest()}")

# %% [markdown]
# `icl.register_reference(last_five)` adds it to every measure that follows.
