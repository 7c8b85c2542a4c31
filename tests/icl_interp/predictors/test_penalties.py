"""Predictors with a penalty or a noise level, from nothing to 1e20, against exact rational arithmetic."""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from icl_interp.predictors import (
    discrete_mmse,
    gaussian_posterior_mean,
    lasso,
    least_squares,
    optimal_learned_init,
    ridge,
    running_least_squares,
)

PENALTIES = [0.0, 1e-300, 1e-100, 1e-30, 1e-20, 1e-14, 1e-8, 1e-3, 1.0, 1e8, 1e20, 1e300]


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Four pairs and a query each.
INPUTS = {
    "n < d": _random(5, 6),
    "n = d": _random(5, 4),
    "n > d": _random(5, 2),
    "one input four times": torch.cat([_random(1, 3).expand(4, 3), _random(1, 3, seed=1)]),
    "two inputs twice": torch.cat([_random(2, 4)[[0, 1, 0, 1]], _random(1, 4, seed=1)]),
    "collinear": torch.tensor([[1.0, 3.0, -2.0]]) * torch.tensor([[1.0], [3.0], [-5.0], [0.75], [0.0]])
    + torch.eye(5)[:, [4]],
    "a zero among them": torch.cat([_random(3, 2), torch.zeros(1, 2), _random(1, 2, seed=1)]),
    "nothing but zeros": torch.zeros(5, 2),
    "units of 1e-9": 1e-9 * _random(5, 4),
}


def rational(numbers):
    return [rational(entry) if isinstance(entry, list) else Fraction(entry) for entry in numbers]


def solve(matrix, vector):
    # Gauss-Jordan elimination; a column without a pivot gets 0.
    rows = [[*row, right] for row, right in zip(matrix, vector, strict=True)]
    pivots = []
    for column in range(len(vector)):
        free = [i for i in range(len(rows)) if i not in pivots and rows[i][column] != 0]
        if not free:
            pivots.append(None)
            continue
        pivots.append(free[0])
        for i in range(len(rows)):
            if i != free[0]:
                factor = rows[i][column] / rows[free[0]][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[free[0]], strict=True)]
    return [
        Fraction(0) if pivot is None else rows[pivot][-1] / rows[pivot][column] for column, pivot in enumerate(pivots)
    ]


def dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def exact_ridge(inputs, labels, query, penalty):
    # K alpha = y with K = X X^T + penalty I; at penalty 0 the minimum-norm solution, by K K alpha = K y.
    gram = [[dot(a, b) + (penalty if i == j else 0) for j, b in enumerate(inputs)] for i, a in enumerate(inputs)]
    if penalty == 0:
        squared = [[dot(row, column) for column in gram] for row in gram]
        alpha = solve(squared, [dot(row, labels) for row in gram])
    else:
        alpha = solve(gram, labels)
    return float(dot(alpha, [dot(row, query) for row in inputs]))


def expected(xs, ys, penalty):
    inputs, labels = rational(xs.tolist()), rational(ys.tolist())
    return [exact_ridge(inputs[:k], labels[:k], inputs[k], Fraction(penalty)) for k in range(len(ys))]


