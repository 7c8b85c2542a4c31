import pytest
import torch
from task_cases import PLANE, TASKS
from torch import Tensor

from icl_interp import LinearRegression, Prompts
from icl_interp.prompts import stream
from icl_interp.tasks.linear_regression import symmetric_root

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
N = 20_000


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def clean_labels(prompts: Prompts) -> Tensor:
    return (prompts.xs * prompts.ws[:, None]).sum(-1)


def assert_moments(samples: Tensor, mean: Tensor, cov: Tensor) -> None:
    samples = samples.double()
    largest = float(cov.diagonal().max())
    # The standard error of a mean is sqrt(variance / N), of a covariance at most variance * sqrt(2 / N); five of each,
    # and 1e-5 for float32.
    atol = 5 * (largest / N) ** 0.5 + 1e-5
    torch.testing.assert_close(samples.mean(0), mean, rtol=0, atol=atol)
    # correction=0 leaves 1 x 1 covariances without a dimension.
    seen = samples.T.cov(correction=0).reshape(cov.shape)
    torch.testing.assert_close(seen, cov, rtol=0, atol=5 * largest * (2 / N) ** 0.5 + 1e-5)


@every_task
def test_sample_is_a_pure_function(task: LinearRegression) -> None:
    before = torch.get_rng_state()
    first = task.sample(5, seed=3)
    task.sample(7, 2, seed=4)
    again = task.sample(5, seed=3)
    for name in ("xs", "ys", "ws"):
        assert_same(getattr(again, name), getattr(first, name))
    assert_same(torch.get_rng_state(), before)


@every_task
def test_samples_are_literally_those_of_the_formula(task: LinearRegression) -> None:
    xs = torch.randn(6, 4, task.n_dims, generator=stream(3, "inputs"))
    xs = xs @ symmetric_root(task.input_cov).float() + task.input_mean.float()
    ws = torch.randn(6, task.n_dims, generator=stream(3, "weights"))
    ws = ws @ symmetric_root(task.weight_cov).float() + task.weight_mean.float()
    for _ in range(2):  # the law is worked out once and remembered
        prompts = task.sample(6, 4, seed=3)
        assert_same(prompts.xs, xs)
        assert_same(prompts.ws, ws)
        clean = torch.einsum("bpd,bd->bp", xs, ws)
        noise = task.noise_std * torch.randn(6, 4, generator=stream(3, "noise"))
        assert_same(prompts.ys, clean + noise)
        prompts.xs.zero_()  # what a caller does with a sample must not reach the next one
        prompts.ws.zero_()


@every_task
def test_sizes_and_dtype(task: LinearRegression) -> None:
    prompts = task.sample(4, seed=0)
    assert prompts.xs.shape == (4, task.default_points, task.n_dims)
    assert prompts.ys.shape == (4, task.default_points)
    assert prompts.ws.shape == (4, task.n_dims)
    assert {prompts.xs.dtype, prompts.ys.dtype, prompts.ws.dtype} == {torch.float32}
    assert task.sample(1, 1, seed=0).xs.shape == (1, 1, task.n_dims)
    assert "seed 0" in prompts.source


def test_the_usual_number_of_points() -> None:
    assert LinearRegression(4).default_points == 9
    assert LinearRegression(4, n_points=3).sample(2, seed=0).n_points == 3
    assert LinearRegression(4, n_points=3).sample(2, 5, seed=0).n_points == 5


@every_task
def test_inputs_and_weights_have_the_configured_moments(task: LinearRegression) -> None:
    prompts = task.sample(N, 1, seed=0)
    assert_moments(prompts.xs[:, 0], task.input_mean, task.input_cov)
    assert_moments(prompts.ws, task.weight_mean, task.weight_cov)


@every_task
def test_noise_has_the_configured_deviation(task: LinearRegression) -> None:
    prompts = task.sample(N, 1, seed=0)
    noise = prompts.ys - clean_labels(prompts)
    # The standard error of a standard deviation is sigma / sqrt(2 N) = 0.005 sigma; five of them, and 1e-6 for float32.
    torch.testing.assert_close(noise.std(), torch.tensor(task.noise_std), rtol=0.025, atol=1e-6)


@every_task
def test_points_of_a_prompt_are_independent(task: LinearRegression) -> None:
    xs = task.sample(N, 2, seed=0).xs.double() - task.input_mean
    # As in assert_moments.
    largest = float(task.input_cov.diagonal().max())
    cross = torch.einsum("bd,be->de", xs[:, 0], xs[:, 1]) / N
    torch.testing.assert_close(cross, torch.zeros_like(cross), rtol=0, atol=5 * largest * (2 / N) ** 0.5)


@every_task
def test_label_second_moment_is_what_samples_have(task: LinearRegression) -> None:
    squares = task.sample(N, 1, seed=1).ys.double().square()
    standard_error = float(squares.std()) / N**0.5
    assert task.label_second_moment() == pytest.approx(float(squares.mean()), abs=5 * standard_error + 1e-6)


