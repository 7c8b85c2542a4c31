# %% [markdown]
# # A linear transformer block learns where to start
#
# In Zhang, Wu and Bartlett (2024) all tasks share a signal, w ~ N(b*, I). Linear attention alone (LSA) can do one
# gradient step from 0. With a linear MLP and the skip connection (LTB) it can do the step from b*. We train both, in
# about a minute. Set ICL_EXAMPLE_PROMPTS to a small number for a quick pass; `icl-reproduce zhang2024` does the whole
# paper.

# %%
import os

import torch

import icl_interp as icl
from icl_interp.experiments.linear_risk import linear_risk, optimal_lsa_risk
from icl_interp.predictors.learned_init import optimal_learned_init

D = M = 5
STEPS = min(6000, 10 * int(os.environ.get("ICL_EXAMPLE_PROMPTS", "600")))

b_star = torch.ones(D, dtype=torch.float64)
task = icl.LinearRegression(D, w_mean=1.0, n_points=M + 1)
print(f"in distribution: {task.describe()}")

# %% [markdown]
# ## The best that each can do
#
# LTB can do one gradient step from b* with the preconditioner Gamma*. LSA can reach the minimum of its exact risk.

# %%
eye = torch.eye(D, dtype=torch.float64)
best = optimal_learned_init(eye, eye, b_star, 0.0, M)
print(f"least risk: LTB {best.risk:.4f}, LSA {optimal_lsa_risk(b_star, M):.4f}")

# %% [markdown]
# ## Train both
#
# We train all weight matrices, six for LTB and four for LSA. `linear_risk` is the exact population risk of the weights.
# It needs no test set, and the heavy tails of LSA do no harm.


# %%
def config(family: str) -> icl.TrainConfig:
    return icl.TrainConfig(
        model=icl.ModelConfig(family=family, n_dims=D, n_points=M + 1),
        task=task,
        steps=STEPS,
        batch_size=128,
        schedule="cosine",
        grad_clip=10.0,
        loss_points="last",
        eval_every=None,
    )


for family in ("lsa", "ltb"):
    model = icl.train(config(family)).model.double()
    found = model.effective_parameters()
    print(f"{family.upper()} after {STEPS} steps: risk {linear_risk(found, b_star, M).item():.3f}")

# %% [markdown]
# ## What is in the weights?
#
# At the optimum, gamma (the answer without examples) and the start of the step are b*. The preconditioner is Gamma*.

# %%
print(found)
print(f"Gamma* = {best.preconditioner[0, 0]:.3f} times the identity")

# %% [markdown]
# ## The start is learned, not inferred
#
# We move b* at test time. The block still starts from the old one, so its risk rises.

# %%
for distance in (0.0, 2.0, 4.0):
    moved = b_star + distance * eye[0]
    print(f"b* moved by {distance:g}: risk {linear_risk(found, moved, M).item():.2f}")
