"""The reference predictors of every family: there, distinct, and none better than Bayes on its own task."""

import pytest
import torch
from task_cases import FAMILY_CASES

from icl_interp import (
    AffineRecurrence,
    LinearRegression,
    QuadraticRegression,
    SparseLinearRegression,
    TaskPool,
    predictors,
    reference_predictors,
)
from icl_interp.measure.roles import predictor_style
from icl_interp.predictors.protocol import Predictor
from icl_interp.tasks.references import LASSO_PENALTIES, bayes_penalty, lasso_penalty

ELSEWHERE = {name: task for name, task in FAMILY_CASES.items() if not isinstance(task, LinearRegression)}
EXTRA = {
    "pool": ["Bayes = dMMSE"],
    "sparse": ["ridge", "Lasso", "reweighted 10-step GD"],
    "balanced features": ["ridge = Bayes", "10-step GD"],
    "recurrence": ["oracle", "copy last", "extrapolation"],
    "uniform": ["least squares = ridge = Bayes"],
    "ill-conditioned": ["least squares = ridge = Bayes", "10-step Newton"],
    "sine": ["context mean", "3 nearest neighbours"],
    "network": ["averaging", "3 nearest neighbours"],
    "tree": ["averaging", "3 nearest neighbours"],
    "quadratic": ["Bayes", "3 nearest neighbours"],
}


@pytest.fixture(scope="module")
def references() -> dict[str, dict[str, Predictor]]:
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
    (bayes,) = [n for n in errors if "Bayes" in n.split(" = ")]
    for error in errors.values():
        # Five standard errors of the paired difference over prompts, and 1e-5 for float32.
        excess = (error - errors[bayes]).mean(1).double()
        assert float(excess.mean()) >= -5 * float(excess.std()) / len(prompts) ** 0.5 - 1e-5


def test_the_oracle_solves_recurrences_from_two_pairs_on(references: dict) -> None:
    prompts = AffineRecurrence().sample(200, seed=1)
    error = (references["recurrence"]["oracle"](prompts.xs, prompts.ys) - prompts.ys).abs()
    assert float(error[:, 2:].median()) < 1e-5
    assert float(error[:, 1].median()) > 0.1


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


def test_the_lassos_penalty_is_the_best_of_its_list_on_the_sample() -> None:
    prompts = SparseLinearRegression(n_dims=4, n_nonzero=1, noise_std=0.3).sample(8, seed=0)
    chosen = lasso_penalty(prompts)
    losses = {}
    for penalty in LASSO_PENALTIES:
        said = predictors.lasso(penalty, tol=1e-4)(prompts.xs, prompts.ys)[:, [2, 4]]
        losses[penalty] = float((said - prompts.ys[:, [2, 4]]).square().mean())
    assert chosen == min(losses, key=losses.get)


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
