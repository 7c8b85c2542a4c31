"""Error curves: hand-computed errors, and reference algorithms in the place of the model."""

import numpy as np
import pytest
import torch

from icl_interp.figures.theme import COLOURS
from icl_interp.measure.errors import MODEL, error_curves, first_scored_point, prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Family, draw_families
from icl_interp.measure.roles import predictor_style
from icl_interp.measure.statistics import mean_band
from icl_interp.predictors import least_squares, zero
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.references import reference_predictors

TASK = LinearRegression(n_dims=2)
# Noise parts ridge from least squares, and anisotropic weights part the Bayes predictor from ridge.
NOISY = LinearRegression(n_dims=2, noise_std=0.5, w_cov=[2.0, 0.1])
REFERENCES = reference_predictors(NOISY)


@pytest.fixture(scope="module")
def noisy_reports():
    return {
        name: error_curves(predictor, NOISY, shifts=["x_scale=3"], n_prompts=32, seed=1)
        for name, predictor in REFERENCES.items()
    }


def test_no_reference_merges_on_the_noisy_task():
    assert list(REFERENCES) == ["zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD"]


@pytest.mark.parametrize(("n_dims", "n_points", "first"), [(3, 8, 3), (3, 4, 3), (3, 3, 2), (3, 1, 0)])
def test_errors_count_as_late_once_least_squares_is_determined(n_dims, n_points, first):
    assert first_scored_point(n_dims, n_points) == first


def test_prompt_errors_by_hand():
    # d = 2, four points: entries 2 and 3 are late. Squared errors there are 4 and 0, the unit is 2.
    prompts = Prompts(xs=torch.ones(1, 4, 2), ys=torch.tensor([[9.0, 9.0, 1.0, 2.0]]))
    family = Family("f", "by hand", "nothing", prompts, label_second_moment=2.0)
    errors = prompt_errors(torch.tensor([[0.0, 0.0, 3.0, 2.0]]), family)
    torch.testing.assert_close(errors, torch.tensor([1.0], dtype=torch.float64), rtol=0, atol=0)


def test_least_squares_in_the_place_of_the_model_solves_the_task():
    report = error_curves(least_squares(), TASK, shifts=["x_scale=3"], n_prompts=32)
    (name,) = (name for name in report.in_distribution.distances if name.startswith("least squares"))
    for errors in report.families.values():
        np.testing.assert_allclose(errors.curves[MODEL].late.value, 0, atol=1e-6)  # float32 answers, squared
        np.testing.assert_allclose(errors.distances[name].value, 0, atol=0)  # the same numbers
        np.testing.assert_allclose(errors.excess.value, 0, atol=0)
        assert errors.closest() == name


def test_predicting_zero_has_error_one():
    report = error_curves(zero(), TASK, shifts=["x_scale=3", "label_noise=1"], n_prompts=512)
    for errors in report.families.values():
        late = errors.curves[MODEL].late
        assert late.low < 1 < late.high
        # E[y^2] is a population value; 512 prompts of heavy-tailed y^2 leave about 6 % standard error
        np.testing.assert_allclose(late.value, 1, atol=0.25)
        assert errors.closest() == "zero"


@pytest.mark.parametrize("name", REFERENCES)
def test_each_reference_is_recognised_as_itself(noisy_reports, name):
    errors = noisy_reports[name].in_distribution
    assert errors.closest() == errors.nearest()[0] == name
    distances = [errors.distances[reference].value for reference in errors.nearest()]
    assert distances == sorted(distances)
    np.testing.assert_allclose(errors.distances[name].value, 0, atol=0)  # the same numbers


