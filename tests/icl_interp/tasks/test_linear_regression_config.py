import pytest
import torch
import yaml
from pydantic import ValidationError
from task_cases import SQUARE, TASKS

from icl_interp import LinearRegression

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@every_task
@pytest.mark.parametrize("mode", ["json", "python"])
def test_a_task_survives_yaml(task: LinearRegression, mode: str) -> None:
    text = yaml.safe_dump(task.model_dump(mode=mode))
    assert LinearRegression(**yaml.safe_load(text)) == task


@every_task
def test_a_task_survives_json(task: LinearRegression) -> None:
    assert LinearRegression.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize("other", [{"noise_std": 0.1}, {"x_cov": 2.0}, {"n_points": 4}], ids=str)
def test_tasks_that_differ_are_not_equal(other: dict[str, float]) -> None:
    assert LinearRegression(3, **other) != LinearRegression(3)
    assert hash(LinearRegression(3, **other)) == hash(LinearRegression(3, **other))


def test_tensors_and_lists_say_the_same() -> None:
    assert LinearRegression(3, x_cov=SQUARE) == LinearRegression(3, x_cov=SQUARE.tolist())
    assert LinearRegression(3, w_mean=torch.ones(3)) == LinearRegression(3, w_mean=[1, 1, 1])


@pytest.mark.parametrize(
    ("value", "matrix"),
    [
        (None, [[1.0, 0.0], [0.0, 1.0]]),
        (3.0, [[3.0, 0.0], [0.0, 3.0]]),
        ([1.0, 2.0], [[1.0, 0.0], [0.0, 2.0]]),
        ([[2.0, 1.0], [1.0, 2.0]], [[2.0, 1.0], [1.0, 2.0]]),
    ],
    ids=["None", "number", "diagonal", "matrix"],
)
def test_each_way_to_write_a_covariance(value: object, matrix: list[list[float]]) -> None:
    task = LinearRegression(2, x_cov=value, w_cov=value)
    expected = torch.tensor(matrix, dtype=torch.float64)
    torch.testing.assert_close(task.input_cov, expected, rtol=0, atol=0)
    torch.testing.assert_close(task.weight_cov, expected, rtol=0, atol=0)


def test_each_way_to_write_a_mean() -> None:
    task = LinearRegression(2, x_mean=3, w_mean=[1, 2])
    torch.testing.assert_close(task.input_mean, torch.tensor([3.0, 3.0], dtype=torch.float64), rtol=0, atol=0)
    torch.testing.assert_close(task.weight_mean, torch.tensor([1.0, 2.0], dtype=torch.float64), rtol=0, atol=0)


def test_a_task_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        LinearRegression(2).noise_std = 1.0  # type: ignore[misc]  # that is the point


REFUSED = {
    "no dimension": ({"n_dims": 0}, "n_dims\n.*greater than or equal to 1"),
    "unknown key": ({"noise": 0.1}, "noise\n.*Extra inputs are not permitted"),
    "negative noise": ({"noise_std": -0.1}, "noise_std\n.*greater than or equal to 0"),
    "NaN noise": ({"noise_std": float("nan")}, "noise_std\n"),
    "infinite noise": ({"noise_std": float("inf")}, "noise_std\n.*finite number"),
    "no point": ({"n_points": 0}, "n_points\n.*greater than or equal to 1"),
    "word": ({"x_mean": "large"}, "x_mean"),
    "mean too short": ({"x_mean": [1.0, 2.0]}, r"x_mean needs one number or 3 finite numbers, got \(1.0, 2.0\)"),
    "infinite mean": ({"w_mean": float("inf")}, "w_mean needs one number or 3 finite numbers, got inf"),
    "diagonal too short": ({"w_cov": [1.0, 2.0]}, r"w_cov needs None, .* a 3 x 3 matrix, .*got shape \(2,\)"),
    "diagonal of one": ({"w_cov": [1.0]}, r"w_cov needs None, .*got shape \(1,\)"),
    "matrix too small": ({"x_cov": [[1.0]]}, r"x_cov needs None, .*got shape \(1, 1\)"),
    "flat matrix": ({"x_cov": torch.ones(2, 3)}, r"x_cov needs None, .*got shape \(2, 3\)"),
    "ragged matrix": ({"x_cov": [[1.0, 0.0, 0.0], [0.0, 1.0], [0.0]]}, "expected sequence of length 3"),
    "NaN covariance": ({"x_cov": [1.0, 1.0, float("nan")]}, "x_cov needs None, .*all finite"),
    "asymmetric": ({"x_cov": [[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "x_cov needs a symmetric matrix"),
    "negative number": ({"w_cov": -1.0}, "w_cov needs a positive semi-definite matrix, got a negative eigenvalue"),
    "slightly negative": ({"w_cov": -1e-7}, "w_cov needs a positive semi-definite matrix"),
    "negative diagonal": ({"w_cov": [1.0, -1.0, 0.0]}, "w_cov needs a positive semi-definite matrix"),
    "indefinite": ({"x_cov": [[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "x_cov needs a positive semi-"),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        LinearRegression(**{"n_dims": 3, **fields})


def test_a_refusal_is_a_pydantic_error() -> None:
    with pytest.raises(ValidationError) as caught:
        LinearRegression(3, noise_std=-1.0, n_points=0, noise=2.0)
    assert {problem["loc"] for problem in caught.value.errors()} == {("noise_std",), ("n_points",), ("noise",)}


def test_all_shapes_that_do_not_fit_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"x_mean needs .* x_cov needs .* w_mean needs .* w_cov needs"):
        LinearRegression(3, x_mean=[1.0], x_cov=[1.0], w_mean=[1.0, 2.0], w_cov=-1.0)


def test_rounding_of_float32_is_not_a_negative_eigenvalue() -> None:
    task = LinearRegression(3, x_cov=[1.0, -1e-9, 0.0])
    assert bool(task.sample(5, seed=0).xs.isfinite().all())
    torch.testing.assert_close(task.input_cov.diagonal()[1:], torch.zeros(2, dtype=torch.float64), rtol=0, atol=0)
