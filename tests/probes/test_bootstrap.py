"""Resampling: what it depends on, its coverage, paired differences."""

import math

import numpy as np
import pytest
import torch

from probes._core import ranks
from probes.bootstrap import Estimate, bootstrap_counts, estimate_difference, percentile_interval


def test_counts_depend_on_n_seed_and_stream_alone() -> None:
    counts = bootstrap_counts(50)
    assert counts.shape == (2000, 50)
    torch.testing.assert_close(bootstrap_counts(50, seed=0, stream=0), counts)
    torch.testing.assert_close(bootstrap_counts(50, n_bootstrap=7), counts[:7])
    for other in (bootstrap_counts(50, seed=1), bootstrap_counts(50, stream=1)):
        assert (other != counts).any()


def test_chunks_do_not_change_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = bootstrap_counts(30, seed=3)
    monkeypatch.setattr(ranks, "_CHUNK_ENTRIES", 100)
    torch.testing.assert_close(bootstrap_counts(30, seed=3), at_once)


def test_counts_are_multinomial() -> None:
    counts = bootstrap_counts(10, n_bootstrap=20_000).double()
    torch.testing.assert_close(counts.sum(dim=1), torch.full((20_000,), 10.0).double())
    # Mean 1, variance 1 - 1/n; standard errors below 0.01 for 20,000 draws, five of them.
    torch.testing.assert_close(counts.mean(dim=0), torch.ones(10).double(), rtol=0, atol=0.05)
    torch.testing.assert_close(counts.var(dim=0), torch.full((10,), 0.9).double(), rtol=0, atol=0.06)


def test_one_sample_is_always_drawn() -> None:
    torch.testing.assert_close(bootstrap_counts(1, n_bootstrap=4), torch.ones(4, 1, dtype=torch.int64))


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_interval_agrees_with_numpy(confidence: float) -> None:
    replicates = torch.randn(300, generator=torch.Generator().manual_seed(0))
    tail = (1 - confidence) / 2
    expected = np.quantile(replicates.double().numpy(), [tail, 1 - tail])
    np.testing.assert_allclose(percentile_interval(replicates, confidence), expected)


def test_undefined_replicates_are_left_out() -> None:
    replicates = torch.tensor([torch.nan, 1.0, 1.0])
    np.testing.assert_allclose(percentile_interval(replicates), (1.0, 1.0))
    assert all(math.isnan(end) for end in percentile_interval(replicates[:1]))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    counts = bootstrap_counts(40, n_bootstrap=400).double()
    covered = 0
    for sample in torch.randn(400, 40, generator=generator, dtype=torch.float64):
        low, high = percentile_interval(counts @ sample / 40, 0.9)
        covered += low <= 0 <= high
    # Expected a little below 0.9 for 40 samples; binomial standard error 0.015, three of them and the bias.
    np.testing.assert_allclose(covered / 400, 0.89, atol=0.05)


def test_paired_differences_are_sharper_than_unpaired_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(100, generator=generator, dtype=torch.float64)
    model, control = shared + 0.5, shared + 0.1 * torch.randn(100, generator=generator).double()
    same, other = (bootstrap_counts(100, seed=s).double() / 100 for s in (0, 1))
    values = float(model.mean()), float(control.mean())
    paired = estimate_difference(*values, same @ model, same @ control)
    unpaired = estimate_difference(*values, same @ model, other @ control)
    assert paired.low < values[0] - values[1] < paired.high
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


def test_difference_from_an_undefined_control_says_so() -> None:
    estimate = estimate_difference(0.5, math.nan, torch.ones(3), torch.full((3,), torch.nan))
    assert math.isnan(estimate.value)
    assert "undefined" in repr(estimate)


def test_reprs_are_short() -> None:
    assert repr(Estimate(0.5, 0.25, 0.75)) == "Estimate(0.500, [0.250, 0.750])"


ERRORS = {
    "n": (lambda: bootstrap_counts(0), "number of samples n of at least 1, got 0"),
    "n_bootstrap": (lambda: bootstrap_counts(3, n_bootstrap=0), "n_bootstrap of at least 1, got 0"),
    "seed": (lambda: bootstrap_counts(3, seed=-1), "seed of at least 0, got -1"),
    "stream": (lambda: bootstrap_counts(3, stream=-1), "stream of at least 0, got -1"),
    "confidence": (lambda: percentile_interval(torch.ones(3), 1.0), "0 < confidence < 1, got 1.0"),
    "no replicates": (lambda: percentile_interval(torch.ones(0)), "at least one entry along bootstrap"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