def close(found, wanted, scale):
    # Rounding relative to the labels, unless all predictions are tiny.
    wanted = torch.tensor(wanted, dtype=torch.float64)
    assert bool(torch.isfinite(found).all())
    limit = 1e-6 if found.dtype == torch.float32 else 1e-7
    most = float(wanted.abs().max())
    assert float((found.double() - wanted).abs().max()) <= limit * max(most, 1e-12 * scale), (found, wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", INPUTS)
def test_ridge_and_the_posterior_mean_are_exact_at_any_penalty(kind, dtype):
    xs, ys = INPUTS[kind].to(dtype), _random(5, seed=2).to(dtype)
    for penalty in PENALTIES:
        wanted = expected(xs, ys, penalty)
        close(ridge(penalty)(xs[None], ys[None])[0], wanted, 1.0)
        close(gaussian_posterior_mean(0.0, 1.0, math.sqrt(penalty))(xs[None], ys[None])[0], wanted, 1.0)


def test_the_posterior_mean_takes_any_spread_and_noise():
    xs, ys = INPUTS["two inputs twice"].double(), _random(5, seed=2).double()
    for spread in (1e-300, 1e-12, 1.0, 1e12, 1e300):
        for noise in (0.0, 1e-300, 1e-12, 1.0, 1e12, 1e300):
            wanted = expected(xs, ys, (Fraction(noise) / Fraction(spread)) ** 2)
            covariance = min(spread, 1e150) ** 2
            if spread != covariance**0.5:
                continue  # a variance beyond float64
            for w_cov in (covariance, covariance * torch.eye(4, dtype=torch.float64)):
                close(gaussian_posterior_mean(0.0, w_cov, noise)(xs[None], ys[None])[0], wanted, 1.0)


def exact_mixture(inputs, labels, query, pool, noise):
    squares = [sum(((y - dot(x, t)) ** 2 for x, y in zip(inputs, labels, strict=True)), Fraction(0)) for t in pool]
    least = min(squares)
    if noise == 0:
        weights = [float(square == least) for square in squares]
    else:
        weights = [math.exp(-float(min((square - least) / (2 * noise**2), 800))) for square in squares]
    values = [float(dot(query, t)) for t in pool]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


POOLS = {
    "random": _random(4, 3, seed=3),
    "a task twice": _random(3, 3, seed=3)[[0, 0, 1, 2]],
    "one sum in another order": torch.tensor(
        [[0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [0.2, 0.3, 0.1], [1.0, 0.0, 0.0]], dtype=torch.float64
    ),
}
MIXTURE_INPUTS = {
    "random": _random(5, 3),
    "ones, then random": torch.cat([torch.ones(3, 3), _random(2, 3)]),
    "nothing, then random": torch.cat([torch.zeros(2, 3), _random(3, 3)]),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", MIXTURE_INPUTS)
def test_discrete_mmse_is_exact_at_any_noise(kind, pool):
    xs, tasks = MIXTURE_INPUTS[kind].double(), POOLS[pool].double()
    xs = torch.round(1024 * xs) / 1024  # with float32 tasks sums of products are exact, so that ties are ties
    for offset in (0.0, 0.25) if POOLS[pool].dtype == torch.float32 else (0.0,):  # labels of a task, and of none
        ys = xs @ tasks[0] + offset
        inputs, labels, weights = (rational(part.tolist()) for part in (xs, ys, tasks))
        for noise in (0.0, 1e-300, 1e-30, 1e-20, 1e-12, 1e-8, 1e-3, 1.0, 1e20, 1e300):
            found = discrete_mmse(tasks, noise)(xs[None], ys[None])[0]
            wanted = [exact_mixture(inputs[:k], labels[:k], inputs[k], weights, Fraction(noise)) for k in range(5)]
            close(found, wanted, 1.0)


@pytest.mark.parametrize("noise", [0.0, 1e-300, 1e-30, 1e-8, 1.0, 1e20, 1e200], ids=str)
@pytest.mark.parametrize("unit", [1e-10, 1.0, 1e10], ids=str)
def test_weights_that_no_input_shows_are_not_learned(noise, unit):
    # Inputs vary along (3, 4) and weights along (4, -3): nothing can be learned, and rounding must not be.
    x_cov = torch.tensor([[9.0, 12.0], [12.0, 16.0]], dtype=torch.float64)
    w_cov = unit * torch.tensor([[16.0, -12.0], [-12.0, 9.0]], dtype=torch.float64)
    optimum = optimal_learned_init(x_cov, w_cov, torch.ones(2, dtype=torch.float64), noise, 5)
    assert float(optimum.preconditioner.abs().max()) == 0.0
    assert optimum.risk == min(noise, 1e150) ** 2
    # And along both: the published formula for one shared direction, Psi H^1/2 Omega^-1 H^-1/2 = Psi / omega there.
    optimum = optimal_learned_init(x_cov, unit * x_cov, torch.ones(2, dtype=torch.float64), noise, 5)
    omega = (6 * 625 + 625) / 5 + min(noise, 1e150) ** 2 / unit / 5
    torch.testing.assert_close(optimum.preconditioner, x_cov / omega, rtol=1e-9, atol=1e-300)


def affine(a, b, start, unit):
    values = [start]
    for _ in range(6):
        values.append(a * values[-1] + b)
    return unit * torch.tensor(values, dtype=torch.float64)


SEQUENCES = {
    "growing": (1.5, 3.0, 1.0),
    "by equal steps": (1.0, 2.0, 100.0),
    "alternating": (-0.75, 1.0, 5.0),
    "standing still": (0.5, 1.0, 2.0),
    "far from 0": (-1.0, 8e6, 4e6 + 3),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("unit", [1e-20, 1e-7, 1.0, 1e7, 1e20], ids=str)
@pytest.mark.parametrize("kind", SEQUENCES)
def test_a_running_line_keeps_its_intercept_in_any_unit(kind, unit, dtype):
    sequence = affine(*SEQUENCES[kind], unit).to(dtype)
    for inputs in (sequence[:-1, None], torch.stack([sequence[:-1], sequence[:-1] / unit * sequence[:-1]], dim=1)):
        # Labels are of order one and arbitrary, so that the intercept counts.
        labels = _random(6, seed=2).to(dtype)
        with_constant = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        wanted = expected(with_constant, labels, 0.0)
        close(running_least_squares()(inputs[None], labels[None])[0], wanted, 1.0)


def exact_lasso(inputs, labels, query, penalty):
    # Every choice of signs: solve its equations, and keep the one that meets the conditions of optimality.
    n, n_dims = len(labels), len(query)
    columns = list(zip(*inputs, strict=True))
    for signs in itertools.product((0, 1, -1), repeat=n_dims):
        used = [j for j in range(n_dims) if signs[j]]
        right = [dot(columns[j], labels) - n * penalty * signs[j] for j in used]
        found = dict(zip(used, solve([[dot(columns[i], columns[j]) for j in used] for i in used], right), strict=True))
        weights = [found.get(j, Fraction(0)) for j in range(n_dims)]
        left = [y - dot(row, weights) for row, y in zip(inputs, labels, strict=True)]
        pulls = [dot(column, left) for column in columns]
        if all(weights[j] * signs[j] > 0 and pulls[j] == n * penalty * signs[j] for j in used) and all(
            abs(pull) <= n * penalty for pull in pulls
        ):
            return float(dot(weights, query))
    raise AssertionError


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9], ids=str)
@pytest.mark.parametrize(
    "kind", ["n < d", "n = d", "n > d", "fewer than coordinates", "whole numbers", "without noise"]
)
def test_the_lasso_is_exact_at_small_penalties(kind, unit):
    inputs = {
        "n < d": _random(3, 4),
        "fewer than coordinates": _random(4, 3)[:, [0, 1, 2, 0]] * torch.tensor([1.0, 1.0, 1.0, -0.5]),
        "whole numbers": torch.tensor([[1.0, 2.0, 0.0], [1.0, -1.0, 2.0], [0.0, 3.0, 1.0], [2.0, 1.0, 1.0]]),
        "without noise": _random(5, 3),
    }
    xs = inputs.get(kind, INPUTS.get(kind)).double()
    ys = _random(len(xs), seed=2).double() if kind != "without noise" else xs @ torch.tensor([2.0, 0.0, -1.0]).double()
    xs, ys = unit * xs[:, :4], ys / unit
    rows, labels = rational(xs.tolist()), rational(ys.tolist())
    for penalty in (1e-300, 1e-30, 1e-12, 1e-9, 1e-7, 1e-5):
        wanted = [exact_lasso(rows[:k], labels[:k], rows[k], Fraction(penalty)) for k in range(1, len(ys))]
        close(lasso(penalty)(xs[None], ys[None])[0, 1:], wanted, 1.0)


def test_the_lasso_at_the_ends():
    xs, ys = _random(1, 9, 3).double(), _random(1, 9, seed=2).double()
    for penalty in (1e20, 1e300):
        assert float(lasso(penalty)(xs, ys).abs().max()) == 0.0
    tail = [6, 7, 8]
    close(lasso(1e-9)(xs, ys, points=tail)[0], least_squares()(xs, ys, points=tail)[0].tolist(), 1.0)
