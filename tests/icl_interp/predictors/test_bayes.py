"""Bayes predictors: optimality, orthogonality, and the oracle numbers of transient-structure experiments."""

import numpy as np
import pytest
import torch

from icl_interp.predictors import (
    discrete_mmse,
    gaussian_posterior_mean,
    gd_learned_init,
    least_squares,
    optimal_learned_init,
    ridge,
)

DIMS, POINTS, NOISE = 8, 16, 0.125**0.5


def draw(n_prompts, *, pool=None, seed=0, n_points=POINTS):
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_prompts, n_points, DIMS, generator=generator)
    noise = NOISE * torch.randn(n_prompts, n_points, generator=generator)
    if pool is None:
        weights = torch.randn(n_prompts, DIMS, generator=generator)
    else:
        weights = pool[torch.randint(len(pool), (n_prompts,), generator=generator)]
    return xs, (xs @ weights[..., None])[..., 0] + noise


def make_pool(n_tasks, seed=100):
    return torch.randn(n_tasks, DIMS, generator=torch.Generator().manual_seed(seed))


def test_orthogonality_of_errors_in_the_pool():
    # E[(ridge - y)^2 - (dMMSE - y)^2] = E[(ridge - dMMSE)^2] where dMMSE is the posterior mean.
    pool = make_pool(16)
    xs, ys = draw(8000, pool=pool)
    best, other = discrete_mmse(pool, NOISE)(xs, ys), ridge(NOISE**2)(xs, ys)
    gap = ((other - ys).square() - (best - ys).square()).mean()
    distance = (other - best).square().mean()
    torch.testing.assert_close(gap, distance, rtol=0.03, atol=0)  # 8000 prompts: 1 % standard error
    # Negative control: off the pool dMMSE is no posterior mean, and its error exceeds ridge's.
    xs, ys = draw(2000)
    assert float((discrete_mmse(pool, NOISE)(xs, ys) - ys).square().mean()) > 2 * float(distance)


def test_ridge_on_unlimited_tasks_has_the_published_curve():
    # Mean over sequences, k = 1 .. 16, D = 8, noise variance 0.125; first entry D + 0.125 in expectation.
    published = [
        8.19,
        7.15,
        6.06,
        5.30,
        4.24,
        3.31,
        2.53,
        1.82,
        1.20,
        0.84,
        0.64,
        0.49,
        0.40,
        0.35,
        0.32,
        0.28,
    ]
    xs, ys = draw(20_000)
    curve = (ridge(NOISE**2)(xs, ys) - ys).square().mean(dim=0)
    np.testing.assert_allclose(curve[0], DIMS + NOISE**2, rtol=0.02)
    np.testing.assert_allclose(curve.mean(), 2.68, rtol=0.05)
    np.testing.assert_allclose(curve, published, rtol=0.08)  # theirs: 1024 sequences


def test_one_task_is_known_from_the_start():
    pool = make_pool(1)
    xs, ys = draw(4000, pool=pool)
    losses = (discrete_mmse(pool, NOISE)(xs, ys) - ys).square().mean(dim=0)
    np.testing.assert_allclose(losses, NOISE**2, rtol=0.12)  # 4000 squares a point: 2.2 % standard error
    np.testing.assert_allclose(losses.mean(), NOISE**2, rtol=0.03)


def test_one_wrong_task_costs_twice_the_signal():
    losses = []
    for seed in range(64):
        xs, ys = draw(128, seed=seed)
        losses.append(float((discrete_mmse(make_pool(1, seed + 1000), NOISE)(xs, ys) - ys).square().mean()))
    # |w - t|^2 is 2 chi^2(8): 64 pools leave about 4.5 % of the mean 2 D + noise variance.
    np.testing.assert_allclose(np.mean(losses), 2 * DIMS + NOISE**2, rtol=0.13)


@pytest.mark.parametrize(
    ("n_tasks", "inside", "outside", "n_prompts"),
    [
        pytest.param(512, 1.52, 5.7, 2048, id="512"),
        pytest.param(32768, 2.27, 3.7, 512, id="32768", marks=pytest.mark.slow),
    ],
)
def test_oracle_numbers_of_large_pools(n_tasks, inside, outside, n_prompts):
    losses = []
    for seed in (100, 101, 102):
        pool = make_pool(n_tasks, seed)
        samples = draw(n_prompts, pool=pool, seed=seed + 5000), draw(n_prompts, seed=seed + 7000)
        losses.append([float((discrete_mmse(pool, NOISE)(xs, ys) - ys).square().mean()) for xs, ys in samples])
    np.testing.assert_allclose(np.mean(losses, axis=0), [inside, outside], rtol=0.05)  # theirs: 1024 sequences


