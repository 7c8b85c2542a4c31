# %% [markdown]
# # A shift of your own
#
# The inputs become sparse: each coordinate is kept with some probability and scaled so that E[x²] stays. Prompt i has
# the inputs, weights and noise of the unshifted prompt i, with some coordinates set to zero.

# %%
import os

import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))


class SparseInputs:
    def __init__(self, task, share):
        self.task, self.share = task, share

    def sample(self, n_prompts, n_points=None, *, seed):
        xs = self.task.sample(n_prompts, n_points, seed=seed).xs
        kept = torch.rand(xs.shape, generator=torch.Generator().manual_seed(seed)) < self.share
        return self.task.prompts_at(xs * kept / self.share**0.5, seed=seed)

    def label_second_moment(self):  # uncorrelated coordinates keep their second moments
        return self.task.label_second_moment()


sparse = icl.Shift("x_sparse", (1 / 2, 1 / 4), "inputs", "a share {value} of the coordinates is not zero", SparseInputs)

# %%
checkpoint = icl.load_checkpoint(icl.demo_path())
errors = icl.error_curves(checkpoint, shifts=["x_scale=3", sparse], n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    print(f"{label:16} late error {family.curves['model'].late.value:.3f}, closest to {family.closest()}")

# %% [markdown]
# Once it is registered, patterns and `icl-probe --import own_shift.py --shifts x_sparse=1/8` find it by its name.

# %%
icl.register_shift(sparse)
print([shifted.label for shifted in icl.select_shifts(checkpoint.task, ["x_sparse=1/8"])])
del icl.SHIFTS["x_sparse"]
