"""Exact risks against oracles, Monte Carlo and a search over all weights; sampled risks, whatever the chunks."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from icl_interp.experiments import linear_risk as module
from icl_interp.experiments.linear_risk import linear_risk, lsa_gap_bound, optimal_lsa_risk, query_risks, shifted_risk
from icl_interp.models.linear.constructions import EffectiveParameters
from icl_interp.predictors import least_squares, zero
from icl_interp.predictors.learned_init import optimal_learned_init
from icl_interp.tasks.linear_regression import LinearRegression


@pytest.mark.parametrize(
    ("n_dims", "n_pairs", "entry", "risk"),
    # The table of the science notes: confirmed there by Monte Carlo and a full search; given to as many digits.
    [(5, 5, 1.0, 4.5566), (5, 5, 0.0, 2.7273), (20, 40, 10.0, 114.15), (20, 40, 0.0, 6.8852)],
)
def test_the_least_risk_of_attention_alone(n_dims, n_pairs, entry, risk):
    found = optimal_lsa_risk(torch.full((n_dims,), entry), n_pairs)
    np.testing.assert_allclose(found, risk, rtol=2e-5)


def random_parameters(n_dims: int, seed: int, *, with_gamma: bool = True) -> EffectiveParameters:
    generator = torch.Generator().manual_seed(seed)
    gamma, v21, v12 = (0.4 * torch.randn(n_dims, generator=generator) for _ in range(3))
    v11 = 0.4 * torch.randn(n_dims, n_dims, generator=generator)
    return EffectiveParameters(gamma if with_gamma else 0 * gamma, v21, torch.tensor(0.7), v11, 0.3 * v12)


@pytest.mark.parametrize("with_gamma", [True, False], ids=["block", "attention alone"])
@pytest.mark.parametrize("noise_std", [0.0, 1.7], ids=["exact labels", "noise"])
@pytest.mark.parametrize(("n_dims", "n_pairs"), [(3, 4), (4, 2), (1, 1)])
def test_the_formula_is_what_sampling_says(n_dims, n_pairs, noise_std, with_gamma):
    parameters = random_parameters(n_dims, seed=n_dims, with_gamma=with_gamma)
    mean = torch.linspace(0.5, 1.5, n_dims)

    def answer(xs, ys, *, points):  # noqa: ARG001
        context, labels, query = xs[:, :-1], ys[:, :-1], xs[:, -1]
        rows = torch.cat([context, labels[..., None]], dim=2)
        value = torch.cat([parameters.v21, parameters.v_minus1[None]])
        key = torch.cat([parameters.V11, parameters.v12[None]])
        moments = rows.mT @ rows / n_pairs
        attended = torch.einsum("i,bij,jk,bk->b", value, moments, key, query)
        return (attended + query @ parameters.gamma)[:, None]

    task = LinearRegression(n_dims, w_mean=mean.tolist(), noise_std=noise_std, n_points=n_pairs + 1)
    sampled = query_risks({"f": answer}, task, 400_000, seed=0)["f"]
    exact = float(linear_risk(parameters, mean, n_pairs, noise_std=noise_std))
    # Five standard errors; small terms are below that, and the next test sees them.
    assert abs(sampled.value - exact) < 5 * sampled.standard_error


@pytest.mark.parametrize(("n_dims", "n_pairs"), [(1, 3), (2, 2)])
@pytest.mark.parametrize("noise_std", [0.0, 1.3], ids=["exact labels", "noise"])
def test_the_formula_is_what_quadrature_says(n_dims, n_pairs, noise_std):
    # The squared error has degree 4 in every input, and Gauss-Hermite with three nodes is exact to degree 5.
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    n_inputs = (n_pairs + 2) * n_dims + n_pairs
    drawn = np.stack(np.meshgrid(*[nodes] * n_inputs, indexing="ij"), axis=-1).reshape(-1, n_inputs)
    chance = np.stack(np.meshgrid(*[weights / weights.sum()] * n_inputs, indexing="ij"), axis=-1)
    chance = chance.reshape(-1, n_inputs).prod(axis=1)
    x, query, task, noise = np.split(drawn, np.cumsum([n_pairs * n_dims, n_dims, n_dims]), axis=1)
    x, mean = x.reshape(-1, n_pairs, n_dims), np.linspace(0.5, 1.5, n_dims)
    w = mean + task
    y = np.einsum("bmi,bi->bm", x, w) + noise_std * noise
    found = random_parameters(n_dims, seed=n_dims)
    gamma, v21, u, v11, v12 = (getattr(found, n).double().numpy() for n in ("gamma", "v21", "v_minus1", "V11", "v12"))
    value, key = x @ v21 + u * y, np.einsum("bmi,ij,bj->bm", x, v11, query) + y * (query @ v12)[:, None]
    error = (value * key).mean(axis=1) + query @ gamma - np.einsum("bi,bi->b", w, query)
    exact = (chance * error**2).sum() + noise_std**2  # of the query's label
    parameters = EffectiveParameters(*(torch.tensor(part) for part in (gamma, v21, u, v11, v12)))
    np.testing.assert_allclose(
        linear_risk(parameters, torch.tensor(mean), n_pairs, noise_std=noise_std), exact, rtol=1e-10
    )


def test_the_best_block_has_the_closed_forms_risk():
    eye, mean = torch.eye(4, dtype=torch.float64), torch.arange(4).double()
    best = optimal_learned_init(eye, eye, mean, 0.0, 7)
    one = torch.ones((), dtype=torch.float64)
    parameters = EffectiveParameters(mean, -mean, one, best.preconditioner.mT, 0 * mean)
    torch.testing.assert_close(float(linear_risk(parameters, mean, 7)), best.risk)
    moved = mean + torch.tensor([0.0, 3.0, 0.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(float(linear_risk(parameters, moved, 7)), shifted_risk(4, 7, 5.0))


def test_the_best_block_for_noisy_labels_has_the_closed_forms_risk():
    eye, mean = torch.eye(3, dtype=torch.float64), torch.arange(3).double()
    best = optimal_learned_init(eye, eye, mean, 1.3, 6)
    one = torch.ones((), dtype=torch.float64)
    parameters = EffectiveParameters(mean, -mean, one, best.preconditioner.mT, 0 * mean)
    torch.testing.assert_close(float(linear_risk(parameters, mean, 6, noise_std=1.3)), best.risk)


def test_a_search_over_all_weights_finds_nothing_better():
    mean, d, m = torch.full((3,), 0.8, dtype=torch.float64), 3, 4

    def risk(theta):
        point = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        v21, u, v12, v11 = point[:d], point[d], point[d + 1 : 2 * d + 1], point[2 * d + 1 :].view(d, d)
        found = linear_risk(EffectiveParameters(0 * mean, v21, u, v11, v12), mean, m)
        return found.item(), torch.autograd.grad(found, point)[0].numpy()

    starts = np.random.default_rng(0).normal(0, 0.5, (6, 2 * d + 1 + d * d))
    found = min(optimize.minimize(risk, start, jac=True, method="BFGS").fun for start in starts)
    # BFGS stops at a gradient of 1e-5; the value is far more exact.
    np.testing.assert_allclose(found, optimal_lsa_risk(mean, m), rtol=1e-7)


@pytest.mark.parametrize(("norm", "n_pairs"), [(1.0, 2), (10.0, 20)])
def test_the_gap_keeps_its_bound_and_the_block_wins(norm, n_pairs):
    mean = torch.full((5,), norm / math.sqrt(5), dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64)
    gap = optimal_lsa_risk(mean, n_pairs) - optimal_learned_init(eye, eye, mean, 0.0, n_pairs).risk
    assert gap > lsa_gap_bound(mean, n_pairs) > 0


def test_the_search_needs_no_gradients_from_outside():
    with torch.no_grad():
        found = optimal_lsa_risk(torch.ones(5), 5)
        assert not torch.is_grad_enabled()
    assert round(found, 4) == 4.5566


def test_the_bound_of_the_table():
    torch.testing.assert_close(lsa_gap_bound(torch.full((20,), 10.0), 40), 2 / 123 * 2000)


def test_dimensions_and_pairs_are_checked():
    with pytest.raises(ValueError, match="needs w_mean of the model's 3 dimensions and at least one pair, got 2"):
        linear_risk(random_parameters(3, 0), torch.ones(2), 4)
    with pytest.raises(ValueError, match="at least one pair, got 3 dimensions and 0 pairs"):
        linear_risk(random_parameters(3, 0), torch.ones(3), 0)
    with pytest.raises(ValueError, match=r"needs a noise_std of 0 or more, got -0\.5"):
        linear_risk(random_parameters(3, 0), torch.ones(3), 4, noise_std=-0.5)
    with pytest.raises(ValueError, match="optimal_lsa_risk needs at least one pair, got 0"):
        optimal_lsa_risk(torch.ones(3), 0)


TASK = LinearRegression(3, n_points=6, noise_std=0.5)


def test_mean_and_standard_error_are_those_of_all_squares(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 64)
    seen = []

    def kept(xs, ys, *, points):  # noqa: ARG001
        seen.append(ys[:, -1].clone())
        return torch.zeros(len(xs), 1)

    found = query_risks({"kept": kept}, TASK, 200, seed=3)["kept"]
    squares = torch.cat(seen).double().square()
    assert [len(chunk) for chunk in seen] == [64, 64, 64, 8]
    np.testing.assert_allclose(found.value, squares.mean(), rtol=1e-12)  # float64 sums in another order
    np.testing.assert_allclose(found.standard_error, squares.std(correction=0) / np.sqrt(199), rtol=1e-9)


def test_models_share_their_prompts_and_seeds_differ():
    found = query_risks({"a": zero(), "b": zero(), "c": least_squares()}, TASK, 500, seed=0)
    assert found["a"] == found["b"] != found["c"]
    assert found["a"] != query_risks({"a": zero()}, TASK, 500, seed=1)["a"]


def test_a_perfect_answer_has_no_error():
    noiseless = LinearRegression(2, n_points=6)
    risk = query_risks({"f": least_squares()}, noiseless, 300, seed=0)["f"]
    assert risk.value < 1e-6  # float32 least squares from five pairs in two dimensions, now and then badly conditioned


def test_two_tasks_at_least():
    with pytest.raises(ValueError, match="needs at least two tasks for a standard error, got 1"):
        query_risks({}, TASK, 1, seed=0)
