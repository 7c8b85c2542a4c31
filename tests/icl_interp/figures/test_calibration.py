"""The calibration figure shows every cell, its flags and the recommendation."""

import numpy as np
import pytest
import torch

from icl_interp.figures.lines import calibration_figure
from probes.learning_coefficient.calibration import LlcCalibration, calibrate


def bowl(params: dict[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    return params["w"].square().sum() + 0 * batch.sum()


def sweep(lrs: tuple[float, ...]) -> LlcCalibration:
    start = {"w": torch.zeros(8)}
    return calibrate(bowl, start, torch.zeros(1), nbeta=100.0, lrs=lrs, localizations=(1.0, 10.0), num_chains=16)


@pytest.fixture(scope="module")
def swept() -> LlcCalibration:
    return sweep((1e-3, 2e-3, 1e-1))


def test_each_cell_is_a_point_and_flags_open_it(swept: LlcCalibration) -> None:
    first, second, star = calibration_figure(swept).data
    assert (first.name, second.name, star.name) == ("localization 1", "localization 10", "recommended")
    np.testing.assert_allclose(first.x, swept.lrs)
    np.testing.assert_allclose(first.y[:2], swept.estimates[0, :2])
    assert first.y[2] is None  # all chains diverged
    assert first.marker.symbol == ("circle", "circle", "circle-open")
    assert first.text[0] == "no flag"
    assert "diverged" in first.text[2]
    assert (star.x[0], star.marker.symbol) == (swept.recommended_lr, "star")


def test_axes_and_reason(swept: LlcCalibration) -> None:
    layout = calibration_figure(swept).layout
    assert (layout.xaxis.type, layout.title.text) == ("log", swept.reason)


def test_without_a_recommendation_there_is_no_star() -> None:
    nothing = sweep((1e-1, 2e-1))
    assert [trace.name for trace in calibration_figure(nothing).data] == ["localization 1", "localization 10"]
