"""Agreement at the user level: known predictors are recognised, wrong steps are told, what is undefined says so."""

import numpy as np
import pytest

from icl_interp.measure.algorithm_agreement import _fresh_queries, _weighed_points, algorithm_agreement
from icl_interp.measure.errors import likeness_to_references
from icl_interp.measure.study.measure import effort_of
from icl_interp.measure.study.table import MEASURES
from icl_interp.models.config import ModelConfig
from icl_interp.predictors import gradient_descent, least_squares, ridge, zero
from icl_interp.predictors.references import References
from icl_interp.tasks.linear_regression import LinearRegression

TASK = LinearRegression(n_dims=3, n_points=7, noise_std=0.5)
REFERENCES = References.of({
    "zero": zero(),
    "least squares": least_squares(),
    "ridge": ridge(0.25),
    "1-step GD": gradient_descent(1, 0.5),
})


class Detached:
    """A predictor whose answers carry no gradient, as those of other libraries."""

    name = "fitted elsewhere"

    def __call__(self, xs, ys, *, points=None):
        return ridge(1.0)(xs, ys, points=points).detach()


@pytest.fixture(scope="module")
def of_ridge():
    return algorithm_agreement(ridge(0.25), TASK, references=REFERENCES, n_prompts=12)


def test_a_predictor_agrees_with_itself(of_ridge):
    found = of_ridge.references["ridge"]
    assert of_ridge.nearest()[0] == "ridge"
    for value in (found.spd.mean.value, found.mspd.value, found.ilwd.mean.value):
        np.testing.assert_allclose(value, 0, atol=1e-10)
    similar = (found.similarity_of_errors, found.similarity_of_weights, found.sensitivity.cosine)
    np.testing.assert_allclose([estimate.value for estimate in similar], 1, rtol=1e-5)  # float32
    np.testing.assert_allclose(of_ridge.linear_r2.mean.value, 1, rtol=1e-5)


def test_it_differs_from_the_others(of_ridge):
    for name in ("zero", "least squares", "1-step GD"):
        assert of_ridge.references[name].spd.mean.low > 1e-4
    assert of_ridge.references["zero"].similarity_of_weights.reason  # zero weights have no direction


def test_spd_is_the_mean_square_over_the_labels():
    # Literally: E (f - g)^2 / E y^2 with E y^2 = d + noise^2 at weights and inputs of unit variance.
    np.testing.assert_allclose(TASK.label_second_moment(), 3.25)

    def one(xs, ys, points=None):  # noqa: ARG001
        return 1 + 0 * ys[:, points]

    report = algorithm_agreement(one, TASK, references=References.of({"zero": zero()}), n_prompts=4)
    np.testing.assert_allclose(report.references["zero"].spd.values, 1 / 3.25, rtol=1e-5)


def test_a_wrong_step_size_is_told_by_spd_and_the_effective_step_and_not_by_cosines():
    report = algorithm_agreement(gradient_descent(1, 1.5), TASK, references=REFERENCES, n_prompts=12)
    found = report.references["1-step GD"]
    np.testing.assert_allclose(found.similarity_of_weights.value, 1, rtol=1e-5)
    np.testing.assert_allclose(found.sensitivity.cosine.value, 1, rtol=1e-5)
    assert found.spd.mean.low > 0.01
    np.testing.assert_allclose((report.step.step_size.value, report.step.r2), (1.5, 1.0), rtol=1e-4)


def test_what_carries_no_gradient_is_left_out_with_its_reason():
    report = algorithm_agreement(
        least_squares(), TASK, references=References.of({"fitted elsewhere": Detached()}), n_prompts=3
    )
    assert report.references["fitted elsewhere"].sensitivity is None
    assert "carry a gradient" in report.undefined["gradients of fitted elsewhere"]
    assert "cosine of gradients" not in set(report.to_frame()["metric"])


