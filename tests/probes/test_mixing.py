"""R-hat and effective sample size: known autoregressions, controls, edges."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.learning_coefficient.health import effective_sample_size, split_rhat


def autoregression(phi: float, n_chains: int = 8, n: int = 4000) -> Tensor:
    noise = torch.randn(n_chains, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    chains = torch.empty_like(noise)
    chains[:, 0] = noise[:, 0] / math.sqrt(1 - phi**2)
    for t in range(1, n):
        chains[:, t] = phi * chains[:, t - 1] + noise[:, t]
    return chains


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_ess_of_an_autoregression(phi: float) -> None:
    expected = 8 * 4000 * (1 - phi) / (1 + phi)
    # Sums of estimated autocorrelations scatter by about a tenth here.
    np.testing.assert_allclose(effective_sample_size(autoregression(phi)), expected, rtol=0.2)


def test_rhat_by_its_formula() -> None:
    traces = torch.tensor([[1.0, 2.0, 4.0, 3.0], [2.0, 2.5, 1.0, 0.0]], dtype=torch.float64)
    halves = np.array([[1.0, 2.0], [2.0, 2.5], [4.0, 3.0], [1.0, 0.0]])
    within, between = halves.var(axis=1, ddof=1).mean(), halves.mean(axis=1).var(ddof=1)
    np.testing.assert_allclose(split_rhat(traces), math.sqrt((within / 2 + between) / within))


def test_one_drifting_chain_is_seen_and_a_stationary_one_is_not() -> None:
    still = autoregression(0.3, n_chains=1, n=1000)
    drifting = still + torch.linspace(0, 6, 1000)
    assert split_rhat(still) < 1.01 < 1.5 < split_rhat(drifting)


def test_constant_traces() -> None:
    assert split_rhat(torch.ones(3, 8)) == 1.0
    assert effective_sample_size(torch.ones(3, 8)) == 24.0
    assert split_rhat(torch.tensor([[0.0] * 4, [1.0] * 4])) == math.inf


@pytest.mark.parametrize("measure", [split_rhat, effective_sample_size])
def test_too_few_draws_and_nan_are_refused(measure: object) -> None:
    with pytest.raises(ValueError, match="number of draws of at least 4, got 3"):
        measure(torch.zeros(2, 3))  # type: ignore[operator]
    with pytest.raises(ValueError, match="needs finite traces"):
        measure(torch.full((2, 8), math.nan))  # type: ignore[operator]


@pytest.mark.parametrize("value", [0.1, 1e-13 / 3, 1e13 / 3])
@pytest.mark.parametrize("n", [10, 41, 1000])
def test_constants_that_no_binary_fraction_holds(value: float, n: int) -> None:
    still = torch.full((3, n), value, dtype=torch.float64)
    assert split_rhat(still) == 1.0
    assert effective_sample_size(still) == float(6 * (n // 2))
    computed = still * torch.tensor([[1.0], [1 + 2e-16], [1 - 2e-16]])  # equal but for the last digit
    assert split_rhat(computed) == 1.0
    assert split_rhat(still * torch.tensor([[1.0], [1.0], [1.1]])) == math.inf
