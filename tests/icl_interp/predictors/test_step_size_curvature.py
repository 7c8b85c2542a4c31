"""The search of a step size and a curvature for GD++."""

import itertools

import numpy as np
import pytest
import torch

from icl_interp.predictors import BestGDPlusPlus, best_constant_step, best_gd_plus_plus, gd_plus_plus


def uniform_prompts(n_prompts=300, n_dims=10, *, seed=0):
    # The task of von Oswald et al.: inputs of [-1/2, 1/2], as many pairs as dimensions, then the query.
    generator = torch.Generator().manual_seed(seed)
    xs = torch.rand(n_prompts, n_dims + 1, n_dims, generator=generator) - 0.5
    return xs, (xs @ torch.randn(n_prompts, n_dims, 1, generator=generator))[..., 0]


def mse(predictor, xs, ys, points=None):
    wanted = ys if points is None else ys[:, points]
    return float((predictor(xs, ys, points=points) - wanted).double().square().mean())


@pytest.mark.parametrize(
    ("normalise", "fixed_count", "points"), [("mean", None, None), ("sum", None, [-1]), ("fixed", 10, [3, 10])]
)
@pytest.mark.parametrize("steps", [2, 5])
def test_the_best_is_better_than_its_neighbours_and_its_loss_is_the_predictor_s(normalise, fixed_count, points, steps):
    xs, ys = uniform_prompts()
    options = {"normalise": normalise, "fixed_count": fixed_count}
    best = best_gd_plus_plus(xs, ys, steps, points=points, **options)
    reached = mse(best.predictor(), xs, ys, points)
    np.testing.assert_allclose(best.loss, reached, rtol=1e-5)  # predictions in float32
    for up, right in itertools.product((0.97, 1.0, 1.03), repeat=2):
        rival = gd_plus_plus(steps, up * best.step_size, right * best.curvature, **options)
        assert mse(rival, xs, ys, points) >= reached * (1 - 1e-5)  # what the simplex leaves of a flat optimum


def test_curvature_helps_where_inputs_are_anisotropic_by_chance_and_never_hurts_on_the_sample():
    xs, ys = uniform_prompts()
    fresh_xs, fresh_ys = uniform_prompts(2000, seed=1)
    for steps in (2, 4):
        best, plain = best_gd_plus_plus(xs, ys, steps, points=[-1]), best_constant_step(xs, ys, steps, points=[-1])
        assert best.curvature > 0
        assert best.loss <= plain.loss
        assert mse(best.predictor(), fresh_xs, fresh_ys, [-1]) < 0.9 * mse(plain.predictor(), fresh_xs, fresh_ys, [-1])


def test_where_all_directions_are_alike_nothing_is_gained():
    # Orthonormal inputs: one eigenvalue, which plain gradient descent learns in one step.
    xs = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)[:, [0, 1, 2, 3, 0]]
    ys = xs @ torch.arange(1.0, 5.0, dtype=torch.float64)
    best = best_gd_plus_plus(xs, ys, 3, normalise="sum", points=[-1])
    np.testing.assert_allclose(best.loss, 0, atol=1e-9)


def test_a_bounded_search_stays_where_nothing_diverges():
    xs, ys = uniform_prompts()
    top = max(float(torch.linalg.matrix_norm(x[:-1].double(), ord=2)) ** 2 for x in xs)
    free = best_gd_plus_plus(xs, ys, 3, normalise="sum")
    held = best_gd_plus_plus(xs, ys, 3, normalise="sum", bounded=True)
    assert 0 < held.step_size <= 1.5 / top * (1 + 1e-9)
    assert 0 <= held.curvature <= 1 / top * (1 + 1e-9)
    assert held.loss >= free.loss
    assert free.step_size > 1.5 / top  # the control: the bound is felt


def test_the_curvature_of_the_paper_for_two_recurrent_layers():
    # The paper trains gamma = .179 per sum over 10 pairs on x in [-1/2, 1/2]: theirs is 1 / N of ours.
    xs, ys = uniform_prompts(3000)
    best = best_gd_plus_plus(xs, ys, 2, points=[-1])
    np.testing.assert_allclose(best.curvature / 10, 0.179, rtol=0.15)  # theirs is trained, ours searched


def test_results_say_what_they_were_chosen_for():
    xs, ys = uniform_prompts(20)
    best = best_gd_plus_plus(xs, ys, 2, normalise="fixed", fixed_count=7)
    assert isinstance(best, BestGDPlusPlus)
    assert (best.steps, best.normalise, best.fixed_count) == (2, "fixed", 7)
    assert best.predictor() == gd_plus_plus(2, best.step_size, best.curvature, normalise="fixed", fixed_count=7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 1}, ValueError, "best_gd_plus_plus needs steps to be at least 2, got 1"),
        ({"normalise": "fixed"}, ValueError, "best_gd_plus_plus needs fixed_count with normalise"),
        ({"points": [0]}, ValueError, "best_gd_plus_plus needs an asked point with a non-zero input before it"),
        ({"points": [11]}, ValueError, "best_gd_plus_plus needs points from -11 to 10"),
    ],
    ids=["one step", "divisor", "no pairs", "point"],
)
def test_what_cannot_be_searched_is_refused(options, error, message):
    search = getattr(best_gd_plus_plus, "__wrapped__", best_gd_plus_plus)  # below the type-check hook
    with pytest.raises(error, match=message):
        search(*uniform_prompts(3), **{"steps": 2, **options})
