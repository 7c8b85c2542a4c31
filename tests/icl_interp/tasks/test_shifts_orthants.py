import pytest
import torch
from task_cases import TASKS

from icl_interp import LinearRegression
from icl_interp.tasks.shifts.sources import RandomOrthants

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@every_task
def test_inputs_are_folded_and_everything_else_is_shared(task: LinearRegression) -> None:
    base, folded = task.sample(20, seed=0), RandomOrthants(task).sample(20, seed=0)
    torch.testing.assert_close(folded.xs.abs(), base.xs.abs(), rtol=0, atol=0)
    torch.testing.assert_close(folded.ws, base.ws, rtol=0, atol=0)
    change = torch.einsum("bpd,bd->bp", folded.xs - base.xs, base.ws)
    # Labels of order 10 in float32.
    torch.testing.assert_close(folded.ys - base.ys, change, rtol=1e-5, atol=1e-5)
    assert folded.source == f"{base.source}, random orthants"


@every_task
def test_all_inputs_of_a_prompt_share_their_signs(task: LinearRegression) -> None:
    signs = RandomOrthants(task).sample(20, seed=0).xs.sign()
    torch.testing.assert_close(signs, signs[:, :1].expand_as(signs), rtol=0, atol=0)


def test_orthants_are_uniform() -> None:
    n = 8000
    signs = RandomOrthants(LinearRegression(3)).sample(n, 1, seed=0).xs[:, 0].sign()
    counts = torch.bincount(((signs > 0).float() @ torch.tensor([1.0, 2.0, 4.0])).long(), minlength=8)
    # Eight orthants of n / 8 = 1000 prompts each, standard deviation 30; five of these.
    torch.testing.assert_close(counts.double(), torch.full((8,), n / 8).double(), rtol=0, atol=150)


@every_task
def test_label_second_moment_is_what_samples_have(task: LinearRegression) -> None:
    source, n = RandomOrthants(task), 20_000
    squares = source.sample(n, 1, seed=1).ys.double().square()
    # Five standard errors of the mean, and float32.
    tolerance = 5 * float(squares.std()) / n**0.5 + 1e-6
    assert source.label_second_moment() == pytest.approx(float(squares.mean()), abs=tolerance)


def test_label_second_moment_is_the_formula() -> None:
    task = LinearRegression(
        2, x_cov=[[2.0, 1.0], [1.0, 3.0]], x_mean=[1.0, 0.0], w_cov=[1.0, 2.0], w_mean=1.0, noise_std=0.5
    )
    # Diagonals of E[xx'] and E[ww'] are (3, 3) and (2, 3): 3 * 2 + 3 * 3, plus 0.25.
    assert RandomOrthants(task).label_second_moment() == 15.25


def test_counts_are_the_tasks_own() -> None:
    assert RandomOrthants(LinearRegression(3, n_points=4)).sample(2, seed=0).n_points == 4
    assert RandomOrthants(LinearRegression(3)).sample(2, 5, seed=0).n_points == 5
    with pytest.raises(ValueError, match="sample needs at least one prompt and one point"):
        RandomOrthants(LinearRegression(3)).sample(0, seed=0)
