"""Linear probes at any penalty against exact rational arithmetic."""

from fractions import Fraction

import pytest
import torch

from probes.linear import fit_linear_probe
from probes.streamed_probe import fit_streamed_probe

PENALTIES = [1e-300, 1e-100, 1e-30, 1e-20, 1e-14, 1e-8, 1e-3, 1.0, 1e8, 1e20, 1e300]
RANDOM = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
FEATURES = {
    "n > d": RANDOM,
    "n < d": torch.randn(8, 11, generator=torch.Generator().manual_seed(2), dtype=torch.float64),
    "two samples four times": RANDOM[[0, 1, 0, 1, 0, 1, 0, 1]],
    "a feature twice": RANDOM[:, [0, 0, 1]],
    "a multiple and a constant": torch.stack([RANDOM[:, 0], 4 * RANDOM[:, 0], torch.full((8,), 0.1)], dim=1),
    "in float32": RANDOM[:, [0, 0, 1]].float(),
    "far from 0": RANDOM[:, [0, 0, 1]] + 100,
}


def exact_fit(features, targets, penalty):
    # Fitted values of ridge regression with a free intercept: y_mean + K (K + penalty)^-1 (y - y_mean).
    rows = [[Fraction(value) for value in row] for row in features.tolist()]
    n = len(rows)
    middle = [sum(column) / n for column in zip(*rows, strict=True)]
    rows = [[value - mean for value, mean in zip(row, middle, strict=True)] for row in rows]
    labels = [Fraction(value) for value in targets.tolist()]
    level = sum(labels) / n
    kernel = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    table = [
        [kernel[i][j] + (Fraction(penalty) if i == j else 0) for j in range(n)] + [labels[i] - level] for i in range(n)
    ]
    for i in range(n):
        for k in range(n):
            if k != i:
                factor = table[k][i] / table[i][i]
                table[k] = [a - factor * b for a, b in zip(table[k], table[i], strict=True)]
    weights = [table[i][n] / table[i][i] for i in range(n)]
    fitted = [level + sum(k * w for k, w in zip(row, weights, strict=True)) for row in kernel]
    return torch.tensor([float(value) for value in fitted], dtype=torch.float64)


@pytest.mark.parametrize("kind", FEATURES)
def test_probes_are_exact_at_any_penalty(kind):
    features = FEATURES[kind]
    targets = Y.to(features.dtype)
    limit = 1e-5 if features.dtype == torch.float32 else 1e-8
    for penalty in PENALTIES:
        wanted = exact_fit(features, targets, penalty)
        probe = fit_linear_probe(features, targets, penalties=[penalty], n_folds=2, n_bootstrap=1)
        fitted = (features @ probe.weight + probe.bias)[:, 0].double()
        torch.testing.assert_close(fitted, wanted, rtol=limit, atol=limit)
        assert bool(torch.isfinite(probe.r2).all())
        batches = [(features, targets[:, None], torch.arange(8))]
        streamed = fit_streamed_probe(batches, penalties=[penalty], n_folds=2)
        fitted = (features @ streamed.weight + streamed.bias)[:, 0].double()
        torch.testing.assert_close(fitted, wanted, rtol=limit, atol=limit)
