# %% [markdown]
# # Detectors of your own
#
# The first detector, from scikit-learn, takes one vector per prompt. The second takes whole matrices; its score is how
# far their norm is from the usual one. Both are fitted to the model and to untrained networks, as the built-in
# detectors are.

# %%
import os

from sklearn.svm import OneClassSVM

import icl_interp as icl
from probes.ood import fit_estimator

N_PROMPTS = int(os.environ.get("ICL_EXAMPLE_PROMPTS", "256"))


def one_class_svm(features):
    return fit_estimator(features, OneClassSVM())


class NormRange:
    def __init__(self, activations):
        norms = activations.flatten(1).norm(dim=1)
        self.mean, self.std = norms.mean(), norms.std()

    def score(self, activations):
        return (activations.flatten(1).norm(dim=1) - self.mean).abs() / self.std


# %%
checkpoint = icl.load_checkpoint(icl.demo_path())
own = {"one-class SVM": one_class_svm, "norm range": icl.Detector(NormRange, takes="activations")}
report = icl.detector_report(checkpoint, shifts=["x_scale=3"], detectors=own, n_prompts=N_PROMPTS, n_controls=2)
print("AUROC of x_scale=3 against prompts in distribution")
for name in (*own, "Mahalanobis", "‖X‖"):
    found = report.detectors[name]
    untrained = found.untrained.get("x_scale=3", float("nan"))
    print(f"{name:14} {found.shifts['x_scale=3'].auroc:.3f}, untrained {untrained:.3f}")

# %% [markdown]
# `icl.register_detector(one_class_svm)` adds it to every study that follows.
