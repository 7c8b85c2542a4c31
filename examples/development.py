# %% [markdown]
# # How structure develops: transient ridge on a laptop
#
# We train networks on pools of M tasks. With few tasks a network learns them by heart; with many it learns ridge
# regression. In between it may first look like ridge and then turn to its tasks: its loss on fresh weights falls and
# rises again (Carroll et al. 2025). Set ICL_EXAMPLE_STEPS to a small number for a quick pass. By default the eight runs
# took 47 minutes with one thread on a shared machine.

# %%
import json
import os
import tempfile
from pathlib import Path

from icl_interp import (
    DevelopmentSettings,
    LinearRegression,
    ModelConfig,
    TaskPool,
    TrainConfig,
    development,
    train,
)

STEPS = int(os.environ.get("ICL_EXAMPLE_STEPS", "4000"))
PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "2048"))
SEEDS = (0, 1) if STEPS >= 1000 else (0,)
OUT = Path(os.environ.get("ICL_EXAMPLE_OUT", tempfile.mkdtemp()))
NOISE = 0.125**0.5

MODEL = ModelConfig(
    n_dims=4, n_points=8, n_layers=2, n_heads=4, d_model=64, d_mlp=64, tokens="separate", d_out=5, act_fn="relu",
    attn_out_proj=False, bias_read_in=False, bias_qkv=False, init="torch",
)  # fmt: skip
TASKS = [TaskPool(4, size, noise_std=NOISE, n_points=8) for size in (16, 64, 4)]
TASKS.append(LinearRegression(4, noise_std=NOISE, n_points=8))

# %% [markdown]
# Pools are nested: the 16 tasks are among the 64. Training uses Adam at 3e-3 after a linear warm-up and keeps 22
# checkpoints, evenly over log(step). Finished runs are read back, so the script can be started again.

# %%
folders = []
for seed in SEEDS:
    for number, task in enumerate(TASKS):
        config = TrainConfig(
            model=MODEL, task=task, steps=STEPS, batch_size=128, lr=3e-3, warmup=STEPS // 10,
            checkpoints={"log": 22}, log_every=100, eval_every=None, seed=seed,
        )  # fmt: skip
        folders.append(OUT / f"task{number}-seed{seed}")
        train(config, out=folders[-1], resume=True)

# %% [markdown]
# We measure every checkpoint on the same prompts. The results are cached in the run folders.

# %%
few = min(64, PROMPTS)
found = development(
    folders, settings=DevelopmentSettings(n_prompts=PROMPTS, n_pca_prompts=few, n_probe_prompts=few), llc=None
)
found.plot("loss")
found.plot("trajectory")
found.plot("diversity")

# %% [markdown]
# ## What did they learn, and when?
#
# t_crit is the step at which the loss on fresh weights is smallest. Transience is how far the loss rises afterwards.

# %%
rows = []
for run in found.runs:
    own, ridge = found.endpoints(run)
    curve = run.losses(run.fresh_family)
    rows.append({
        "run": run.name,
        "seed": run.seed,
        "t_crit": run.t_crit,
        "ood_lowest": round(float(curve.min()), 3),
        "ood_end": round(float(curve[-1]), 3),
        "transience": round(run.transience, 3),
        "to_dmmse_end": None if own is None else round(float(own[-1]), 3),
        "to_ridge_end": None if ridge is None else round(float(ridge[-1]), 3),
        "ood_curve": [round(value, 3) for value in curve.tolist()],
        "pc2": [round(value, 3) for value in found.trajectory.scores[run.name][:, 1].tolist()],
        "steps": list(run.steps),
    })
    print(f"in distribution the loss of {run.name} ends at {float(run.losses()[-1]):.3f};", end=" ")
    print({key: value for key, value in rows[-1].items() if not isinstance(value, list)})
print(found.trajectory, "threshold", found.diversity_threshold)
(OUT / "development-summary.json").write_text(json.dumps(rows))
