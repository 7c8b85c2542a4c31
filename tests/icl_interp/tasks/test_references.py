import pytest
import torch
from task_cases import FAMILY_CASES

from icl_interp import LinearRegression, Prompts, predictors, reference_predictors
from icl_interp.predictors.references import References
from icl_interp.prompts import derive_seed
from icl_interp.tasks.references import _merge_coinciding, bayes_penalty

GD = ["1-step GD", "10-step GD"]
REST = [*GD, "averaging", "3 nearest neighbours"]
TASKS = {
    "isotropic": LinearRegression(4),
    "isotropic noisy": LinearRegression(4, noise_std=0.5),
    "subspace": LinearRegression(4, w_cov=[2.0, 2.0, 0.0, 0.0]),
    "subspace noisy": LinearRegression(4, w_cov=[2.0, 2.0, 0.0, 0.0], noise_std=0.5),
    "weights around a mean": LinearRegression(4, w_mean=2.0, w_cov=0.5, noise_std=0.5),
    "skewed inputs": LinearRegression(4, x_cov=[4.0, 1.0, 0.25, 0.1], noise_std=0.5),
    "fixed weights": LinearRegression(4, w_mean=1.0, w_cov=0.0),
    "one dimension": LinearRegression(1, noise_std=0.5),
    "nothing": LinearRegression(2, w_cov=0.0),
}
NAMES = {
    "isotropic": ["zero", "least squares = ridge = Bayes", *REST],
    "isotropic noisy": ["zero", "least squares", "ridge = Bayes", *REST],
    "subspace": ["zero", "least squares = ridge", "Bayes", *REST],
    "subspace noisy": ["zero", "least squares", "ridge", "Bayes", *REST],
    "weights around a mean": ["zero", "least squares", "ridge", "Bayes", "GD-beta", "GD-0", *REST],
    "skewed inputs": ["zero", "least squares", "ridge = Bayes", *REST],
    "fixed weights": ["zero", "least squares = ridge", "Bayes = GD-beta", "GD-0", *REST],
    "one dimension": ["zero", "least squares", "ridge = Bayes", *REST],
    "nothing": ["zero = least squares = Bayes = 1-step GD = 10-step GD = averaging = 3 nearest neighbours"],
}