def test_label_second_moment_is_the_formula() -> None:
    task = LinearRegression(
        2, x_cov=[[2.0, 1.0], [1.0, 3.0]], x_mean=[1.0, 0.0], w_cov=[1.0, 2.0], w_mean=1.0, noise_std=0.5
    )
    # E[xx'] = [[3, 1], [1, 3]] and E[ww'] = [[2, 1], [1, 3]]: tr = 6 + 1 + 1 + 9, plus 0.25.
    assert task.label_second_moment() == 17.25


BASE = LinearRegression(3, noise_std=0.5)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (LinearRegression(3, noise_std=2.0), ("xs", "ws")),
        (LinearRegression(3, noise_std=0.0), ("xs", "ws")),
        (LinearRegression(3, noise_std=0.5, w_cov=[1.0, 2.0, 0.0], w_mean=1.0), ("xs", "noise")),
        (LinearRegression(3, noise_std=0.5, x_cov=4.0, x_mean=1.0), ("ws", "noise")),
    ],
    ids=["more noise", "no noise", "other weights", "other inputs"],
)
def test_inputs_weights_and_noise_have_streams_of_their_own(other: LinearRegression, same: tuple[str, ...]) -> None:
    parts = []
    for task in (BASE, other):
        prompts = task.sample(6, seed=0)
        parts.append({"xs": prompts.xs, "ws": prompts.ws, "noise": prompts.ys - clean_labels(prompts)})
    for name in same:
        # Exact for xs and ws; the noise is a difference of float32 labels of order 10.
        torch.testing.assert_close(parts[1][name], parts[0][name], rtol=0, atol=1e-5)
    (changed,) = {"xs", "ws", "noise"} - set(same)
    assert float((parts[1][changed] - parts[0][changed]).abs().max()) > 0.1


def test_other_seeds_give_other_prompts() -> None:
    a, b = BASE.sample(6, seed=0), BASE.sample(6, seed=1)
    assert float((a.xs - b.xs).abs().min()) > 0
    assert float((a.ws - b.ws).abs().min()) > 0


def test_a_zero_direction_of_a_diagonal_is_exactly_zero() -> None:
    prompts = LinearRegression(4, w_cov=[1.0, 0.0, 2.0, 0.0], x_cov=[0.0, 1.0, 1.0, 0.0]).sample(50, seed=0)
    assert_same(prompts.ws[:, [1, 3]], torch.zeros(50, 2))
    assert_same(prompts.xs[..., [0, 3]], torch.zeros(50, 9, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_rank_deficient_matrix_confines_samples_to_its_span(dtype: torch.dtype) -> None:
    span = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    task = LinearRegression(4, w_cov=span @ span.T, x_cov=(span @ span.T).tolist())
    assert task.weight_rank == 2
    outside = torch.eye(4) - (span @ torch.linalg.pinv(span)).float()
    prompts = task.sample(100, seed=0)
    # Rounding of float32 at samples of order 5; eigenvalues of float32 rounding alone would leave about 1e-3.
    torch.testing.assert_close(prompts.ws @ outside, torch.zeros(100, 4), rtol=0, atol=2e-5)
    torch.testing.assert_close(prompts.xs @ outside, torch.zeros(100, 9, 4), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("w_cov", "rank"),
    [(None, 3), (0.0, 0), ([1.0, 1e-9, 0.0], 2), (PLANE, 2), ([[0.0] * 3] * 3, 0)],
    ids=["identity", "zero", "small but typed", "plane", "zero matrix"],
)
def test_weight_rank(w_cov: object, rank: int) -> None:
    assert LinearRegression(3, w_cov=w_cov).weight_rank == rank


@every_task
def test_describe_is_one_clause(task: LinearRegression) -> None:
    assert task.describe().startswith(f"linear regression in {task.n_dims} dimensions, inputs ")
    assert not task.describe().endswith(".")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TASKS["isotropic"], "inputs standard Gaussian, weights standard Gaussian, no label noise"),
        (TASKS["diagonal"], "inputs Gaussian, weights Gaussian in a 2-dimensional subspace, no label noise"),
        (LinearRegression(4, x_mean=1.0, noise_std=0.25), "inputs standard Gaussian around a mean of norm 2, "),
        (TASKS["noisy"], "label noise of standard deviation 0.5"),
    ],
    ids=["isotropic", "diagonal", "mean", "noise"],
)
def test_describe_says_what_is_special(task: LinearRegression, words: str) -> None:
    assert words in task.describe()


@pytest.mark.parametrize("counts", [(0, None), (-1, 3), (2, 0)], ids=str)
def test_sample_refuses_to_draw_nothing(counts: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match=r"sample needs at least one prompt and one point, got .*; ask for more"):
        BASE.sample(*counts, seed=0)
