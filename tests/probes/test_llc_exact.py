"""The exact answers themselves: the published example, an autoregression by hand, edges."""

import math

import numpy as np
import pytest
import torch

from probes.learning_coefficient.exact import free_energy_crossover, quadratic_learning_coefficient


@pytest.mark.parametrize(("localization", "expected"), [(0.0, 10.53), (50.0, 8.53)])
def test_the_published_example(localization: float, expected: float) -> None:
    found = quadratic_learning_coefficient(torch.full((20,), 2.0), nbeta=100.0, lr=1e-3, localization=localization)
    np.testing.assert_allclose(float(found), expected, atol=0.005)


def test_it_is_the_stationary_variance_of_the_step() -> None:
    # Iterate the variance of d <- (1 - lr P / 2) d + sqrt(lr) xi to its fixed point.
    h, nbeta, lr, gamma, variance = 3.0, 10.0, 0.02, 4.0, 0.0
    for _ in range(500):
        variance = (1 - lr / 2 * (nbeta * h + gamma)) ** 2 * variance + lr
    found = quadratic_learning_coefficient(torch.tensor([h]), nbeta=nbeta, lr=lr, localization=gamma)
    np.testing.assert_allclose(float(found), nbeta * h / 2 * variance, rtol=1e-6)


def test_flat_directions_count_nothing_and_no_step_gives_half() -> None:
    found = quadratic_learning_coefficient(torch.tensor([2.0, 0.0, 5.0]), nbeta=7.0)
    assert float(found) == 1.0


def test_impossible_quadratics_are_refused() -> None:
    with pytest.raises(ValueError, match="curvatures that are not negative, got -1"):
        quadratic_learning_coefficient(torch.tensor([-1.0]), nbeta=1.0)
    with pytest.raises(ValueError, match="needs a stable step"):
        quadratic_learning_coefficient(torch.tensor([4.0]), nbeta=1.0, lr=1.0)


def test_crossover_solves_its_equation() -> None:
    found = free_energy_crossover(0.02, 5.0)
    np.testing.assert_allclose(math.log(found.n) / found.n, 0.004, rtol=1e-9)
    assert found.n > math.e
    assert repr(found).startswith("Crossover(n=")


def test_solutions_that_changed_places_cross_where_they_did() -> None:
    assert free_energy_crossover(-0.02, -5.0) == free_energy_crossover(0.02, 5.0)


@pytest.mark.parametrize(
    ("gaps", "reason"),
    [((-0.1, 1.0), "never preferred"), ((0.1, -1.0), "always preferred"), ((1.0, 1.0), "at any n")],
)
def test_without_a_crossover_there_is_a_reason(gaps: tuple[float, float], reason: str) -> None:
    found = free_energy_crossover(*gaps)
    assert math.isnan(found.n)
    assert reason in found.reason
    assert reason in repr(found)
