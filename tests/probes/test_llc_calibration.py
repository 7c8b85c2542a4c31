"""Calibration recommends where the answer is flat in the step size, and says so where it is nowhere."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.learning_coefficient.calibration import LlcCalibration, calibrate
from probes.learning_coefficient.exact import quadratic_learning_coefficient

START, NOTHING = {"w": torch.zeros(8)}, torch.zeros(1)


def bowl(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return params["w"].square().sum() + 0 * batch.sum()


def sweep(**options: Any) -> LlcCalibration:
    settings: dict[str, Any] = {"lrs": (1e-5, 1e-3, 2e-3, 3e-2), "localizations": (10.0, 1.0)} | options
    return calibrate(bowl, START, NOTHING, nbeta=100.0, num_chains=16, **settings)


@pytest.fixture(scope="module")
def found() -> LlcCalibration:
    return sweep()


def test_recommends_a_healthy_cell_on_the_plateau_at_the_weakest_localization(found: LlcCalibration) -> None:
    assert (found.lrs, found.localizations) == ((1e-5, 1e-3, 2e-3, 3e-2), (1.0, 10.0))
    assert found.healthy.tolist() == [[False, True, True, False]] * 2
    assert found.plateau.tolist() == found.healthy.tolist()
    assert found.recommended_localization == 1.0
    assert found.recommended_lr in {1e-3, 2e-3}
    best = found.recommended
    assert best is not None
    exact = quadratic_learning_coefficient(
        torch.full((8,), 2.0), nbeta=100.0, lr=found.recommended_lr or 0.0, localization=1.0
    )
    np.testing.assert_allclose(best.estimate, float(exact), atol=4 * best.standard_error)
    assert "effective draws" in repr(found)


def test_says_why_where_nothing_is_healthy() -> None:
    none = sweep(lrs=(1e-6, 1e-5), localizations=(1.0,), num_burnin_steps=0)
    assert none.recommended is None
    assert none.recommended_lr is None
    assert "every cell raises a flag" in none.reason


def test_says_why_where_healthy_cells_stand_alone() -> None:
    alone = sweep(lrs=(1e-3, 3e-2), localizations=(1.0,))
    assert alone.healthy.tolist() == [[True, False]]
    assert "no healthy cell agrees" in alone.reason


@pytest.mark.parametrize("method", ["sgld", "rmsprop_sgld"])
def test_settings_reach_the_sampler(method: str) -> None:
    small = sweep(lrs=(1e-4, 1e-3), localizations=(1.0,), num_draws=8, sampling_method=method)
    assert small.results[0][0].loss_trace.shape == (16, 8)


def test_defaults_only() -> None:
    found = calibrate(bowl, START, NOTHING, nbeta=100.0, num_chains=2, num_draws=4, num_burnin_steps=2)
    assert found.estimates.shape == (3, 6)


def test_grids_that_cannot_tell_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 different lrs, got \[0.1\]"):
        sweep(lrs=(0.1,))
    with pytest.raises(ValueError, match="at least 1 different localizations"):
        sweep(localizations=(1.0, 1.0))
    with pytest.raises(TypeError, match="num_burn_in"):
        sweep(num_burn_in=3)
