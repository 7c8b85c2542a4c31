# %% [markdown]
# # A probe target of your own
#
# Is the distance of the query from the inputs before it decodable from the residual stream? A function of prompts gives
# the target at every point; the first point is not probed.

# %%
import os

import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))


def distance_to_nearest(prompts):
    """Entry k is the distance from x_k to the nearest input before it; 0 at the first point, which has none."""
    apart = torch.cdist(prompts.xs, prompts.xs)
    later = torch.ones(apart.shape[1:], dtype=torch.bool).triu()
    return apart.masked_fill(later, torch.inf).amin(2).nan_to_num(posinf=0.0)


# %%
checkpoint = icl.load_checkpoint(icl.demo_path())
report = icl.linear_probes(checkpoint, targets={"novelty": distance_to_nearest}, n_prompts=N_PROMPTS, n_controls=2)
print(f"held-out R² on prompts in distribution ({len(report.targets)} targets)")
for site, r2, untrained in zip(
    report.probes, report.r2("novelty"), report.untrained_r2("novelty").mean(0), strict=True
):
    print(f"{site:12} novelty {r2:.3f}, untrained {untrained:.3f}")

# %% [markdown]
# `icl.register_target(distance_to_nearest)` adds it to every study that follows.
