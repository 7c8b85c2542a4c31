"""Error curves: hand-computed errors, and reference algorithms in the place of the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from icl_interp.figures.theme import COLOURS, predictor_style
from icl_interp.measure.controls import estimate_mean, mean_band
from icl_interp.measure.errors import (
    BATCH,
    MODEL,
    TOLERATED,
    error_curves,
    first_scored_point,
    prompt_errors,
    summarise_errors,
)
from icl_interp.measure.families import IN_DISTRIBUTION, Families, Family, draw_families
from icl_interp.predictors import least_squares, zero
from icl_interp.predictors.references import References
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
    alone = ["zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD"]
    assert list(REFERENCES) == [*alone, "averaging", "3 nearest neighbours"]


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
        np.testing.assert_allclose(errors.gap_to_least_squares.value, 0, atol=0)
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
    gap = (late["Bayes"] - late["least squares"]).mean()
    np.testing.assert_allclose(errors.gap_to_least_squares.value, gap, rtol=1e-6)  # predictions pass through float32


@pytest.mark.parametrize("label", [IN_DISTRIBUTION, "x_scale=3"])
@pytest.mark.parametrize("name", REFERENCES)
def test_gaps_are_over_the_best_reference_prompt_by_prompt(noisy_reports, name, label):
    errors = noisy_reports[name].families[label]
    family = errors.family
    late = {n: prompt_errors(f(family.prompts.xs, family.prompts.ys), family) for n, f in REFERENCES.items()}
    best = min(late, key=lambda n: float(late[n].mean()))
    assert set(errors.gap_to_best) == {MODEL, *REFERENCES}
    for other, found in errors.gap_to_best.items():
        assert found == estimate_mean(late[name if other == MODEL else other] - late[best])
    np.testing.assert_equal([errors.gap_to_best[best].low, errors.gap_to_best[best].high], [0.0, 0.0])
    assert not errors.fails(best)
    assert errors.fails(MODEL) is errors.fails(name)


def by_hand(errors: list[float]) -> Families:
    """d = 1 and two points with labels 0: only the second is late, and a prediction is the root of its error."""
    n = len(errors)
    prompts = Prompts(xs=torch.ones(n, 2, 1), ys=torch.zeros(n, 2))
    family = Family(IN_DISTRIBUTION, "by hand", "nothing", prompts, label_second_moment=1.0)
    return Families(fit=prompts, by_label={IN_DISTRIBUTION: family})


def constant(errors: list[float]) -> Tensor:
    return torch.tensor([[9.0, error**0.5] for error in errors])


@dataclass
class Constant:
    """A reference with these late errors on the prompts above."""

    name: str
    errors: list[float]

    def __call__(self, xs: Tensor, ys: Tensor, *, points: Sequence[int] | None = None) -> Tensor:  # noqa: ARG002
        return constant(self.errors)


@pytest.mark.parametrize(
    ("model", "least_squares_errors", "value", "fails"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0, False),
        ([0.04, 0.04], [0.0, 0.0], 0.04, False),
        ([0.06, 0.06], [0.0, 0.0], 0.06, True),
        ([1.0, 1.0], [0.98, 0.98], 0.02, False),  # large errors, but nobody knows better
        ([1.0, 4.0], [0.9, 3.9], 0.1, True),  # prompts differ more than predictors do
        ([0.0, 1.0], [0.0, 0.0], 0.5, False),  # on average, but not for sure
        ([0.0, 0.0], [1.0, 1.0], -1.0, False),
        ([float("nan")] * 2, [0.0, 0.0], float("nan"), True),
    ],
    ids=["equal", "tolerated", "beyond", "noise", "paired", "uncertain", "better than all", "undefined"],
)
def test_who_falls_short_by_hand(model, least_squares_errors, value, fails):
    assert TOLERATED == 0.05
    late = {"zero": [16.0, 16.0], "least squares": least_squares_errors}
    references = {name: Constant(name, errors) for name, errors in late.items()}
    families, references = by_hand(model), References.of(references)
    answers = {label: references.answers(family.prompts) for label, family in families.by_label.items()}
    report = summarise_errors({IN_DISTRIBUTION: constant(model)}, families, answers)
    errors = report.in_distribution
    # float32 roots, squared
    np.testing.assert_allclose(errors.gap_to_best[MODEL].value, value, rtol=1e-5, atol=1e-7)
    zero_gap = 16 - np.mean(least_squares_errors)
    np.testing.assert_allclose(errors.gap_to_best["zero"].value, zero_gap, rtol=1e-6)
    assert errors.fails(MODEL) is fails
    assert errors.fails("zero")
    assert not errors.fails("least squares")


def test_prompts_are_read_in_batches():
    sizes: list[int] = []

    def count(xs: Tensor, ys: Tensor) -> Tensor:
        sizes.append(len(xs))
        return least_squares()(xs, ys)

    n = BATCH + 3
    report = error_curves(count, TASK, shifts=["x_scale=3"], n_prompts=n)
    assert sizes == [BATCH, 3] * 2
    whole = error_curves(lambda xs, ys: ys.new_zeros(ys.shape) + xs[..., 0], TASK, shifts=["x_scale=3"], n_prompts=n)
    for label, family in draw_families(TASK, shifts=["x_scale=3"], n_prompts=n).by_label.items():
        errors = prompt_errors(family.prompts.xs[..., 0], family)  # each prediction at its own prompt
        np.testing.assert_allclose(whole.families[label].curves[MODEL].late.value, errors.mean(), rtol=1e-12)
        assert not report.families[label].fails(MODEL)


def test_prompts_go_to_the_model_s_device():
    class Elsewhere:
        device = torch.device("meta")

        def __call__(self, xs: Tensor, ys: Tensor) -> Tensor:
            assert xs.device == ys.device == self.device
            return torch.zeros(ys.shape)

    errors = error_curves(Elsewhere(), TASK, shifts=["x_scale=3"], n_prompts=4).in_distribution
    assert errors.closest() == "zero"


def test_bayes_beats_least_squares_on_noisy_labels(noisy_reports):
    assert noisy_reports["Bayes"].in_distribution.gap_to_least_squares.high < 0


def test_to_frame_has_a_row_a_family_predictor_and_point(noisy_reports):
    report = noisy_reports["ridge"]
    frame = report.to_frame()
    assert list(frame.columns) == ["family", "predictor", "examples", "error", "low", "high", "seen_in_training"]
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