def test_one_dimension_has_no_underdetermined_point():
    report = algorithm_agreement(least_squares(), LinearRegression(n_dims=1, n_points=4), n_prompts=4)
    assert report.references[report.nearest()[0]].mspd.reason == "no point has fewer examples than dimensions"


def test_a_model_is_compared_with_its_tasks_references(tiny_model, tiny_task):
    report = algorithm_agreement(tiny_model, tiny_task, n_prompts=4, n_points=5, points=[2], n_queries=5)
    assert (report.points, report.n_points, report.n_queries, report.n_prompts) == ((2,), 5, 5, 4)
    assert "zero" in report.references


def test_frame_plot_and_repr(of_ridge):
    frame = of_ridge.to_frame()
    assert list(frame.columns) == ["reference", "metric", "value", "low", "high"]
    assert len(frame) == 4 * 9
    assert {trace.name for trace in of_ridge.plot().data} >= set(REFERENCES)
    assert "plotly" in of_ridge._repr_html_()
    assert "nearest='ridge'" in repr(of_ridge)
    assert "spd" in repr(of_ridge.references["zero"])


@pytest.mark.parametrize("options", [{"n_prompts": 1}, {"n_points": 1}])
def test_too_little_is_refused(options):
    with pytest.raises(ValueError, match="algorithm_agreement needs at least 2 prompts of 2 points"):
        algorithm_agreement(least_squares(), TASK, **options)


def test_likeness_lets_each_network_choose():
    prompts = TASK.sample(40, seed=0)
    said = [ridge(0.25)(prompts.xs, prompts.ys), 0 * prompts.ys, -0.01 * ridge(0.25)(prompts.xs, prompts.ys)]
    found = likeness_to_references(said, REFERENCES.answers(prompts))
    assert found.nearest[0] == "ridge"
    np.testing.assert_allclose(found.values[:2], [1, 0], atol=1e-10)
    assert found.values[2] < 0
    assert found.excess().verdict == "evidence"


def test_likeness_to_nothing_is_unknown():
    prompts = TASK.sample(4, seed=0)
    answers = References.of({"zero": zero()}).answers(prompts)
    found = likeness_to_references([0 * prompts.ys] * 3, answers)
    assert (found.nearest[0], found.excess().verdict) == ("none", "not applicable")


_DRAWN = {"signature_view", "contributions", "patching", "patterns", "induced"}  # pictures of one network


def test_effort_is_bounded():
    config = ModelConfig(n_dims=3, n_points=8, n_layers=2, n_heads=2, d_model=16)
    large = ModelConfig(n_dims=20, n_points=41, n_layers=12, n_heads=8, d_model=256)
    costs = {measure.name: measure.cost for measure in MEASURES if measure.cost is not None}
    assert costs.keys() - _DRAWN == {"agreement", "heads", "attention", "use", "erasure"}
    costs = {name: cost for name, cost in costs.items() if name not in _DRAWN}
    efforts = [effort_of(cost(config, 8, 5), config, 128, 8) for cost in costs.values()]
    assert [effort.prompts for effort in efforts] == [32] * 5
    # 8 fresh queries at 3 points and 3 passes; 6 networks, whole and with 4 heads masked from their own of 2 blocks on,
    # which is 3 passes' work, 1 whole one and 4 orders of 5;
    # 6 networks; 2 passes for each of them and half of one for each change at 3 sites, of which the model has 2 and 20
    # random subspaces and each of 5 untrained networks has 1; 3 passes, 1 for each of 20 random directions and 2 for
    # each of 5 untrained networks
    each = [8 * 3 + 3, 6 * (1 + 3) + 1 + 4 * 5, 6, 2 * 6 + 3 * 27 // 2, 3 + 20 + 10]
    assert [effort.reads // effort.prompts for effort in efforts] == each
    assert effort_of(costs["heads"](config, 8, 5), config, 9, 8).prompts == 9
    assert effort_of(costs["heads"](large, 41, 5), large, 128, 41).prompts == 8
    assert _weighed_points(20, 41) == (10, 20, 40)
    assert _fresh_queries(20) == 42