def test_a_large_pool_in_float32_matches_a_loop():
    pool = make_pool(2**15)
    xs, ys = draw(2, pool=pool)
    answer = discrete_mmse(pool, NOISE)(xs, ys)
    assert answer.dtype == torch.float32
    for k in (0, 1, 7, 15):
        misfits = ys[:, :k, None].double() - xs[:, :k].double() @ pool.double().mT
        weights = (-misfits.square().sum(dim=1) / (2 * NOISE**2)).softmax(dim=1)
        expected = ((weights @ pool.double()) * xs[:, k].double()).sum(dim=1)
        torch.testing.assert_close(answer[:, k].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_noise_the_pool_is_searched_for_the_task(dtype):
    pool = torch.cat([make_pool(5), make_pool(1)]).to(dtype)  # the first task twice
    xs = draw(6)[0].to(dtype)
    ys = (xs @ pool[:6, :, None])[..., 0]
    answer = discrete_mmse(pool, 0.0)(xs, ys)
    torch.testing.assert_close(answer[:, 0], xs[:, 0] @ pool.mean(dim=0))
    torch.testing.assert_close(answer[:, 1:], ys[:, 1:])
    assert bool(torch.isfinite(discrete_mmse(pool, 0.0)(0 * xs, ys + 1)).all())


def test_far_labels_do_not_underflow():
    xs, ys = draw(3)
    answer = discrete_mmse(make_pool(4), 1e-3)(xs, 1e6 * ys)
    assert bool(torch.isfinite(answer).all())


def test_dmmse_tends_to_ridge_for_large_pools():
    xs, ys = draw(64, n_points=4)
    distances = [
        float((discrete_mmse(make_pool(m), NOISE)(xs, ys) - ridge(NOISE**2)(xs, ys)).square().mean())
        for m in (8, 256, 16384)
    ]
    assert distances[0] > 2 * distances[1] > 4 * distances[2]


def test_the_subspace_prior_is_ridge_in_the_subspace():
    basis = torch.linalg.qr(torch.randn(DIMS, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    xs, ys = (part.double() for part in draw(5))
    inside = ridge(0.5)(xs @ basis, ys)
    torch.testing.assert_close(gaussian_posterior_mean(0.0, basis @ basis.mT, 0.5**0.5)(xs, ys), inside)
    noiseless = gaussian_posterior_mean(0.0, 3.0 * basis @ basis.mT, 0.0)(xs, ys)
    torch.testing.assert_close(noiseless, least_squares()(xs @ basis, ys))


def test_the_known_prior_beats_ridge_and_least_squares():
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(DIMS, 3, generator=generator)
    mean = torch.randn(DIMS, generator=generator)
    xs = torch.randn(2000, 7, DIMS, generator=generator)
    weights = mean + torch.randn(2000, 3, generator=generator) @ factor.mT
    ys = (xs @ weights[..., None])[..., 0] + 0.5 * torch.randn(2000, 7, generator=generator)
    losses = [
        float((predictor(xs, ys) - ys)[:, -1].square().mean())
        for predictor in (
            gaussian_posterior_mean(mean, factor @ factor.mT, 0.5),
            ridge(0.25, mean=mean),
            ridge(0.25),
            least_squares(),
        )
    ]
    assert losses[0] < 1.0 < losses[1] < min(losses[2:])


@pytest.mark.parametrize(
    ("n_dims", "n_pairs", "entry", "risk", "step", "gd0"),
    # Table of Zhang, Wu and Bartlett's setting, H = Psi = I without noise.
    [
        (5, 5, 1.0, 2.7273, 0.4545, 4.837),
        (5, 5, 0.0, 2.7273, 0.4545, 2.7273),
        (20, 40, 10.0, 6.8852, 0.6557, 114.35),
        (20, 40, 0.0, 6.8852, 0.6557, 6.8852),
    ],
)
def test_the_optimal_start_has_the_published_risk(n_dims, n_pairs, entry, risk, step, gd0):
    eye, mean = torch.eye(n_dims, dtype=torch.float64), torch.full((n_dims,), entry, dtype=torch.float64)
    optimum = optimal_learned_init(eye, eye, mean, 0.0, n_pairs)
    np.testing.assert_allclose(optimum.risk, risk, rtol=1e-4)
    torch.testing.assert_close(optimum.preconditioner, step * eye, rtol=1e-3, atol=1e-12)
    torch.testing.assert_close(optimum.init, mean)
    # GD-0 sees the shared mean as variance of the weights.
    from_zero = optimal_learned_init(eye, eye + mean[:, None] * mean, 0 * mean, 0.0, n_pairs)
    np.testing.assert_allclose(from_zero.risk, gd0, rtol=1e-3)


def covariances(n_dims):
    generator = torch.Generator().manual_seed(9)
    x_factor = torch.randn(n_dims, n_dims - 1, generator=generator, dtype=torch.float64)  # singular H
    w_factor = torch.randn(n_dims, n_dims, generator=generator, dtype=torch.float64)
    return x_factor, w_factor


def test_the_optimal_start_has_its_risk_and_no_neighbour_is_better():
    x_factor, w_factor = covariances(4)
    generator = torch.Generator().manual_seed(2)
    mean = torch.ones(4, dtype=torch.float64)
    optimum = optimal_learned_init(x_factor @ x_factor.mT, w_factor @ w_factor.mT, mean, 0.7, 6)
    xs = torch.randn(40_000, 7, 3, generator=generator, dtype=torch.float64) @ x_factor.mT
    weights = mean + torch.randn(40_000, 4, generator=generator, dtype=torch.float64) @ w_factor.mT
    ys = (xs @ weights[..., None])[..., 0]
    ys = ys + 0.7 * torch.randn(40_000, 7, generator=generator, dtype=torch.float64)

    def loss(predictor):
        return float((predictor(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean())

    reached = loss(optimum.predictor())
    np.testing.assert_allclose(reached, optimum.risk, rtol=0.05)  # heavy tails: 40,000 prompts leave 2 %
    for factor in (0.8, 1.2):
        assert loss(gd_learned_init(mean, factor * optimum.preconditioner)) > reached
    assert loss(gd_learned_init(0 * mean, optimum.preconditioner)) > reached


def test_nothing_to_learn_gives_no_step():
    eye = torch.eye(3)
    optimum = optimal_learned_init(eye, 0 * eye, torch.ones(3), 0, 5)
    torch.testing.assert_close(optimum.preconditioner, 0 * eye)
    assert optimum.risk == 0.0


def test_gradients_flow_through_a_pool():
    # The sensitivity of a prediction to its query: finite differences of the same function.
    generator = torch.Generator().manual_seed(0)
    pool, xs = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 3), (2, 4, 3)))
    ys = (xs * pool[0]).sum(dim=2)
    predictor = discrete_mmse(pool, 0.7)
    inputs = xs.clone().requires_grad_()
    (found,) = torch.autograd.grad(predictor(inputs, ys, points=[-1]).sum(), inputs)
    for point in (1, 3):
        up, down = xs.clone(), xs.clone()
        up[:, point, 0] += 1e-6
        down[:, point, 0] -= 1e-6
        expected = (predictor(up, ys, points=[-1]) - predictor(down, ys, points=[-1]))[:, 0] / 2e-6
        torch.testing.assert_close(found[:, point, 0], expected, rtol=1e-6, atol=1e-6)  # of the differences


def test_noise_too_small_for_float64_counts_as_very_small():
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    xs, ys = torch.tensor([[[1.0, -1.0], [2.0, 4.0]]]), torch.tensor([[-1.0, 0.0]])
    torch.testing.assert_close(discrete_mmse(pool, 1e-300)(xs, ys), torch.tensor([[0.0, 4.0]]))


def test_gradients_reach_the_pool():
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    xs, ys = torch.randn(2, 4, 3, generator=generator).double(), torch.randn(2, 4, generator=generator).double()
    assert torch.autograd.gradcheck(lambda tasks: discrete_mmse(tasks, 0.5)(xs, ys), (pool,))
