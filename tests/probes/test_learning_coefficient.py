"""The sampler against exact answers: quadratics with their step-size error, normal crossings by quadrature."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from llc_cases import CURVATURES, NOTHING, assert_within_errors, bowl, run
from torch import Tensor

from probes.learning_coefficient import estimate_learning_coefficient
from probes.learning_coefficient.exact import quadratic_learning_coefficient

# A step costs the same for one chain and for hundreds; every direction here forgets its start within ten steps.
SIZES: dict[str, Any] = {"num_chains": 384, "num_draws": 60, "num_burnin_steps": 60}


@pytest.mark.parametrize("localization", [0.0, 5.0, 50.0])
def test_quadratics_follow_the_discretised_formula(localization: float) -> None:
    expected = quadratic_learning_coefficient(CURVATURES, nbeta=100.0, lr=2e-3, localization=localization)
    assert_within_errors(run(**SIZES, localization=localization), float(expected))


def test_the_step_size_error_is_seen_and_not_only_the_posterior() -> None:
    # lr * P = 1.2 for the stiffest direction, so the formula and the posterior are far apart.
    settings = {"lr": 3e-3, "localization": 0.0, **SIZES}
    h = torch.full((10,), 4.0)

    def stiff(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return (h * params["w"].square()).sum() / 2 + 0 * batch.sum()

    result = run(stiff, **settings)
    assert_within_errors(result, float(quadratic_learning_coefficient(h, nbeta=100.0, lr=3e-3)))
    posterior = float(quadratic_learning_coefficient(h, nbeta=100.0))
    assert abs(result.estimate - posterior) > 10 * result.standard_error


MASKS = {
    "one pattern": (["a"], [0]),
    "stars": (["*"], [0, 1]),
    "mask": ({"b": torch.tensor([True, False, True])}, [1]),
    "pattern and mask": ({"a": torch.tensor(True), "b": torch.tensor([True, False, True])}, [0, 1]),
}


@pytest.mark.parametrize(("masks", "parts"), MASKS.values(), ids=MASKS)
def test_restricted_weights_follow_the_formula_on_the_free_directions(masks: Any, parts: list[int]) -> None:
    def loss(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        scales = torch.tensor([4.0, 1.0, 2.0])
        return params["a"].square().sum() + (scales * params["b"].square()).sum() / 2 + 0 * batch.sum()

    start = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    whole_b = not isinstance(masks, dict)
    free = [torch.full((4,), 2.0), torch.tensor([4.0, 1.0, 2.0] if whole_b else [4.0, 2.0])]
    h = torch.cat([free[i] for i in parts])
    result = run(loss, start, param_masks=masks, **SIZES)
    assert result.n_free == len(h)
    assert_within_errors(result, float(quadratic_learning_coefficient(h, nbeta=100.0, lr=2e-3, localization=5.0)))


def gibbs(loss: Callable[..., Any], center: tuple[float, ...], nbeta: float, gamma: float) -> float:
    # Even grids over +-7 standard deviations of the localising Gaussian: exact to far more digits than are needed.
    axis = np.linspace(-7, 7, 351 if len(center) == 2 else 141)
    grid = np.meshgrid(*[axis + c for c in center], indexing="ij")
    values = loss(*grid)
    distance = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True))
    density = np.exp(-nbeta * values - gamma / 2 * distance)
    return float(nbeta * (values * density).sum() / density.sum())


CROSSINGS = {
    "two variables, at the crossing": (lambda a, b: (a * b) ** 2, (0.0, 0.0)),
    "two variables, on a branch": (lambda a, b: (a * b) ** 2, (1.0, 0.0)),
    "a higher power": (lambda a, b: (a * b**2) ** 2, (0.0, 0.0)),
    "three variables": (lambda a, b, c: (a * b * c) ** 2, (0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize(("loss", "center"), CROSSINGS.values(), ids=CROSSINGS)
def test_normal_crossings_agree_with_quadrature(loss: Callable[..., Any], center: tuple[float, ...]) -> None:
    expected = gibbs(loss, center, 5.0, 2.0)
    result = run(
        lambda params, batch: loss(*params["w"].unbind(0)) + 0 * batch.sum(),
        {"w": torch.tensor(center)},
        nbeta=5.0,
        lr=5e-3,
        localization=2.0,
        num_chains=512,
        num_draws=600,
        num_burnin_steps=700,
    )
    assert not bool(result.diverged.any())
    # The step adds 2 to 3 % here, most far out on a branch; 4 standard errors are about 10 %.
    np.testing.assert_allclose(result.estimate, expected, atol=4 * result.standard_error + 0.03 * expected)
    assert result.standard_error < 0.03 * expected


def test_quadrature_matches_the_published_numbers() -> None:
    found = [gibbs(loss, center, 145.0, 1.0) for loss, center in list(CROSSINGS.values())[:2]]
    np.testing.assert_allclose(found, [0.361, 0.381], atol=2e-3)


def test_evaluation_data_are_averaged_while_other_data_drive() -> None:
    def scaled(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return batch.mean() * params["w"].square().sum()

    start, sizes = {"w": torch.zeros(10)}, {**SIZES, "localization": 0.0}
    ones = torch.ones(4)
    plain = run(scaled, start, ones, **sizes)
    tripled = run(scaled, start, ones, eval_data=3 * ones, **sizes)
    np.testing.assert_allclose(tripled.estimate, 3 * plain.estimate, rtol=1e-5)
    # Data-restricted proper: the same data in both places define another posterior, of the same coefficient.
    restricted = run(scaled, start, 3 * ones, **sizes)
    expected = quadratic_learning_coefficient(torch.full((10,), 6.0), nbeta=100.0, lr=2e-3)
    assert_within_errors(restricted, float(expected))


def test_preconditioned_form_on_a_quadratic() -> None:
    # With a large rmsprop_eps, G is constant: SGLD with lr / eps and localization alike.
    sizes = {**SIZES, "localization": 5.0}
    result = run(lr=2.0, sampling_method="rmsprop_sgld", rmsprop_eps=1000.0, rmsprop_alpha=0.0, **sizes)
    expected = quadratic_learning_coefficient(CURVATURES, nbeta=100.0, lr=2e-3, localization=5.0)
    assert_within_errors(result, float(expected))


def test_preconditioning_makes_ill_scaled_directions_mix() -> None:
    scales = torch.tensor([10.0, 0.01])

    def narrow(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return (scales * params["w"].square()).sum() / 2 + 0 * batch.sum()

    settings = {"start": {"w": torch.zeros(2)}, "nbeta": 100.0, "localization": 0.0, "num_draws": 300}
    # The truth is 1; after so few steps plain SGLD has hardly left w* in the flat direction.
    plain = run(narrow, lr=3e-4, num_burnin_steps=300, **settings)
    adapted = run(narrow, lr=3e-4, num_burnin_steps=300, sampling_method="rmsprop_sgld", rmsprop_eps=0.01, **settings)
    assert plain.estimate < 0.7 < 0.85 < adapted.estimate < 1.4


def test_defaults_only_seeds_and_repr() -> None:
    first = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3)
    again = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3)
    other = estimate_learning_coefficient(bowl, {"w": torch.zeros(10)}, NOTHING, nbeta=100.0, lr=1e-3, seed=1)
    torch.testing.assert_close(again.loss_trace, first.loss_trace, rtol=0, atol=0)
    assert not torch.equal(other.loss_trace, first.loss_trace)
    assert repr(first).startswith("LearningCoefficient(")
    assert "8 of 8 chains" in repr(first)


def test_one_chain_and_one_draw_give_what_they_can() -> None:
    result = run(num_chains=1, num_draws=1, num_burnin_steps=0)
    assert math.isnan(result.standard_error)
    np.testing.assert_allclose(result.estimate, 0.0, atol=1e-12)


def test_parameters_and_the_global_generator_are_untouched() -> None:
    start = {"w": torch.zeros(10, requires_grad=True)}
    before = torch.random.get_rng_state()
    run(start=start, num_draws=5)
    torch.testing.assert_close(start["w"].detach(), torch.zeros(10))
    assert start["w"].grad is None
    assert torch.equal(torch.random.get_rng_state(), before)
