# %% [markdown]
# # Does a transformer learn least squares, or its training prompts?
#
# Hill, Eyre and Creager (2025) say that transformers that learn regression in context fail on shifted prompts where
# least squares does not, and that a "spectral signature" of their residual streams shows it. Here we train a small
# model on weights in a subspace and test it on weights outside, in about two minutes. Set ICL_EXAMPLE_PROMPTS and
# ICL_EXAMPLE_STEPS to small numbers for a quick pass; `icl-reproduce hill2025` does the whole paper.

# %%
import os

import icl_interp as icl
from icl_interp.experiments.hill2025.setting import task_of
from icl_interp.measure.errors import error_curves
from icl_interp.measure.ood import ood_report

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "128"))
STEPS = int(os.environ.get("ICL_EXAMPLE_STEPS", "1500"))
SHIFTS = ["w_rotation=1/4", "w_rotation=1/2", "w_rotation=1", "x_scale=3"]

task = task_of("weights", 4)
print(f"in distribution: {task.describe()}")

# %% [markdown]
# ## Train it

# %%
config = icl.TrainConfig(
    model=icl.ModelConfig(n_dims=4, n_points=9, n_layers=6, n_heads=4, d_model=32),
    task=task,
    steps=STEPS,
    batch_size=64,
    lr=2e-3,
    schedule="cosine",
    warmup=STEPS // 20,
    grad_clip=1.0,
    eval_every=None,
)
model = icl.train(config).model

# %% [markdown]
# ## Where does it fail?
#
# We print late errors: after at least d examples, divided by E[y²]. Least squares handles all of these shifts. The
# Bayes predictor for the training distribution uses only the subspace of the weights, so it fails under the rotation
# too. An ideal learner of the training prompts would do so as well. It does not fail if the inputs are scaled.

# %%
errors = error_curves(model, task, shifts=SHIFTS, n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    late = {name: curve.late.value for name, curve in family.curves.items()}
    said = ", ".join(
        f"{name} {late[name]:.2f}" for name in ("model", "least squares", "ridge", "Bayes") if name in late
    )
    print(f"{label}: {said}")

# %% [markdown]
# ## Does the signature detect shifted prompts?
#
# The score compares the top two right singular vectors of a prompt's residual stream after the last block with the
# subspace that prompts in distribution share. Untrained networks and the norms of a prompt stand beside it; they detect
# a lot too.

# %%
report = ood_report(model, task, shifts=SHIFTS, n_prompts=N_PROMPTS, n_controls=3)
print(report.to_frame()[["auroc", "auroc_norms", "auroc_untrained"]].round(2))

# %% [markdown]
# ## Does it predict the error?
#
# A correlation over all families together is easily high, since shifted prompts differ in both. So we also take it
# inside each family.

# %%
print(f"all families together: {report.correlation.pooled}")
print(f"inside families: {report.correlation.within_mean}")
print(f"inside families, beyond untrained networks: {report.correlation_excess()}")
