"""Gradient descent, its step sizes, GD++, Newton-Schulz and conjugate gradients beyond the common laws."""

import math

import numpy as np
import pytest
import torch

from icl_interp import LinearRegression, shifted
from icl_interp.predictors import (
    best_constant_step,
    conjugate_gradient,
    gd_plus_plus,
    gradient_descent,
    least_squares,
    newton,
    online_gradient_descent,
)


def prompts(n_prompts=40, n_points=9, n_dims=4, *, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    xs = scale * torch.randn(n_prompts, n_points, n_dims, generator=generator, dtype=torch.float64)
    return xs, (xs @ torch.randn(n_prompts, n_dims, 1, generator=generator, dtype=torch.float64))[..., 0]


def mse(predictor, xs, ys):
    return float((predictor(xs, ys) - ys).square().mean())


@pytest.mark.parametrize("steps", [0, 1, 8, 9, 10, 64, 1000, 4095])
def test_repeated_squaring_takes_the_same_steps(steps):
    xs, ys = prompts(3)
    expected = torch.zeros_like(ys)
    for k in range(1, 9):
        weights = torch.zeros(3, 4, dtype=torch.float64)
        for _ in range(steps):
            misfit = (xs[:, :k] @ weights[..., None])[..., 0] - ys[:, :k]
            weights = weights - 0.1 / k * (xs[:, :k].mT @ misfit[..., None])[..., 0]
        expected[:, k] = (xs[:, k] * weights).sum(dim=1)
    torch.testing.assert_close(gradient_descent(steps, 0.1)(xs, ys), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "build",
    [
        lambda: gradient_descent(10**6, 5.0),
        lambda: gradient_descent(7, 1e9),
        lambda: gd_plus_plus(40, 5.0, 5.0),
        lambda: online_gradient_descent(1e30),
    ],
    ids=["long", "large step", "gd++", "online"],
)
def test_divergence_saturates_and_stays_finite(build):
    xs, ys = prompts(3)
    answer = build()(xs.float(), ys.float())
    assert bool(torch.isfinite(answer).all())
    assert float(answer.abs().max()) > 1e20


def test_many_small_steps_reach_least_squares():
    xs, ys = prompts(3, n_dims=2)
    torch.testing.assert_close(
        gradient_descent(10**6, "per_prefix")(xs, ys)[:, 4:],
        least_squares()(xs, ys)[:, 4:],
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("normalise", ["mean", "sum"])
@pytest.mark.parametrize("steps", [1, 2, 5, 30, 300])
def test_the_best_step_is_better_than_any_on_a_fine_grid(steps, normalise):
    xs, ys = prompts()
    best = best_constant_step(xs, ys, steps, normalise=normalise)
    rivals = np.geomspace(best.step_size / 30, best.step_size * 3, 120)
    losses = [mse(gradient_descent(steps, float(rate), normalise=normalise), xs, ys) for rate in rivals]
    assert best.loss <= min(losses) * (1 + 1e-9)
    np.testing.assert_allclose(mse(best.predictor(), xs, ys), best.loss, rtol=1e-8)


def test_one_step_has_its_closed_form():
    # The prediction is eta * a, so the best eta is <a, y> / <a, a>, divergence or not.
    xs, ys = prompts()
    unit = gradient_descent(1, 1.0, normalise="fixed", fixed_count=9)(xs, ys)
    best = best_constant_step(xs, ys, 1, normalise="fixed", fixed_count=9)
    np.testing.assert_allclose(best.step_size, float((unit * ys).sum() / unit.square().sum()), rtol=1e-6)


def test_the_best_step_of_uniform_inputs_is_the_published_one():
    # von Oswald's code: x ~ U(-0.5, 0.5), N = d = 10, one step: eta* = 6.07, half the squared error 0.2066.
    generator = torch.Generator().manual_seed(0)
    xs = torch.rand(20_000, 11, 10, generator=generator) - 0.5
    ys = (xs @ torch.randn(20_000, 10, 1, generator=generator))[..., 0]
    best = best_constant_step(xs, ys, 1, points=[-1])
    np.testing.assert_allclose(best.step_size, 6.07, rtol=0.03)
    np.testing.assert_allclose(best.loss / 2, 0.2066, rtol=0.05)


@pytest.mark.parametrize("scale", [1e-6, 1e6], ids=str)
def test_the_search_covers_every_scale(scale):
    xs, ys = prompts()
    reference, scaled = best_constant_step(xs, ys, 5), best_constant_step(scale * xs, ys, 5)
    np.testing.assert_allclose(scaled.step_size * scale**2, reference.step_size, rtol=1e-4)
    np.testing.assert_allclose(scaled.loss, reference.loss, rtol=1e-6)


def test_the_search_is_not_fooled_where_all_larger_steps_overflow():
    xs, ys = prompts(scale=30.0)
    best = best_constant_step(xs, ys, 5000)
    assert math.isfinite(best.loss)
    assert best.loss < 0.5 * float(ys.square().mean())


def test_gd_plus_plus_counts_eigenvalues_as_the_paper_says():
    # One input direction of eigenvalue l: the second step sees l (1 - gamma l)^2.
    xs = torch.tensor([[[2.0], [1.0]]], dtype=torch.float64)
    ys = torch.tensor([[6.0, 0.0]], dtype=torch.float64)  # w = 3, l = 4
    gamma, eta = 0.1, 0.05
    expected = 3 * (1 - (1 - eta * 4) * (1 - eta * 4 * (1 - gamma * 4) ** 2))
    torch.testing.assert_close(gd_plus_plus(2, eta, gamma)(xs, ys)[0, 1], torch.tensor(expected).double())


def test_gd_plus_plus_beats_gradient_descent_at_its_best():
    xs, ys = prompts(400, 40, 10, seed=3)
    plain = best_constant_step(xs, ys, 4, points=[-1])
    losses = [
        float((gd_plus_plus(4, eta, gamma)(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean())
        for eta in (1.0, 1.3, 1.6)
        for gamma in (0.1, 0.15, 0.2)
    ]
    assert min(losses) < 0.5 * plain.loss


def test_newton_learns_exponentially_and_gradient_descent_does_not():
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(50, 41, 20, generator=generator, dtype=torch.float64)
    xs = xs * torch.where(torch.arange(20) < 10, 10.0, 1.0)  # half the eigenvalues 100, half 1 (Fu et al.)
    ys = xs.sum(dim=2)
    signal = float(ys[:, -1].square().mean())

    def error(predictor):
        return float((predictor(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean()) / signal

    assert error(newton(24)) < 1e-8
    assert error(gradient_descent(24, "per_prefix")) > 1e-4


@pytest.mark.parametrize("steps", [60, 1500])
def test_newton_stays_put_once_it_has_converged(steps):
    xs, ys = prompts(5)  # prefixes with fewer points than dimensions are singular systems
    torch.testing.assert_close(newton(steps)(xs, ys), least_squares()(xs, ys), rtol=1e-6, atol=1e-6)


def test_conjugate_gradients_end_at_least_squares_and_stay():
    xs, ys = prompts(5, n_points=20)
    late = slice(8, None)  # k near d is ill-conditioned
    for steps in (4, 6, 50):
        answer = conjugate_gradient(steps)(xs, ys)[:, late]
        torch.testing.assert_close(answer, least_squares()(xs, ys)[:, late], rtol=1e-7, atol=1e-7)


def test_zero_steps_predict_zero():
    xs, ys = prompts(3)
    torch.testing.assert_close(gradient_descent(0, 0.1)(xs, ys), 0 * ys)
    torch.testing.assert_close(gradient_descent(0, "per_prefix")(xs, ys), 0 * ys)
    torch.testing.assert_close(conjugate_gradient(0)(xs, ys), 0 * ys)


def test_normalised_online_steps_fit_the_last_pair():
    xs, ys = prompts(3)
    repeated = torch.cat([xs, xs[:, -1:]], dim=1)
    answer = online_gradient_descent("normalised")(repeated, torch.cat([ys, 0 * ys[:, :1]], dim=1))
    torch.testing.assert_close(answer[:, -1], ys[:, -1])


@pytest.mark.parametrize("build", [lambda: conjugate_gradient(20), lambda: newton(100)], ids=["cg", "newton"])
def test_what_tends_to_least_squares_does_so_where_float32_inputs_leave_their_subspace(build):
    prompts = shifted(LinearRegression(20, noise_std=0.5), "x_half_subspace").sample(64, seed=0)
    xs = prompts.xs.clone()
    xs[:, -1] = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))  # off the subspace
    answer = build()(xs, prompts.ys, points=[-1])
    torch.testing.assert_close(answer, least_squares()(xs, prompts.ys, points=[-1]), rtol=1e-4, atol=1e-4)
    # The same numbers declared to be float64 are fitted to their last digit.
    assert float(build()(xs.double(), prompts.ys.double(), points=[-1]).abs().max()) > 1e4