@pytest.fixture(scope="module")
def references() -> dict[str, References]:
    return {name: reference_predictors(task) for name, task in TASKS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_exactly_the_coinciding_ones_are_merged(references: dict, name: str) -> None:
    assert list(references[name]) == NAMES[name]


@pytest.mark.parametrize("name", TASKS)
def test_bayes_has_the_smallest_error_on_its_own_task(references: dict, name: str) -> None:
    prompts = TASKS[name].sample(4000, seed=1)
    errors = {
        names: (predictor(prompts.xs, prompts.ys) - prompts.ys).square()
        for names, predictor in references[name].items()
    }
    bayes = references[name].shown("Bayes")
    for error in errors.values():
        # Five standard errors of the paired difference over prompts, and 1e-6 for float32.
        excess = (error - errors[bayes]).mean(1).double()
        assert float(excess.mean()) >= -5 * float(excess.std()) / len(prompts) ** 0.5 - 1e-6


def test_bayes_loses_on_another_task(references: dict) -> None:
    # The control of the test above: on weights outside its subspace it is worse than least squares.
    prompts = LinearRegression(4, w_cov=[0.0, 0.0, 2.0, 2.0]).sample(500, seed=1)
    error = {n: (f(prompts.xs, prompts.ys) - prompts.ys).square().mean() for n, f in references["subspace"].items()}
    assert error["Bayes"] > 2 * error["least squares = ridge"]


@pytest.mark.parametrize("name", [name for name in TASKS if name != "nothing"])
def test_ten_steps_of_gradient_descent_are_better_than_one_and_one_than_none(references: dict, name: str) -> None:
    # On the very prompts that chose the step sizes: on fresh ones a rare prompt with large inputs may diverge.
    prompts = TASKS[name].sample(256, seed=derive_seed(0, "reference predictors"))
    zero, one, ten = (
        float((references[name][n](prompts.xs, prompts.ys) - prompts.ys).square().mean()) for n in ("zero", *GD)
    )
    assert ten < one < zero


def test_references_are_the_same_each_time() -> None:
    prompts = TASKS["subspace noisy"].sample(5, seed=0)
    before = torch.get_rng_state()
    first, again = reference_predictors(TASKS["subspace noisy"]), reference_predictors(TASKS["subspace noisy"])
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    for name in first:
        torch.testing.assert_close(first[name](prompts.xs, prompts.ys), again[name](prompts.xs, prompts.ys))


@pytest.mark.parametrize(
    ("task", "penalty"),
    [
        # noise_std^2 * n_dims / E|w|^2
        (LinearRegression(4, noise_std=0.5), 0.25 * 4 / 4),
        (LinearRegression(4, noise_std=0.5, w_cov=[1.0, 1.0, 0.0, 0.0]), 0.25 * 4 / 2),
        (LinearRegression(2, noise_std=2.0, w_cov=[[3.0, 1.0], [1.0, 5.0]], w_mean=7.0), 4.0 * 2 / (8 + 2 * 49)),
        (LinearRegression(4), 0.0),
    ],
    ids=["isotropic", "subspace", "matrix", "no noise"],
)
def test_bayes_penalty_is_the_formula(task: LinearRegression, penalty: float) -> None:
    assert bayes_penalty(task) == penalty


def test_bayes_penalty_needs_weights_that_are_not_all_zero() -> None:
    with pytest.raises(ValueError, match="needs weights that are not all zero, got a zero w_mean and w_cov"):
        bayes_penalty(LinearRegression(3, w_cov=0.0))


def test_merging_keeps_order_and_the_first_predictor() -> None:
    candidates = {"a": predictors.zero(), "b": predictors.least_squares(), "c": predictors.ridge(0.0)}
    prompts = LinearRegression(3).sample(20, seed=0)
    merged = References(_merge_coinciding(candidates, prompts))
    assert list(merged) == ["a", "b = c"]
    assert merged["c"] is merged["b = c"] is candidates["b"]


def test_what_agrees_only_where_labels_fit_exactly_is_not_merged() -> None:
    # x = 1 and one label a prompt: one label and the mean of all are the same until labels have noise.
    prompts = Prompts(xs=torch.ones(4, 3, 1), ys=torch.tensor([[1.0], [2.0], [-1.0], [4.0]]).expand(4, 3).contiguous())
    candidates = {"a": predictors.least_squares(), "b": predictors.nearest_neighbors(1), "c": predictors.context_mean()}
    said = [f(prompts.xs, prompts.ys) for f in candidates.values()]
    for other in said[1:]:
        torch.testing.assert_close(other, said[0], rtol=1e-6, atol=1e-6)  # rounding of float32
    assert list(References(_merge_coinciding(candidates, prompts))) == ["a = c", "b"]


def descents(task: LinearRegression) -> tuple[float, float, float]:
    """The best steps for one and ten steps, and 1.5 over the largest eigenvalue of X'X in the sample."""
    prompts = task.sample(256, seed=derive_seed(0, "reference predictors"))
    best = [predictors.best_constant_step(prompts.xs, prompts.ys, n, normalise="sum").step_size for n in (1, 10)]
    largest = max(float(torch.linalg.eigvalsh(xs.T @ xs)[-1]) for xs in prompts.xs.double())
    return (*best, 1.5 / largest)


@pytest.mark.parametrize("name", ["isotropic", "isotropic noisy", "skewed inputs", "one dimension"])
def test_ten_steps_are_held_where_they_cannot_diverge_and_one_step_is_not(references: dict, name: str) -> None:
    one, ten, stable = descents(TASKS[name])
    prompts = TASKS[name].sample(20, seed=1)
    for predictor, steps, size in ((GD[0], 1, one), (GD[1], 10, min(ten, stable))):
        expected = predictors.gradient_descent(steps, size, normalise="sum")(prompts.xs, prompts.ys)
        # the step to float64 rounding, predictions in float32
        torch.testing.assert_close(references[name][predictor](prompts.xs, prompts.ys), expected, rtol=1e-4, atol=1e-5)


def test_some_task_reaches_the_hold() -> None:
    # The control of the test above.
    held = {name for name in ("isotropic", "isotropic noisy", "skewed inputs", "one dimension")
            if descents(TASKS[name])[1] > descents(TASKS[name])[2]}  # fmt: skip
    assert held


@pytest.mark.parametrize(("penalty", "names"), [(1.3e-4, ["a = b"]), (1.5e-4, ["a", "b"])], ids=["near", "far"])
def test_merging_is_by_root_mean_square_relative_to_the_labels(penalty: float, names: list[str]) -> None:
    # x = 1, y = 10 and one pair: ridge predicts 0 and then 10 / (1 + penalty). The root mean square of the two
    # differences is 10 penalty / sqrt(2), and 1e-4 of the labels' is 1e-3: the border is at penalty 1.414e-4.
    prompts = Prompts(xs=torch.ones(2, 2, 1), ys=torch.full((2, 2), 10.0))
    candidates = {"a": predictors.least_squares(), "b": predictors.ridge(penalty)}
    assert list(References(_merge_coinciding(candidates, prompts))) == names


@pytest.mark.filterwarnings("ignore:Objective did not converge")  # scikit-learn says so for the Lasso
@pytest.mark.parametrize(
    "task",
    [*FAMILY_CASES.values(), LinearRegression(3, x_cov=0.0), LinearRegression(3, x_cov=0.0, w_mean=1.0)],
    ids=str,
)
def test_every_legal_task_has_references_that_answer(task):
    prompts = task.sample(3, seed=5)
    named = reference_predictors(task)
    assert "zero" in next(iter(named))
    assert any("least squares" in name for name in named)
    for predictor in named.values():
        assert bool(predictor(prompts.xs, prompts.ys, points=[-1]).isfinite().all())


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="reference_predictors needs n_points to be at least 1, got 0; leave it out"):
        reference_predictors(LinearRegression(3), n_points=0)
