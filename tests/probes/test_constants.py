"""What is constant or tied but for rounding counts as such: a right value or a refusal, no rounding over rounding."""

import math

import pytest
import torch
from torch import Tensor

from probes.correlation import score_error_correlation
from probes.learning_coefficient.health import LlcEvidence, health_flags
from probes.permutation import permutation_test_correlation
from probes.risk_coverage import risk_coverage
from probes.trajectory.random_walk import WalkMoments, random_walk_null
from probes.trajectory.stages import find_stages


def jitter(n: int, dtype: torch.dtype) -> Tensor:
    # A tenth, off by up to two units in the last place.
    steps = torch.arange(n) % 5 - 2
    return torch.full((n,), 0.1, dtype=dtype) * (1 + steps * torch.finfo(dtype).eps).to(dtype)


each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@each_dtype
def test_correlation_with_a_constant(dtype: torch.dtype) -> None:
    ramp = torch.arange(12).to(dtype)
    report = score_error_correlation(jitter(12, dtype), ramp, groups=[0] * 6 + [1] * 6, n_bootstrap=5)
    for estimate in (report.within[0], report.pooled, report.pooled_pearson, report.within_mean):
        assert math.isnan(estimate.value)
    assert report.pooled.reason == "constant score"
    for kind in ("pearson", "spearman"):
        with pytest.raises(ValueError, match="a constant one"):
            permutation_test_correlation(jitter(12, dtype), ramp, kind=kind)


@each_dtype
def test_risk_coverage_of_equal_errors(dtype: torch.dtype) -> None:
    assert math.isnan(risk_coverage(torch.arange(12).to(dtype), jitter(12, dtype), n_bootstrap=5).gain.value)


def test_group_means_that_differ_in_the_order_of_summation_tie() -> None:
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in float64; their groups share a rank.
    values = torch.tensor([0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=torch.float64)
    places = torch.tensor([1.0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], dtype=torch.float64)
    report = score_error_correlation(values, places, groups=[i // 3 for i in range(12)], n_bootstrap=5)
    tied = torch.corrcoef(torch.tensor([[1.5, 1.5, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64))[0, 1]
    torch.testing.assert_close(report.between.value, float(tied))


@each_dtype
def test_a_curve_that_stands_still_is_one_stage(dtype: torch.dtype) -> None:
    found = find_stages(torch.arange(41).to(dtype), jitter(41, dtype), n_restarts=0)
    assert len(found.stages) == 1
    assert float(found.slope.abs().max()) == 0.0


def test_chains_that_stand_still_raise_no_drift() -> None:
    losses = jitter(200, torch.float64).reshape(4, 50)
    flags = {flag.name: flag for flag in health_flags(LlcEvidence(0.0, 10.0, losses, losses, 0.9, 0.2, 0.0, 0, 4))}
    for name in ("not_plateaued", "wandering", "rhat", "noisy_init_loss"):
        assert not flags[name].raised, flags[name]


def test_directions_that_no_walk_uses_have_scores_of_zero() -> None:
    # One step only: all variance lies along one direction.
    moments = WalkMoments(
        ["walk"],
        {"walk": 3},
        {"walk": torch.tensor([1.0, 0.0], dtype=torch.float64)},
        torch.zeros(1, 5, dtype=torch.float64),
        {"walk": torch.full((3,), 1 / 3, dtype=torch.float64)},
    )
    null = random_walk_null(moments, 3)
    assert float(null.scores["walk"][:, 1:].abs().max()) <= 1e-7
    assert float(null.scores["walk"].abs().max()) < 1.0