@pytest.mark.parametrize("label", [IN_DISTRIBUTION, "x_scale=3"])
def test_curves_distances_and_excess_are_their_formulas(noisy_reports, label):
    errors = noisy_reports["Bayes"].families[label]
    family = errors.family
    ys, unit = family.prompts.ys.double(), family.label_second_moment
    said = {name: f(family.prompts.xs, family.prompts.ys).double() for name, f in REFERENCES.items()}
    own = said["Bayes"]
    for name, curve in errors.curves.items():
        squares = ({MODEL: own} | said)[name].sub(ys).square() / unit
        mean, low, high = mean_band(squares)
        # the same float64 arithmetic in another order
        torch.testing.assert_close(curve.mean, mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(torch.stack([curve.low, curve.high]), torch.stack([low, high]), rtol=1e-9, atol=0)
        np.testing.assert_allclose(curve.late.value, squares[:, 2:].mean(), rtol=1e-12)
    difference = (own - said["10-step GD"]).square().mean() / unit
    np.testing.assert_allclose(errors.distances["10-step GD"].value, difference, rtol=1e-12)
    late = {name: prompt_errors(f.float(), family) for name, f in said.items()}
    excess = (late["Bayes"] - late["least squares"]).mean()
    np.testing.assert_allclose(errors.excess.value, excess, rtol=1e-6)  # predictions pass through float32


def test_bayes_beats_least_squares_on_noisy_labels(noisy_reports):
    assert noisy_reports["Bayes"].in_distribution.excess.high < 0


def test_to_frame_has_a_row_a_family_predictor_and_point(noisy_reports):
    report = noisy_reports["ridge"]
    frame = report.to_frame()
    assert list(frame.columns) == ["family", "predictor", "examples", "error", "low", "high"]
    assert len(frame) == 2 * (1 + len(REFERENCES)) * NOISY.default_points
    assert frame["predictor"].iloc[0] == MODEL
    row = frame.query("family == 'x_scale=3' and predictor == 'zero' and examples == 4").iloc[0]
    curve = report.families["x_scale=3"].curves["zero"]
    expected = [curve.mean[4], curve.low[4], curve.high[4]]
    np.testing.assert_allclose(row[["error", "low", "high"]].tolist(), expected, rtol=0)
    assert (frame["low"] <= frame["error"]).all()
    assert (frame["error"] <= frame["high"]).all()


@pytest.mark.parametrize(("axis", "least"), [("log", 1e-4), ("linear", 0.0)])
def test_plot_floors_on_the_log_axis_only(axis, least):
    report = error_curves(least_squares(), TASK, shifts=["x_scale=3"], n_prompts=16)
    figure = report.plot(axis=axis)
    assert figure.layout.yaxis.type == axis
    smallest = min(min(trace.y) for trace in figure.data)
    np.testing.assert_allclose(smallest, least, atol=1e-9)  # float32 errors squared are far below the floor
    assert {trace.name for trace in figure.data} >= {MODEL, "zero", f"{MODEL}, band"}


def test_plot_of_a_shift_and_in_notebooks(noisy_reports):
    report = noisy_reports["zero"]
    (model,) = (trace for trace in report.plot("x_scale=3").data if trace.name == MODEL)
    np.testing.assert_allclose(model.y, report.families["x_scale=3"].curves[MODEL].mean, rtol=1e-12)
    assert "plotly" in report._repr_html_()


def test_defaults_take_every_shift():
    report = error_curves(zero(), LinearRegression(n_dims=1))
    assert list(report.families) == list(draw_families(LinearRegression(n_dims=1), n_prompts=1).by_label)
    assert report.first_point == 1
    assert len(report.in_distribution.family.prompts) == 256


def test_the_seed_decides_the_prompts():
    a, b, other = (error_curves(zero(), TASK, shifts=["x_mean"], n_prompts=8, n_points=3, seed=s) for s in (1, 1, 2))
    assert a.to_frame().equals(b.to_frame())
    assert not a.to_frame().equals(other.to_frame())


@pytest.mark.parametrize("name", [*REFERENCES, "model", "untrained", "least squares = ridge = Bayes", "zero = Bayes"])
def test_every_predictor_has_a_drawing_style(name):
    assert predictor_style(name).colour in COLOURS.values()
