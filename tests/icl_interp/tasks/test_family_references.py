"""The reference predictors of every family: there, distinct, and none better than Bayes on its own task."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from task_cases import FAMILY_CASES

from icl_interp import (
    AffineRecurrence,
    LinearRegression,
    QuadraticRegression,
    SparseLinearRegression,
    TaskPool,
    UniformRegression,
    predictors,
    reference_predictors,
)
from icl_interp.figures.theme import predictor_style
from icl_interp.predictors.references import References
from icl_interp.prompts import derive_seed
from icl_interp.tasks.references import _LASSO_GRID, bayes_penalty, lasso_losses, lasso_penalty

ELSEWHERE = {name: task for name, task in FAMILY_CASES.items() if not isinstance(task, LinearRegression)}
EXTRA = {
    "pool": ["Bayes = dMMSE"],
    "sparse": ["ridge", "Lasso", "reweighted 10-step GD"],
    "balanced features": ["ridge = Bayes", "10-step GD"],
    "recurrence": ["oracle", "copy last", "extrapolation"],
    "uniform": ["least squares = ridge = Bayes", "averaging", "3 nearest neighbours", "5-step GD++"],
    "ill-conditioned": ["10-step Newton", "5-step GD++", "online GD"],
    "sine": ["context mean", "3 nearest neighbours"],
    "network": ["averaging", "3 nearest neighbours"],
    "tree": ["averaging", "3 nearest neighbours"],
    "quadratic": ["Bayes", "3 nearest neighbours"],
}


@pytest.fixture(scope="module")
def references() -> dict[str, References]:
    return {name: reference_predictors(task) for name, task in ELSEWHERE.items()}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_lists_begin_with_zero_and_have_a_least_squares(references: dict, name: str) -> None:
    names = list(references[name])
    assert names[0] == "zero"
    assert sum(n.startswith("least squares") for n in names) == 1


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_answers_and_has_a_style(references: dict, name: str) -> None:
    prompts = ELSEWHERE[name].sample(3, seed=1)
    styles = []
    for label, predictor in references[name].items():
        answer = predictor(prompts.xs, prompts.ys)
        assert bool(answer.isfinite().all())
        last = predictor(prompts.xs, prompts.ys, points=[-1])
        torch.testing.assert_close(last[:, 0], answer[:, -1])
        styles.append(predictor_style(label))
    assert len(set(styles)) == len(styles)


@pytest.mark.parametrize("name", EXTRA)
def test_what_matters_for_the_family_is_there(references: dict, name: str) -> None:
    assert set(EXTRA[name]) <= set(references[name])


WITHOUT_BAYES = {"sparse", "sparse correlated", "dense after all", "recurrence", "noisy recurrence"}
WITHOUT_BAYES |= {"sine", "loud sine", "network", "tree", "stump"}
WITH_BAYES = [name for name in ELSEWHERE if name not in WITHOUT_BAYES]


@pytest.mark.parametrize("name", WITH_BAYES)
def test_bayes_has_the_smallest_error_on_its_own_task(references: dict, name: str) -> None:
    prompts = ELSEWHERE[name].sample(1000, seed=1)
    errors = {n: (f(prompts.xs, prompts.ys) - prompts.ys).square() for n, f in references[name].items()}
    bayes = references[name].shown("Bayes")
    for error in errors.values():
        # Five standard errors of the paired difference over prompts, and 1e-5 for float32.
        excess = (error - errors[bayes]).mean(1).double()
        assert float(excess.mean()) >= -5 * float(excess.std()) / len(prompts) ** 0.5 - 1e-5


def test_the_oracle_solves_recurrences_from_two_pairs_on(references: dict) -> None:
    prompts = AffineRecurrence().sample(200, seed=1)
    error = (references["recurrence"]["oracle"](prompts.xs, prompts.ys) - prompts.ys).abs()
    assert float(error[:, 2:].median()) < 1e-5
    assert float(error[:, 1].median()) > 0.1


@pytest.mark.parametrize("name", ["pool", "pool of one"])
def test_dmmse_is_found_by_each_of_its_names(name: str) -> None:
    found = reference_predictors({"pool": TaskPool(3, 8, noise_std=0.5), "pool of one": TaskPool(3, 1)}[name])
    assert found["dMMSE"] is found["Bayes"]
    assert found.optimal == found.shown("dMMSE") == found.shown("Bayes")


def test_bayes_on_quadratics_reads_squares() -> None:
    task = QuadraticRegression(n_dims=2)
    bayes = reference_predictors(task)["Bayes"]
    prompts = task.sample(50, seed=1)
    error = (bayes(prompts.xs, prompts.ys) - prompts.ys).abs()[:, 2:]
    assert float(error.median()) < 1e-4  # two squares determine two weights; float32
    assert bayes.name.endswith("on squares")


def test_the_lasso_uses_sparsity() -> None:
    task = SparseLinearRegression(n_dims=8, n_nonzero=1, noise_std=0.1)
    references, prompts = reference_predictors(task), task.sample(30, seed=1)
    error = {n: float((f(prompts.xs, prompts.ys) - prompts.ys)[:, 4:9].square().mean()) for n, f in references.items()}
    assert error["Lasso"] < 0.5 * error["ridge"]


def test_the_losses_of_the_lassos_penalties_are_those_of_the_predictor() -> None:
    prompts = SparseLinearRegression(n_dims=4, n_nonzero=1, noise_std=0.3).sample(10, seed=0)
    losses = lasso_losses(prompts)
    unit = float(prompts.xs.square().mean().sqrt() * prompts.ys.square().mean().sqrt())
    np.testing.assert_allclose(list(losses), [unit * share for share in _LASSO_GRID], rtol=1e-6)  # float32 means
    for penalty in list(losses)[:6]:
        said = predictors.lasso(penalty)(prompts.xs, prompts.ys)[:, [2, 4]]
        expected = float((said - prompts.ys[:, [2, 4]]).double().square().mean())
        np.testing.assert_allclose(losses[penalty], expected, rtol=2e-2)  # their duality gaps are 1e-4 and 1e-8


@pytest.mark.parametrize(
    "task",
    [
        SparseLinearRegression(n_dims=20),
        SparseLinearRegression(n_dims=20, noise_std=0.5),
    ],
    ids=lambda task: f"{task.n_dims}, noise {task.noise_std}",
)
def test_the_lassos_penalty_is_inside_the_grid_and_nearly_the_best(task: SparseLinearRegression) -> None:
    prompts = task.sample(128, seed=5)
    losses, chosen = lasso_losses(prompts), lasso_penalty(prompts)
    assert max(losses) > chosen > min(losses)
    assert losses[chosen] <= 1.01 * min(losses.values())
    assert all(loss > 1.01 * min(losses.values()) for penalty, loss in losses.items() if penalty > chosen)
    # The unit of the grid follows the labels and the inputs.
    scaled = lasso_losses(replace(prompts[:4], xs=3 * prompts.xs[:4], ys=2 * prompts.ys[:4], ws=None))
    np.testing.assert_allclose(list(scaled), 6 * np.array(list(lasso_losses(prompts[:4]))), rtol=1e-6)  # float32


def test_labels_of_zero_leave_the_lasso_without_a_unit() -> None:
    prompts = SparseLinearRegression(n_dims=4).sample(4, seed=0)
    with pytest.raises(ValueError, match="lasso_losses needs inputs and labels that are not all zero, got zeros"):
        lasso_losses(replace(prompts, ys=0 * prompts.ys))


def test_the_lassos_penalty_needs_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match="lasso_losses needs scikit-learn; run `pip install scikit-learn`"):
        lasso_losses(SparseLinearRegression(n_dims=4).sample(4, seed=0))


def test_references_are_built_once_for_each_task_and_length() -> None:
    task = SparseLinearRegression(n_dims=6, n_nonzero=1, noise_std=0.1)
    first, again = reference_predictors(task), reference_predictors(task.model_copy())
    assert first["Lasso"] is again["Lasso"]  # and with it the fits that it remembers
    assert reference_predictors(task, n_points=task.default_points)["Lasso"] is first["Lasso"]
    assert reference_predictors(task, n_points=5)["1-step GD"] != first["1-step GD"]
    prompts = task.sample(2, seed=0)
    torch.testing.assert_close(first.answer("Lasso", prompts), again.answer("Lasso", prompts), rtol=0, atol=0)


def test_pools_too_large_to_keep_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = TaskPool(2, 40, n_points=3)
    assert reference_predictors(pool)["Bayes = dMMSE"] is reference_predictors(pool)["Bayes = dMMSE"]
    monkeypatch.setattr("icl_interp.tasks.references._REMEMBERED_POOL", 39)
    assert reference_predictors(pool)["Bayes = dMMSE"] is not reference_predictors(pool)["Bayes = dMMSE"]


@pytest.mark.parametrize("n_points", [1, 4, 11, 30])
def test_step_sizes_are_those_of_the_number_of_points(n_points: int) -> None:
    task = UniformRegression(n_dims=3)
    prompts = task.sample(256, max(2, n_points), seed=derive_seed(0, "reference predictors"))
    step = predictors.best_constant_step(prompts.xs, prompts.ys, 1, normalise="sum").step_size
    found = reference_predictors(task, n_points=n_points)["1-step GD"]
    assert found == predictors.gradient_descent(1, step, normalise="sum")


def test_gd_plus_plus_of_uniform_inputs_is_derived_and_better_than_as_many_plain_steps() -> None:
    task = UniformRegression(n_dims=10)
    sample = task.sample(256, seed=derive_seed(0, "reference predictors"))
    best = predictors.best_gd_plus_plus(sample.xs, sample.ys, 5, normalise="sum", bounded=True)
    found = reference_predictors(task)["5-step GD++"]
    assert found == best.predictor()
    plain = predictors.best_constant_step(sample.xs, sample.ys, 5, normalise="sum").predictor()
    prompts = task.sample(2000, seed=1)
    errors = [float((f(prompts.xs, prompts.ys) - prompts.ys)[:, -1].square().mean()) for f in (found, plain)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("task", "penalty"),
    [(TaskPool(4, 2, noise_std=0.5), 0.25), (SparseLinearRegression(n_dims=6, n_nonzero=3, noise_std=0.5), 0.5)],
    ids=repr,
)
def test_bayes_penalty_of_pools_and_sparse_weights(task: TaskPool, penalty: float) -> None:
    assert bayes_penalty(task) == pytest.approx(penalty)


def test_a_large_pool_takes_seconds() -> None:
    pool = TaskPool(8, 2**15, noise_std=0.5, n_points=8)
    assert "Bayes = dMMSE" in reference_predictors(pool)
