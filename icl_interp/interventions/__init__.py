"""Change a model's activations while it reads a prompt, and measure what it then predicts."""

from icl_interp.interventions.ablation import ablate_heads, ablate_mlps, mean_activations
from icl_interp.interventions.patching import PatchResult, patch
from icl_interp.interventions.record import Intervention, answered_points, predict_under
from icl_interp.interventions.subspace import erase, exchange_for_random, project_out, steer, swap

__all__ = [
    "Intervention", "PatchResult", "ablate_heads", "ablate_mlps", "answered_points", "erase",
    "exchange_for_random", "mean_activations", "patch", "predict_under", "project_out", "steer", "swap",
]  # fmt: skip
