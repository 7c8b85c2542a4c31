"""A predictor of the user's own stands beside the task's references in every measure that compares with them."""

import pytest

from icl_interp.figures import theme
from icl_interp.figures.theme import predictor_style, role_style
from icl_interp.measure.algorithm_agreement import algorithm_agreement
from icl_interp.measure.errors import error_curves
from icl_interp.measure.layer_readouts import layer_readouts
from icl_interp.measure.linear_probes import linear_probes
from icl_interp.measure.study.run import study
from icl_interp.predictors import References, ridge, zero
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.references import reference_predictors, references_with

TASK = LinearRegression(n_dims=2, n_points=5, noise_std=0.5)


def mine(xs, ys, points=None):
    """Half of what a strong ridge says."""
    return 0.5 * ridge(3.0)(xs, ys, points=points)


@pytest.fixture(scope="module")
def own_study(tiny_model, tiny_task):
    return study(tiny_model, tiny_task, references={"mine": mine}, n_prompts=8, shifts=["x_scale=3"], layers=[],
                 n_controls=0)  # fmt: skip


def test_a_study_compares_with_it_everywhere(own_study):
    errors = own_study.errors.in_distribution
    assert errors.curves["mine"].late.value > 0
    assert "mine" in errors.distances
    assert "mine" in own_study.probes.targets
    assert "mine" in own_study.agreement.references
    assert "mine" in own_study.readouts.distances
    assert "mine" in own_study.use.by_site["block 1"].effect.distance_changes


def test_the_tasks_own_stay(own_study, tiny_task):
    assert list(own_study.errors.in_distribution.distances) == [*reference_predictors(tiny_task), "mine"]


def test_single_measures_take_it(tiny_model, tiny_task):
    given = {"references": {"mine": mine}}
    curves = error_curves(mine, TASK, shifts=["x_scale=3"], n_prompts=8, **given)
    assert curves.in_distribution.closest() == "mine"
    assert curves.in_distribution.distances["mine"].value == 0
    assert algorithm_agreement(mine, TASK, n_prompts=4, **given).nearest()[0] == "mine"
    few = {"layers": [], "n_controls": 0, **given}
    assert "mine" in layer_readouts(tiny_model, tiny_task, n_prompts=8, **few).distances
    assert "mine" in linear_probes(tiny_model, tiny_task, n_prompts=8, **few).targets


def test_references_of_the_type_stand_in_place_of_the_tasks():
    alone = References.of({"zero": zero()})
    assert references_with(TASK, alone) is alone
    assert list(references_with(TASK, {"mine": mine})) == [*reference_predictors(TASK), "mine"]


def test_its_style_is_that_of_a_reference(monkeypatch):
    monkeypatch.setattr(theme, "_OWN", {})  # no other was drawn before
    assert predictor_style("mine") == role_style("reference")
