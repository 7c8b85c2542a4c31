# %% [markdown]
# # Does a transformer learn least squares, or its training prompts?
#
# Hill, Eyre and Creager (2025): transformers that learn regression in context fail on shifted prompts where least
# squares would not, and a "spectral signature" of their residual streams is said to show it. Here a small model is
# trained on weights in a subspace and then asked about weights that leave it, in about two minutes. Set
# ICL_EXAMPLE_PROMPTS and ICL_EXAMPLE_STEPS to small numbers for a quick pass; `icl-reproduce hill2025` does the whole
# paper.

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
# Errors after at least d examples, in units of E[y²]. Least squares handles every one of these shifts. The Bayes
# predictor of the training law looks only into the subspace of the weights, so it fails under the rotation too: an
# ideal learner of these prompts would. It does not fail where inputs are scaled.

# %%
errors = error_curves(model, task, shifts=SHIFTS, n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    late = {name: curve.late.value for name, curve in family.curves.items()}
    said = ", ".join(
        f"{name} {late[name]:.2f}" for name in ("model", "least squares", "ridge", "Bayes") if name in late
    )
    print(f"{label}: {said}")

# %% [markdown]
# ## Does the signature know?
#
# The top two right singular vectors of a prompt's residual stream after the last block, against the subspace that
# prompts in distribution share. Untrained networks and the norms of a prompt stand beside it: they know a lot too.

# %%
report = ood_report(model, task, shifts=SHIFTS, n_prompts=N_PROMPTS, n_controls=3)
print(report.to_frame()[["auroc", "auroc_norms", "auroc_untrained"]].round(2))

# %% [markdown]
# ## Does it know the error?
#
# Pooled over families a correlation is easily high, since shifted prompts differ in both; inside families it is not.

# %%
print(f"pooled: {report.correlation.pooled}")
print(f"inside families: {report.correlation.within_mean}")
print(f"inside families, beyond untrained networks: {report.correlation_excess()}")
