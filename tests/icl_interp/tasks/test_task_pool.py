"""Finite pools: nesting, and the numbers of transient-structure experiments."""

import numpy as np
import pytest
import torch

from icl_interp import LinearRegression, TaskPool, predictors, reference_predictors
from icl_interp.tasks import task_pool
from icl_interp.tasks.task_pool import _BLOCK

D, NOISE = 8, 0.125**0.5


def error(predictor: predictors.Predictor, task: TaskPool | LinearRegression, seed: int, n: int) -> torch.Tensor:
    prompts = task.sample(n, 16, seed=seed)
    return (predictor(prompts.xs, prompts.ys) - prompts.ys).double().square().mean(0)


@pytest.mark.parametrize("n_tasks", [1, 2, 7, _BLOCK - 1, _BLOCK, _BLOCK + 1, 3 * _BLOCK + 5])
def test_pools_are_nested(n_tasks: int) -> None:
    largest = TaskPool(3, 4 * _BLOCK).weights
    torch.testing.assert_close(TaskPool(3, n_tasks).weights, largest[:n_tasks], rtol=0, atol=0)
    torch.testing.assert_close(TaskPool(3, n_tasks).root, largest[0], rtol=0, atol=0)


def test_the_largest_pool_begins_with_the_smallest() -> None:
    pool = TaskPool(2, 2**20)
    assert pool.weights.shape == (2**20, 2)
    torch.testing.assert_close(pool.weights[:3], TaskPool(2, 3).weights, rtol=0, atol=0)
    # Standard errors of mean and variance are 1e-3 and 1.4e-3.
    torch.testing.assert_close(pool.weights.mean(0), torch.zeros(2), rtol=0, atol=5e-3)
    torch.testing.assert_close(pool.weights.var(0), torch.ones(2), rtol=0, atol=7e-3)


def test_pools_of_other_seeds_and_dimensions_differ() -> None:
    a, b = TaskPool(3, 4).weights, TaskPool(3, 4, pool_seed=1).weights
    assert float((a - b).abs().min()) > 0
    assert TaskPool(2, 4).weights.shape == (4, 2)


def test_the_pool_cannot_be_changed_from_outside() -> None:
    pool = TaskPool(3, 4)
    pool.weights.zero_()
    assert float(pool.weights.abs().min()) > 0


def test_tasks_are_drawn_evenly_from_the_pool() -> None:
    pool = TaskPool(3, 4)
    ws = pool.sample(8000, 1, seed=0).ws
    counts = (ws[:, None] == pool.weights).all(-1).sum(0)
    assert int(counts.sum()) == 8000
    # 2000 each, standard deviation 39; five of these.
    torch.testing.assert_close(counts, torch.full((4,), 2000), rtol=0, atol=195)


def test_a_pool_shares_inputs_and_noise_with_unlimited_tasks() -> None:
    pool, unlimited = (
        TaskPool(3, 4, noise_std=0.5).sample(5, seed=0),
        LinearRegression(3, noise_std=0.5).sample(5, seed=0),
    )
    torch.testing.assert_close(pool.xs, unlimited.xs, rtol=0, atol=0)
    noises = [p.ys - (p.xs * p.ws[:, None]).sum(-1) for p in (pool, unlimited)]
    # Differences of float32 labels of order 10.
    torch.testing.assert_close(noises[0], noises[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_tasks": 0}, "n_tasks\n.*greater than or equal to 1"),
        ({"n_tasks": 2**20 + 1}, "n_tasks\n.*less than or equal to 1048576"),
        ({"noise_std": -1.0}, "noise_std\n.*greater than or equal to 0"),
    ],
    ids=str,
)
def test_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskPool(**{"n_dims": 3, "n_tasks": 2, **fields})


def test_one_known_task_leaves_the_noise() -> None:
    pool = TaskPool(D, 1, noise_std=NOISE)
    losses = error(reference_predictors(pool)["Bayes = dMMSE"], pool, 0, 4000)
    # 64 000 squares of variance 2 sigma^4: standard error 0.6 %.
    np.testing.assert_allclose(float(losses.mean()), NOISE**2, rtol=0.03)


