"""Bootstrap means: the fast matrix product against resampling in a loop, and pairing of equal seeds."""

import numpy as np
import pytest
import torch

from icl_interp.measure.controls import _N_RESAMPLES, estimate_mean, mean_band, resampled_means
from probes.bootstrap import bootstrap_counts


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 3), (1,), (1, 2)], ids=str)
@pytest.mark.parametrize("seed", [0, 3])
def test_resampled_means_agree_with_a_loop_over_resamples(shape, seed):
    values = noise(*shape)
    counts = bootstrap_counts(len(values), seed=seed, n_bootstrap=_N_RESAMPLES)
    slow = torch.stack([values.double().repeat_interleave(row, dim=0).mean(0) for row in counts])
    # float64 sums of a handful of numbers in another order
    torch.testing.assert_close(resampled_means(values, seed=seed), slow, rtol=1e-12, atol=1e-14)


def test_the_default_seed_is_zero():
    torch.testing.assert_close(resampled_means(noise(5)), resampled_means(noise(5), seed=0), rtol=0, atol=0)


def test_equal_seeds_pair_up_so_that_differences_commute_with_resampling():
    a, b = noise(9, seed=1).double(), noise(9, seed=2).double()
    paired = resampled_means(a, seed=4) - resampled_means(b, seed=4)
    # linear in the values, so only float64 rounding is left
    torch.testing.assert_close(paired, resampled_means(a - b, seed=4), rtol=1e-12, atol=1e-14)


def test_other_seeds_resample_otherwise():
    assert not torch.equal(resampled_means(noise(9), seed=0), resampled_means(noise(9), seed=1))


def test_estimate_mean_is_the_mean_inside_numpy_s_percentiles():
    values = noise(40)
    estimate = estimate_mean(values, seed=2)
    # float64 sums in another order
    np.testing.assert_allclose(estimate.value, values.double().numpy().mean(), rtol=1e-12)
    expected = np.percentile(resampled_means(values, seed=2).numpy(), [2.5, 97.5])
    np.testing.assert_allclose([estimate.low, estimate.high], expected, rtol=1e-12)  # the same quantiles
    assert estimate.low < estimate.value < estimate.high


def test_a_wider_spread_gives_a_wider_interval():
    narrow, wide = estimate_mean(noise(40)), estimate_mean(10 * noise(40))
    # scales with the values; float32 inputs are multiplied before they become float64
    np.testing.assert_allclose(wide.high - wide.low, 10 * (narrow.high - narrow.low), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 6])
def test_equal_values_leave_no_doubt(n):
    estimate = estimate_mean(torch.full((n,), 0.25))
    # a binary fraction, so that sums and quotients are exact up to the division by n
    np.testing.assert_allclose([estimate.low, estimate.value, estimate.high], 0.25, rtol=1e-15)


def test_mean_band_holds_the_mean_at_each_point():
    values = noise(30, 5) * torch.arange(1.0, 6.0)
    mean, low, high = mean_band(values)
    torch.testing.assert_close(mean, values.double().mean(0), rtol=0, atol=0)
    assert (low < mean).all()
    assert (mean < high).all()
    for point in range(5):
        estimate = estimate_mean(values[:, point])
        # torch's and numpy's quantiles interpolate alike up to rounding
        np.testing.assert_allclose([low[point], high[point]], [estimate.low, estimate.high], rtol=1e-9)
