# %% [markdown]
# # A checkpoint format of your own
#
# A lab keeps one layer of linear attention in JSON: a key-query matrix and a value matrix, which multiply tokens [x; y]
# from the left. With these twenty lines `load_checkpoint` and `icl-probe` can open it. Set ICL_EXAMPLE_PROMPTS to a
# small number for a quick pass.

# %%
import json
import os
import tempfile
from pathlib import Path
from typing import ClassVar

import torch

import icl_interp as icl

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))


@icl.register_reader
class LabJson(icl.Reader):
    name = "JSON files of our lab"
    options: ClassVar = {"sign": "1 or -1, what the prediction is multiplied by"}

    def open(self, path, head):  # only for files that neither torch, safetensors nor numpy has written
        return json.loads(path.read_text()) if head.startswith(b'{"lab"') else None

    def recognises(self, contents):
        return isinstance(contents, dict) and "key_query" in contents

    def read(self, file, *, n_heads, layout):  # noqa: ARG002  # one head
        key_query, value = (torch.tensor(file.contents[name]) for name in ("key_query", "value"))
        n_dims = len(value) - 1
        config = icl.ModelConfig(
            family="lsa", n_dims=n_dims, n_points=2 * n_dims + 1, output_sign=int(layout.get("sign", 1))
        )
        parts = {"Q": key_query.T, "K": torch.eye(n_dims + 1), "V": value.T, "O": torch.eye(n_dims + 1)}
        return icl.Reading(
            config=config,
            weights={f"blocks.0.attn.W_{letter}": weight[None] for letter, weight in parts.items()},
            task=icl.LinearRegression(n_dims),
            n_points_trained=config.n_points,
            origin="JSON of our lab",
            notes=("The file does not say what the model was trained on; our lab trains on Gaussian prompts.",),
        )


# %% [markdown]
# The file below does one step of gradient descent.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "layer.json")
    descent = {
        "key_query": torch.diag(torch.tensor([1.0, 1, 1, 0])),
        "value": torch.diag(torch.tensor([0.0, 0, 0, 0.5])),
    }
    path.write_text(json.dumps({"lab": "ours", **{name: matrix.tolist() for name, matrix in descent.items()}}))
    checkpoint = icl.load_checkpoint(path)

print(checkpoint)
errors = icl.error_curves(checkpoint.model, checkpoint.task, shifts=["x_scale=3"], n_prompts=N_PROMPTS)
for label, family in errors.families.items():
    print(f"{label:16} late error {family.curves['model'].late.value:.3f}, closest to {family.closest()}")
