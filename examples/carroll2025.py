# %% [markdown]
# # Loss against complexity: when should a network leave ridge?
#
# Carroll, Hoogland, Farrugia-Roberts and Murfet (2025) train networks on M tasks. A network can answer like ridge,
# which serves every task, or like dMMSE, which knows the M tasks by heart and has the lower loss on them. Bayesian
# model selection weighs loss against complexity: free energy is about n * loss + coefficient * log n, where the
# coefficient is the local learning coefficient. This takes a few minutes; set ICL_EXAMPLE_STEPS to a small number for a
# quick pass. `development.py` shows the sweep over training, and `icl-reproduce carroll2025` does the whole paper.

# %%
import os
import tempfile
from pathlib import Path

import icl_interp as icl
from probes.learning_coefficient.exact import free_energy_crossover

STEPS = int(os.environ.get("ICL_EXAMPLE_STEPS", "3000"))
PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "2048"))
NOISE = 0.125**0.5
FRESH = icl.LinearRegression(4, noise_std=NOISE, n_points=8)


def pool(size: int) -> icl.TaskPool:
    return icl.TaskPool(4, size, noise_std=NOISE, n_points=8)


# %% [markdown]
# ## The loss gap shrinks
#
# We compare both predictors on prompts of the pool's own tasks; nothing is trained. The larger the pool, the smaller
# the advantage of dMMSE.

# %%
gaps = {}
for size in (1, 4, 16, 64, 256):
    prompts = pool(size).sample(PROMPTS, seed=0)
    references = icl.reference_predictors(pool(size))
    ridge, dmmse = (
        float((references.answer(name, prompts) - prompts.ys).square().mean()) for name in ("ridge", "dMMSE")
    )
    gaps[size] = ridge - dmmse
    print(f"in distribution, M = {size}: ridge {ridge:.3f}, dMMSE {dmmse:.3f}, gap {gaps[size]:.3f}")

# %% [markdown]
# ## Complexity of trained networks
#
# One network learns a pool of 4 tasks. Another learns fresh tasks, which makes it answer like ridge. Chains of Langevin
# dynamics around each network show how fast its loss rises nearby. The chains are short, and with few training steps
# the networks are unfinished. The flags say what makes an estimate doubtful.

# %%
MODEL = icl.ModelConfig(
    n_dims=4, n_points=8, n_layers=2, n_heads=4, d_model=32, d_mlp=32, tokens="separate", act_fn="relu"
)
FEW = icl.DevelopmentSettings(n_prompts=PROMPTS, n_pca_prompts=8, n_probe_prompts=8, n_controls=0)
CHAINS = min(100, STEPS)
SAMPLER = icl.LlcSettings(1, lr=5e-4, localization=66.7, num_draws=2 * CHAINS, num_burnin_steps=CHAINS)

ends = {}
with tempfile.TemporaryDirectory() as folder:
    for name, task in {"M = 4": pool(4), "fresh tasks": FRESH}.items():
        config = icl.TrainConfig(
            model=MODEL, task=task, steps=STEPS, batch_size=64, lr=3e-3, warmup=STEPS // 10, eval_every=None
        )
        icl.train(config, out=Path(folder) / name)
        found = icl.development(Path(folder) / name, settings=FEW, llc=SAMPLER, stages=False)
        ends[name] = found.runs[0].llc[-1]
        print(f"{name}: {ends[name]}")

# %% [markdown]
# ## Which one is preferred?
#
# If dMMSE has a lower loss and a lower coefficient, it is preferred from the start; the paper says so for few tasks. If
# its coefficient were higher, ridge would be preferred first. The smaller the gap, the longer that would last. n counts
# samples and is only an analogue of training time.

# %%
difference = (ends["M = 4"].estimate or 0.0) - (ends["fresh tasks"].estimate or 0.0)
print(f"M = 4, measured coefficients, {difference:+.1f}: {free_energy_crossover(gaps[4], difference)}")
for size in (16, 64, 256):
    print(f"M = {size}, if dMMSE's coefficient were higher by 20: {free_energy_crossover(gaps[size], 20.0)}")
