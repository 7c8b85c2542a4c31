"""Means over prompts: a slow loop as the reference, undefined entries, intervals, edges."""

import math

import numpy as np
import pytest
import torch

from probes.bootstrap import bootstrap_counts
from probes.curves import curve_over_prompts, estimate_mean

NAN = math.nan


def test_values_and_replicates_equal_a_slow_loop() -> None:
    values = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = curve_over_prompts(values, seed=3, n_bootstrap=20, confidence=0.9)
    rows = [
        np.repeat(values.numpy(), counts, axis=0) for counts in bootstrap_counts(12, seed=3, n_bootstrap=20).numpy()
    ]
    means = np.stack([row.mean(axis=0) for row in rows])
    np.testing.assert_allclose(curve.values, values.mean(dim=0))
    np.testing.assert_allclose(curve.mean_replicates, means.mean(axis=1))
    np.testing.assert_allclose(curve.low, np.quantile(means, 0.05, axis=0), rtol=1e-6)
    np.testing.assert_allclose(curve.high, np.quantile(means, 0.95, axis=0), rtol=1e-6)


def test_undefined_entries_are_left_out() -> None:
    curve = curve_over_prompts(torch.tensor([[1.0, NAN, NAN], [3.0, 4.0, NAN]]))
    torch.testing.assert_close(curve.values, torch.tensor([2.0, 4.0, NAN]), equal_nan=True)
    np.testing.assert_allclose(curve.mean.value, 3.0)
    empty = estimate_mean(torch.tensor([NAN, NAN]))
    assert math.isnan(empty.value)
    assert empty.reason == "it is undefined in every prompt"


def test_one_prompt_has_no_width() -> None:
    curve = curve_over_prompts(torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(curve.low, curve.high)


def test_interval_covers_and_options() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(1))
    wide, narrow = (estimate_mean(values, confidence=c, n_bootstrap=300) for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    # The textbook width of a 99 % interval of a mean; the bootstrap knows it to about a fifth.
    np.testing.assert_allclose(wide.high - wide.low, 2 * 2.576 * float(values.std()) / 200**0.5, rtol=0.2)
    assert estimate_mean(values, seed=1).low != estimate_mean(values).low


def test_repr_is_short() -> None:
    assert repr(curve_over_prompts(torch.ones(2, 3))) == (
        "Curve(mean=Estimate(1.000, [1.000, 1.000]), n_points=3, n_prompts=2)"
    )


ERRORS = {
    "empty": (lambda: curve_over_prompts(torch.ones(0, 2)), "at least one entry along batch of values"),
    "seed": (lambda: estimate_mean(torch.ones(2), seed=-1), "seed of at least 0, got -1"),
    "n_bootstrap": (lambda: estimate_mean(torch.ones(2), n_bootstrap=0), "n_bootstrap of at least 1, got 0"),
    "confidence": (lambda: estimate_mean(torch.ones(2), confidence=1.0), "0 < confidence < 1, got 1.0"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
