# %% [markdown]
# # Own parts at the command line
#
# A file registers a shift and a reference predictor; `icl-probe --import` runs it first. Set ICL_EXAMPLE_PROMPTS to a
# small number for a quick pass.

# %%
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "64"))

PARTS = """
import icl_interp as icl

icl.register_shift(icl.Shift("noisy", (), "labels", "label noise of standard deviation 2",
                             lambda task, _: task.model_copy(update={"noise_std": 2.0})))


@icl.register_reference
def half_of_ridge(xs, ys, points=None):
    return 0.5 * icl.predictors.ridge(1.0)(xs, ys, points=points)
"""

# %%
with tempfile.TemporaryDirectory() as folder:
    parts, found = Path(folder, "my_parts.py"), Path(folder, "found.json")
    parts.write_text(PARTS)
    options = f"--import {parts} --shifts noisy --json {found} --out {folder}/report.html --no-controls --quiet"
    probe = [sys.executable, "-c", "from icl_interp.cli.probe import main; main()"]
    subprocess.run([*probe, *options.split(), "--prompts", str(N_PROMPTS)], check=True)
    families = json.loads(found.read_text())["study"]["errors"]["families"]

for label, family in sorted(families.items()):
    print(f"{label:16} distance from half of ridge {family['distances']['half_of_ridge']['value']:.3f}")
