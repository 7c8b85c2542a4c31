# %% [markdown]
# # A language model
#
# The measures of activations take language models too: a Hugging Face decoder, a TransformerLens bridge, or a
# HookedTransformer of TransformerLens 3.9. Families are token prompts. The network below has random weights, so nothing
# is downloaded, and it should not differ from other random networks. Put your own model and prompts in its place. Set
# ICL_EXAMPLE_PROMPTS to a small number for a quick pass.

# %%
import os

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "128"))
torch.manual_seed(0)
config = GPT2Config(n_layer=3, n_head=2, n_embd=32, vocab_size=100, n_positions=32, bos_token_id=0, eos_token_id=0)
network = GPT2LMHeadModel(config)

# %% [markdown]
# `reads="tokens"` says that the module takes token numbers [batch pos]. `wrap` finds its blocks, and the class knows
# how to make an untrained network.

# %%
model = icl.wrap(network, reads="tokens")
halves = torch.randint(100, (N_PROMPTS, 12))
families = {
    "in distribution": torch.cat([halves, halves], 1),  # every sequence repeats itself
    "shuffled": torch.cat([halves, halves[:, torch.randperm(12)]], 1),
    "other words": torch.randint(100, (N_PROMPTS, 24)),
}
print(icl.sites(network, families["shuffled"][:2]).chosen)

# %%
signature = icl.spectral_signature(model, families["in distribution"], n_controls=4)
print(signature)
print(signature.excess)

# %% [markdown]
# The study compares families at the last block and says for each measure whether untrained networks show the same.

# %%
found = icl.activation_study(families, model=model, n_controls=4)
for label, family in found.survey.families.items():
    print(f"{label:16} overlap with the signature {float(family.sites['block 2'].scores.overlap.mean()):.2f}")
for label, shift in found.ood.shifts.items():
    print(f"{label:12} AUROC {shift.signature.auroc:.2f}, norms alone {shift.norms.auroc:.2f}")
for claim, verdict in found.verdicts.items():
    print(f"{claim:20} {verdict}")