def test_ridge_without_examples_errs_by_all_of_the_labels() -> None:
    task = LinearRegression(D, noise_std=NOISE)
    assert task.label_second_moment() == pytest.approx(D + NOISE**2, rel=1e-12)
    # Exactly: without pairs ridge predicts 0 whatever is asked.
    prompts = task.sample(10, 16, seed=0)
    first = reference_predictors(task)["ridge = Bayes"](prompts.xs, prompts.ys)[:, 0]
    torch.testing.assert_close(first, torch.zeros(10), rtol=0, atol=0)


def test_one_task_over_64_pools() -> None:
    unlimited = LinearRegression(D, noise_std=NOISE)
    outside, ridge_inside, ridge_outside = [], [], []
    ridge = predictors.ridge(NOISE**2)
    for pool_seed in range(64):
        pool = TaskPool(D, 1, noise_std=NOISE, pool_seed=pool_seed)
        outside.append(float(error(predictors.discrete_mmse(pool.weights, NOISE), unlimited, pool_seed, 128).mean()))
        ridge_inside.append(float(error(ridge, pool, 1000 + pool_seed, 128).mean()))
        ridge_outside.append(float(error(ridge, unlimited, pool_seed, 128).mean()))
    # |w - t|^2 is 2 chi^2(8): 64 pools leave 4.5 % of the mean; ridge's depends on |t|^2 alone, 6 %.
    np.testing.assert_allclose(np.mean(outside), 2 * D + NOISE**2, rtol=0.13)
    np.testing.assert_allclose(np.mean(ridge_inside), np.mean(ridge_outside), rtol=0.18)


@pytest.mark.parametrize(
    ("n_tasks", "inside", "ridge_inside", "outside", "n_prompts"),
    [
        pytest.param(512, 1.52, 2.62, 5.7, 2048, id="512"),
        pytest.param(32768, 2.27, 2.79, 3.7, 512, id="32768", marks=pytest.mark.slow),
    ],
)
def test_numbers_of_large_pools(
    n_tasks: int, inside: float, ridge_inside: float, outside: float, n_prompts: int
) -> None:
    unlimited = LinearRegression(D, noise_std=NOISE)
    losses = []
    for pool_seed in (0, 1, 2):
        pool = TaskPool(D, n_tasks, noise_std=NOISE, pool_seed=pool_seed)
        dmmse, ridge = predictors.discrete_mmse(pool.weights, NOISE), predictors.ridge(NOISE**2)
        losses.append([
            float(error(f, task, pool_seed, n_prompts).mean())
            for f, task in ((dmmse, pool), (ridge, pool), (dmmse, unlimited))
        ])
    # Theirs: one pool and 1024 sequences, stated to 5 %; ridge on 512 tasks varies as much again with the pool.
    np.testing.assert_allclose(np.mean(losses, axis=0), [inside, ridge_inside, outside], rtol=0.05)


def test_bayes_orthogonality_on_the_pool() -> None:
    pool = TaskPool(D, 16, noise_std=NOISE)
    prompts = pool.sample(8000, 16, seed=0)
    best, other = (
        f(prompts.xs, prompts.ys) for f in (predictors.discrete_mmse(pool.weights, NOISE), predictors.ridge(NOISE**2))
    )
    gap = ((other - prompts.ys).square() - (best - prompts.ys).square()).mean()
    # 8000 prompts: 1 % standard error.
    torch.testing.assert_close(gap, (other - best).square().mean(), rtol=0.03, atol=0)


def test_pools_of_one_seed_share_their_memory_and_large_ones_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pool, "_ROOTS", type(task_pool._ROOTS)())
    monkeypatch.setattr(task_pool, "_REMEMBERED_FLOATS", 3 * 2048)
    small, large = task_pool._pool(3, 5, 0), task_pool._pool(3, 2000, 0)
    torch.testing.assert_close(large[:5], small, rtol=0, atol=0)
    assert task_pool._pool(3, 7, 0).untyped_storage().data_ptr() == large.untyped_storage().data_ptr()
    assert list(task_pool._ROOTS) == [(3, 0)]
    task_pool._pool(3, 2000, 1)  # over the limit together: the older one goes, the last one stays
    assert list(task_pool._ROOTS) == [(3, 1)]
    task_pool._pool(3, 5000, 2)  # alone over the limit, and still there
    assert list(task_pool._ROOTS) == [(3, 2)]
    torch.testing.assert_close(task_pool._pool(3, 2000, 0), large, rtol=0, atol=0)  # drawn again, the same
