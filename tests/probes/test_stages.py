"""Stage boundaries where they were planted, at the right index, with noise, and none where there are none."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.trajectory.stages import _check_curve, _flat_minima, find_stages

U = torch.linspace(0, 12, 61, dtype=torch.float64)
STEPS = U.expm1()


def plateaus() -> Tensor:
    # Up by 20 around u = 2, up by 100 around u = 6, down by 30 around u = 10: flat near 4 and 8.
    rise = 20 * torch.sigmoid(4 * (U - 2)) + 100 * torch.sigmoid(4 * (U - 6))
    return rise - 30 * torch.sigmoid(4 * (U - 10))


def noise() -> Tensor:
    return torch.randn(61, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


VARIANTS: dict[str, tuple[Tensor, dict[str, Any]]] = {
    "exact": (plateaus(), {}),
    "noisy": (plateaus() + noise(), {}),
    "errors given": (plateaus() + noise(), {"errors": torch.ones(61)}),
    "limits given": (plateaus(), {"max_slope": 8.0, "min_change": 5.0}),
}


@pytest.mark.parametrize(("values", "options"), VARIANTS.values(), ids=VARIANTS)
def test_planted_boundaries_are_found(values: Tensor, options: dict[str, Any]) -> None:
    found = find_stages(STEPS, values, n_restarts=1, **options)
    # The plateaus are about two units of log step wide.
    np.testing.assert_allclose(found.boundaries.log1p(), [4, 8], atol=1.0)
    assert "".join(stage.kind for stage in found.stages) == "AAB"
    np.testing.assert_allclose([stage.change for stage in found.stages], [20, 100, -30], atol=4)
    assert found.stages[0].start == 0.0
    np.testing.assert_allclose(found.stages[-1].end, float(STEPS[-1]))
    assert "3 stages AAB" in repr(found)


def test_a_straight_line_has_one_stage() -> None:
    found = find_stages(STEPS, U, n_restarts=0)
    assert len(found.boundaries) == 0
    assert [stage.kind for stage in found.stages] == ["A"]


def test_a_constant_has_one_stage_without_change() -> None:
    found = find_stages(STEPS, torch.ones(61))
    assert len(found.stages) == 1
    assert found.stages[0].change == 0.0


def test_minima_are_read_at_their_own_index() -> None:
    # |slope| has its minima at 3 and at 7; only the first is flat, and an index off by one would read 4 or 2.
    slope = np.array([9, 8, 6, -1, 5, 9, 7, 4, 6, 9.0])
    assert _flat_minima(slope, 2.0) == [3]
    assert _flat_minima(slope, 5.0) == [3, 7]
    assert _flat_minima(slope, 0.5) == []


def test_the_boundary_of_a_single_turn_is_where_it_turns() -> None:
    turn = U[30]
    found = find_stages(STEPS, -(U - turn).square(), n_restarts=0, n_grid=121)
    # Grid points are 0.1 apart and one of them is the turn itself.
    np.testing.assert_allclose(found.boundaries.log1p(), [float(turn)], atol=0.051)
    assert [stage.kind for stage in found.stages] == ["A", "B"]


def test_curve_slope_and_spread_are_those_of_the_values() -> None:
    found = find_stages(STEPS, 3 * U, n_restarts=0)
    inner = slice(20, -20)
    np.testing.assert_allclose(found.slope[inner], 3.0, rtol=0.01)
    np.testing.assert_allclose(found.curve[inner], 3 * found.grid_steps.log1p()[inner], rtol=0.01)
    noisy = find_stages(STEPS, plateaus() + noise(), n_restarts=0)
    assert 0.5 < noisy.noise_std < 2.0
    assert 0 < float(noisy.curve_std.mean()) < noisy.noise_std
    assert 0.5 <= noisy.length_scale < 3


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "order": ({"steps": STEPS.flip(0)}, "steps from 0 that rise strictly"),
    "few": ({"steps": STEPS[:3], "values": torch.ones(3)}, "number of checkpoints of at least 4"),
    "errors": ({"errors": torch.zeros(61)}, "positive errors, got 0"),
    "nan": ({"values": torch.full((61,), math.nan)}, "finite values"),
    "slope": ({"max_slope": 0.0}, "positive max_slope, got 0.0"),
    "change": ({"min_change": -1.0}, "min_change from 0, got -1.0"),
    "grid": ({"n_grid": 4}, "n_grid of at least 5"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    settings = {"steps": STEPS, "values": plateaus()} | options
    with pytest.raises(ValueError, match=message):
        find_stages(settings.pop("steps"), settings.pop("values"), **settings)


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="as many steps as values, got 61 and 60"):
        _check_curve("find_stages", STEPS, torch.ones(60), None)
    with pytest.raises(ValueError, match="as many errors as values, got 3 and 61"):
        _check_curve("find_stages", STEPS, plateaus(), torch.ones(3))
