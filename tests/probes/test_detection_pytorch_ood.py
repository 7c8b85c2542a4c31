"""Detection metrics against pytorch-ood, where the two define the same quantity (extra `test-oracles`).

Its AUPR integrates by trapezoids and ours is the average precision, so those two are compared with scikit-learn alone.
"""

import numpy as np
import pytest
import torch

from probes.detection import detection_report

metrics = pytest.importorskip("pytorch_ood.metrics", reason="pytorch-ood comes with the extra test-oracles")


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n_in", "n_out", "shift"), [(60, 40, 1.0), (30, 20, 50.0), (41, 59, -0.5), (3, 2, 0.5)])
def test_agrees_with_pytorch_ood(n_in: int, n_out: int, shift: float, ties: bool) -> None:
    scores = torch.randn(n_in + n_out, generator=torch.Generator().manual_seed(0))
    scores = scores.mul(2).round() if ties else scores
    scores[n_in:] += shift
    labels = torch.ones(n_in + n_out, dtype=torch.int64)
    labels[n_in:] = -1  # negative labels are OOD there
    theirs = metrics.OODMetrics().update(scores, labels).compute()
    ours = detection_report(scores[:n_in], scores[n_in:], n_bootstrap=1)
    # They compute in float32.
    np.testing.assert_allclose(ours.auroc, float(theirs["AUROC"]), atol=1e-6)
    np.testing.assert_allclose(ours.fpr95_ood_positive, float(theirs["FPR95TPR"]), atol=1e-6)
