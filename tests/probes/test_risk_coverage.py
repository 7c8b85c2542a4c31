"""Risk against coverage: a slow loop, ties, the oracle, controls, edges."""

import itertools
import math

import numpy as np
import pytest
import torch

from probes.bootstrap import bootstrap_counts
from probes.risk_coverage import risk_coverage


def slow_aurc(score: np.ndarray, error: np.ndarray) -> float:
    ordered = error[np.argsort(score, kind="stable")]
    return float(np.mean([ordered[: j + 1].mean() for j in range(len(ordered))]))


def test_formula_without_ties() -> None:
    score, error = torch.rand(2, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = risk_coverage(score, error)
    np.testing.assert_allclose(found.aurc.value, slow_aurc(score.numpy(), error.numpy()))
    np.testing.assert_allclose(found.oracle, slow_aurc(error.numpy(), error.numpy()))
    np.testing.assert_allclose(found.random, error.mean())
    expected = (found.random - found.aurc.value) / (found.random - found.oracle)
    np.testing.assert_allclose(found.gain.value, expected)


def test_ties_count_as_the_mean_over_their_orders() -> None:
    error = np.array([1.0, 5.0, 2.0, 8.0])
    # Samples 0, 1, 2 share a score: six orders.
    orders = [slow_aurc(np.array([*order, 9.0]), error) for order in itertools.permutations([0.0, 1.0, 2.0])]
    found = risk_coverage(torch.tensor([0.0, 0.0, 0.0, 9.0]), torch.from_numpy(error).float())
    np.testing.assert_allclose(found.aurc.value, np.mean(orders), rtol=1e-6)
    np.testing.assert_allclose(found.risk[-1], error.mean(), rtol=1e-6)


def test_replicates_equal_a_slow_loop() -> None:
    score, error = torch.rand(2, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = risk_coverage(score, error, seed=2, n_bootstrap=15, confidence=0.8)
    slow = [
        slow_aurc(np.repeat(score.numpy(), c), np.repeat(error.numpy(), c))
        for c in bootstrap_counts(9, seed=2, n_bootstrap=15).numpy()
    ]
    np.testing.assert_allclose([found.aurc.low, found.aurc.high], np.quantile(slow, [0.1, 0.9]))


def test_controls() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(300, generator=generator)
    informed = risk_coverage(error + 0.1 * torch.rand(300, generator=generator), error)
    assert informed.gain.low > 0.9
    blind = risk_coverage(torch.rand(300, generator=generator), error)
    assert blind.gain.low < 0 < blind.gain.high
    assert risk_coverage(-error, error).gain.high < -0.5
    np.testing.assert_allclose(risk_coverage(torch.ones(300), error).gain.value, 0.0, atol=1e-6)


def test_equal_errors_have_no_gain() -> None:
    found = risk_coverage(torch.arange(3.0), torch.ones(3))
    assert math.isnan(found.gain.value)
    assert found.gain.reason == "all errors are equal"
    np.testing.assert_allclose([found.aurc.value, found.oracle, found.random], 1.0)
    assert risk_coverage(torch.ones(1), torch.ones(1)).aurc.value == 1.0


def test_repr_is_short() -> None:
    assert repr(risk_coverage(torch.arange(2.0), torch.arange(2.0))).startswith("RiskCoverage(aurc=Estimate(0.250")


ONE = torch.ones(3)
ERRORS = {
    "NaN": (lambda: risk_coverage(ONE * torch.nan, ONE), "finite score"),
    "NaN error": (lambda: risk_coverage(ONE, ONE * torch.nan), "finite error"),
    "n_bootstrap": (lambda: risk_coverage(ONE, ONE, n_bootstrap=0), "n_bootstrap of at least 1"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
