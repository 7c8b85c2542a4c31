# %% [markdown]
# # A first look at a regression transformer
#
# We load a checkpoint, measure what it computes, and ask whether its spectral signature recognises familiar prompts.
# The embedded demo is a 4-layer decoder; the weights of its training tasks lay in three of six dimensions. Set
# ICL_EXAMPLE_PROMPTS to a small number for a quick pass.

# %%
import os

from icl_interp import error_curves, linear_probes, load_checkpoint, ood_report, spectral_signature
from icl_interp.data import demo_path

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))

checkpoint = load_checkpoint(demo_path())
print(checkpoint)
print(checkpoint.task.describe())

# %% [markdown]
# ## What does it compute?
#
# Models and reference predictors are called in the same way: f(xs, ys) predicts each label from its x and the examples
# before it.

# %%
errors = error_curves(checkpoint.model, checkpoint.task, shifts=["w_rotation", "x_scale=3"], n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    late = family.curves["model"].late
    print(f"{label:16} error {late.value:.3f} [{late.low:.3f}, {late.high:.3f}], closest to {family.closest()}")
errors.plot()

# %% [markdown]
# When the weights are turned out of the training subspace, the model fails and least squares does not. The Bayes
# predictor for the training distribution fails too, so an ideal learner of this distribution would fail as well.
#
# ## At which sites is the answer decodable?

# %%
probes = linear_probes(checkpoint.model, checkpoint.task, n_prompts=N_PROMPTS, n_controls=2)
print(probes.to_frame().pivot(index="site", columns="target", values="r2").round(2))
probes.plot("Bayes")

# %% [markdown]
# ## Is there a spectral signature, and does it detect unfamiliar prompts?
#
# Untrained networks are the control: what they show too is no sign of learning.

# %%
signature = spectral_signature(checkpoint.model, checkpoint.task.sample(2 * N_PROMPTS, seed=0))
print(signature.excess.verdict, signature)
signature.plot()

# %%
ood = ood_report(checkpoint.model, checkpoint.task, shifts=["w_rotation"], n_prompts=N_PROMPTS, n_controls=2)
print(ood.to_frame()[["auroc", "auroc_norms", "auroc_untrained"]].round(2))

# %% [markdown]
# ## Look inside
#
# The model is a HookedRootModule with HookedTransformer's hook names; its cache is an ActivationCache.

# %%
prompts = checkpoint.task.sample(4, seed=1)
predictions, cache = checkpoint.model.run_with_cache(prompts.xs, prompts.ys)
print(cache["resid_post", -1].shape, cache["pattern", 0].shape)
