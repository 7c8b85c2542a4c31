"""What every task of every family obeys; a new family is one line in task_cases."""

import pytest
import torch
import yaml
from task_cases import FAMILY_CASES

from icl_interp.prompts import PromptSource
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.registry import TASKS, task_from_config, task_to_config

every_task = pytest.mark.parametrize("task", FAMILY_CASES.values(), ids=FAMILY_CASES)
FUNCTIONS = {name: task for name, task in FAMILY_CASES.items() if isinstance(task, FunctionTask)}
every_function = pytest.mark.parametrize("task", FUNCTIONS.values(), ids=FUNCTIONS)
LINEAR = {name: task for name, task in FAMILY_CASES.items() if isinstance(task, LinearTask)}
every_linear = pytest.mark.parametrize("task", LINEAR.values(), ids=LINEAR)
N = 20_000


def assert_same(actual: torch.Tensor | None, expected: torch.Tensor | None) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_every_family_has_a_case() -> None:
    assert {task.family for task in FAMILY_CASES.values()} == set(TASKS)


@every_task
def test_sample_is_a_pure_function(task: Task) -> None:
    before = torch.get_rng_state()
    first = task.sample(5, seed=3)
    task.sample(7, 2, seed=4)
    again = task.sample(5, seed=3)
    other = task.sample(5, seed=4)
    assert_same(again.xs, first.xs)
    assert_same(again.ys, first.ys)
    assert [first.ws is None, again.ws is None] == [not isinstance(task, LinearTask)] * 2
    assert_same(torch.get_rng_state(), before)
    assert isinstance(task, PromptSource)
    # Where all is zero or one feature there is nothing to differ.
    assert torch.equal(first.ys, other.ys) == (task == FAMILY_CASES["all zero"])


@every_task
def test_sizes_and_dtype(task: Task) -> None:
    prompts = task.sample(4, seed=0)
    assert prompts.xs.shape == (4, task.default_points, task.n_dims)
    assert {prompts.xs.dtype, prompts.ys.dtype} == {torch.float32}
    assert task.sample(1, 1, seed=0).xs.shape == (1, 1, task.n_dims)
    assert prompts.source == f"{type(task).__name__}, seed 0"
    assert bool(prompts.xs.isfinite().all() and prompts.ys.isfinite().all())


@every_task
def test_own_length_overrules_the_familys(task: Task) -> None:
    assert task.model_copy(update={"n_points": 5}).sample(2, seed=0).n_points == 5


@every_task
def test_label_second_moment_is_what_samples_have(task: Task) -> None:
    squares = task.sample(N, seed=1).ys.double().square().mean(1)
    # Five standard errors over prompts, and float32.
    tolerance = 5 * float(squares.std()) / N**0.5 + 1e-6
    assert task.label_second_moment() == pytest.approx(float(squares.mean()), abs=tolerance)


@every_task
def test_a_task_survives_yaml(task: Task) -> None:
    config = yaml.safe_load(yaml.safe_dump(task_to_config(task)))
    assert config["family"] == task.family
    assert task_from_config(config) == task
    assert type(task)(**config) == task
    assert hash(task_from_config(config)) == hash(task)


@every_task
def test_unknown_keys_are_refused_by_the_class_too(task: Task) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        type(task)(**{**task_to_config(task), "noize": 1})


@every_task
def test_describe_is_one_clause(task: Task) -> None:
    assert task.describe()
    assert not task.describe().endswith(".")
    assert "\n" not in task.describe()


@every_task
@pytest.mark.parametrize("counts", [(0, None), (2, 0)], ids=str)
def test_sample_refuses_to_draw_nothing(task: Task, counts: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match=r"sample needs at least one prompt and one point, got .*; ask for more"):
        task.sample(*counts, seed=0)


@every_function
def test_functions_of_a_seed_do_not_depend_on_the_points(task: FunctionTask) -> None:
    prompts = task.model_copy(update={"noise_std": 0.0}).sample(6, 5, seed=0)
    alone = task.draw_labels(prompts.xs[:, 3:4], seed=0).ys
    # One product of float32 numbers of order 10, summed in another order.
    torch.testing.assert_close(alone[:, 0], prompts.ys[:, 3], rtol=1e-5, atol=1e-5)


@every_function
def test_noise_is_added_to_the_same_functions(task: FunctionTask) -> None:
    quiet, loud = (task.model_copy(update={"noise_std": std}) for std in (0.0, 2.0))
    before, after = quiet.sample(N // 4, 1, seed=0), loud.sample(N // 4, 1, seed=0)
    assert_same(after.xs, before.xs)
    # The standard error of a standard deviation is sigma / sqrt(2 n) = 1 % of sigma; five of them.
    torch.testing.assert_close((after.ys - before.ys).std(), torch.tensor(2.0), rtol=0.05, atol=0)
    assert loud.label_second_moment() == pytest.approx(quiet.label_second_moment() + 4)


@every_function
def test_inputs_have_the_stated_mean(task: FunctionTask) -> None:
    xs = task.sample(N, 1, seed=0).xs[:, 0].double()
    # Five standard errors, and float32.
    tolerance = 5 * float(xs.std(0).max()) / N**0.5 + 1e-5
    torch.testing.assert_close(xs.mean(0), task.input_mean, rtol=0, atol=tolerance)


@every_linear
def test_linear_tasks_have_the_stated_second_moments(task: LinearTask) -> None:
    prompts = task.sample(N, 1, seed=0)
    for seen, stated in (
        (prompts.xs[:, 0].double(), task.input_second_moment),
        (prompts.ws.double(), task.weight_second_moment),
    ):
        products = torch.einsum("bd,be->bde", seen, seen)
        # Five standard errors, and float32.
        tolerance = 5 * float(products.std(0).max()) / N**0.5 + 1e-5
        torch.testing.assert_close(products.mean(0), stated, rtol=0, atol=tolerance)
    tolerance = 5 * float(prompts.ws.std(0).max()) / N**0.5 + 1e-5
    torch.testing.assert_close(prompts.ws.double().mean(0), task.weight_mean, rtol=0, atol=tolerance)


@every_linear
def test_linear_labels_are_products(task: LinearTask) -> None:
    prompts = task.model_copy(update={"noise_std": 0.0}).sample(6, seed=2)
    products = (prompts.xs * prompts.ws[:, None]).sum(-1)
    # Sums of float32 numbers of order 10.
    torch.testing.assert_close(prompts.ys, products, rtol=1e-5, atol=1e-5)


@every_linear
def test_input_rank_is_the_span_of_many_inputs(task: LinearTask) -> None:
    xs = task.sample(1, 200, seed=0).xs[0].double()
    # Rounding of float32 inputs.
    assert int(torch.linalg.matrix_rank(xs, rtol=1e-5)) == task.input_rank
