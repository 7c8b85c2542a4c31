import math

import pytest

from icl_interp.figures.lines import distance_figure, loss_figure

METRICS = [
    {"step": 1, "loss": 4.0, "lr": 0.1},
    {"step": 10, "loss": 0.0, "lr": 0.1, "distances": {"in distribution": {"zero": 0.5, "Bayes": 0.25}}},
    {"step": 20, "loss": 1.0, "lr": 0.1, "distances": {"in distribution": {"zero": 0.75, "Bayes": 0.125}}},
]


def test_the_loss_is_drawn_over_all_lines() -> None:
    (trace,) = loss_figure(METRICS).data
    assert list(trace.x) == [1, 10, 20]
    assert list(trace.y) == pytest.approx([4.0, 1e-6, 1.0])  # a logarithmic axis has no zero


def test_each_reference_has_a_line_over_the_evaluations() -> None:
    zero, bayes = distance_figure(METRICS, "in distribution").data
    assert (zero.name, list(zero.x), list(zero.y)) == ("zero", [10, 20], [0.5, 0.75])
    assert (bayes.name, list(bayes.y)) == ("Bayes", [0.25, 0.125])
    assert zero.line.color != bayes.line.color
    assert len(distance_figure(METRICS, "x_scale=3").data) == 0


def test_a_number_that_was_not_finite_is_a_gap() -> None:
    line = {"step": 30, "loss": None, "lr": 0.1, "distances": {"in distribution": {"zero": None, "Bayes": 0.5}}}
    (trace,) = loss_figure([*METRICS, line]).data
    zero, bayes = distance_figure([*METRICS, line], "in distribution").data
    assert math.isnan(trace.y[-1])
    assert math.isnan(zero.y[-1])
    assert bayes.y[-1] == 0.5
