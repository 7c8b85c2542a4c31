# %% [markdown]
# # A task of your own
#
# Labels saturate: y = tanh(w'x). A registered task is a family like any other. Configs and checkpoints hold its name.
# To read them, import this file first or name it with `--import own_task.py`.

# %%
import os
import tempfile

import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))
N_STEPS = int(os.environ.get("ICL_EXAMPLE_STEPS", "1000"))


@icl.register_task
class Saturated(icl.UniformRegression):
    family: str = "saturated"

    def draw_labels(self, xs, *, seed):
        return icl.Labels(torch.tanh(super().draw_labels(xs, seed=seed).ys))

    def label_second_moment(self):
        return float(self.sample(4096, seed=0).ys.square().mean())

    def describe(self):
        return f"y = tanh(w'x) in {self.n_dims} dimensions"


# %%
model = icl.ModelConfig(n_dims=2, n_points=7, n_layers=2, n_heads=2, d_model=32)
config = icl.TrainConfig(model=model, task=Saturated(2, n_points=7), steps=N_STEPS, batch_size=64, eval_every=None)
with tempfile.TemporaryDirectory() as folder:
    checkpoint = icl.load_checkpoint(icl.train(config, out=folder).checkpoint)

print(checkpoint.task)
errors = icl.error_curves(checkpoint, shifts=["x_scale=3"], n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    print(f"{label:16} late error {family.curves['model'].late.value:.3f}, closest to {family.closest()}")
