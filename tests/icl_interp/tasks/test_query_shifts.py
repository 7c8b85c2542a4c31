"""Shifts whose prompts have another shape: queries of their own, and more points; and the extra sources."""

import pytest
import torch
from task_cases import FAMILY_CASES, cover

from icl_interp import (
    AffineRecurrence,
    DecisionTreeRegression,
    IllConditionedRegression,
    LinearRegression,
    QuadraticRegression,
    ReluNetworkRegression,
    SineRegression,
    TaskPool,
    predictors,
    shifted,
)
from icl_interp.query import predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts.select import SHIFTS, ShiftedTask, select_shifts

OTHER_SHAPES = [name for name, shift in SHIFTS.items() if shift.errors_only]
CASES = [
    (name, entry)
    for name, task in FAMILY_CASES.items()
    for entry in select_shifts(task, ["all"])
    if entry.shift.errors_only
]
COVER = cover(CASES, FAMILY_CASES)
every_case = pytest.mark.parametrize(("name", "entry"), COVER, ids=[f"{n}-{e.label}" for n, e in COVER])
OTHERS = [
    (name, entry)
    for name, task in FAMILY_CASES.items()
    if not isinstance(task, LinearRegression)
    for entry in select_shifts(task, ["all"])
    if not entry.shift.errors_only
]
ELSEWHERE = cover(OTHERS, FAMILY_CASES)
N = 1000


def test_these_are_dtsips_queries_and_longer_prompts() -> None:
    assert OTHER_SHAPES == ["random_quadrants", "orthogonal_train_test", "overlapping_train_test", "longer_prompts"]
    assert not any(SHIFTS[name].core for name in OTHER_SHAPES)
    assert {entry.shift.name for _, entry in COVER} == set(OTHER_SHAPES)
    assert {name for name, _ in COVER} == {name for name, _ in CASES}


@every_case
def test_sample_is_a_pure_function(name: str, entry: ShiftedTask) -> None:
    first = entry.source.sample(4, seed=3)
    entry.source.sample(9, 2, seed=4)
    again = entry.source.sample(4, seed=3)
    for part in ("xs", "ys", "query_xs", "query_ys"):
        torch.testing.assert_close(getattr(again, part), getattr(first, part), rtol=0, atol=0)
    assert (first.query_xs is None) == entry.shift.lengthens
    usual = FAMILY_CASES[name].default_points
    assert (first.n_points > usual) == entry.shift.lengthens


@every_case
def test_label_second_moment_is_what_samples_have(name: str, entry: ShiftedTask) -> None:  # noqa: ARG001
    squares = entry.source.sample(N, seed=1).targets.double().square().mean(1)
    # Five standard errors of two samples of this size (where there is no formula it is an estimate), and float32.
    tolerance = 5 * float(squares.std()) * (2 / N) ** 0.5 + 1e-6
    assert entry.source.label_second_moment() == pytest.approx(float(squares.mean()), abs=tolerance)


@pytest.mark.parametrize(("name", "entry"), ELSEWHERE, ids=[f"{n}-{e.label}" for n, e in ELSEWHERE])
def test_every_other_shift_is_pure_and_knows_its_energy(name: str, entry: ShiftedTask) -> None:
    first, again = entry.source.sample(N, seed=3), entry.source.sample(N, seed=3)
    torch.testing.assert_close(again.ys, first.ys, rtol=0, atol=0)
    assert first.n_points == FAMILY_CASES[name].default_points
    squares = first.ys.double().square().mean(1)
    tolerance = 5 * float(squares.std()) * (2 / N) ** 0.5 + 1e-6
    assert entry.source.label_second_moment() == pytest.approx(float(squares.mean()), abs=tolerance)


ISOTROPIC = LinearRegression(4)


def late_error(task: Task, name: str, first: int) -> float:
    source = shifted(task, name)
    prompts = source.sample(200, seed=0)
    error = (predict(predictors.least_squares(), prompts) - prompts.targets)[:, first:].square().mean(1)
    return float(error.median()) / source.label_second_moment()


@pytest.mark.parametrize("name", ["random_quadrants", "overlapping_train_test"])
def test_least_squares_solves_free_and_repeated_queries(name: str) -> None:
    assert SHIFTS[name].least_squares_invariant
    assert late_error(ISOTROPIC, name, 4) < 1e-9  # float32 labels, squared


def test_least_squares_knows_nothing_of_orthogonal_queries() -> None:
    assert not SHIFTS["orthogonal_train_test"].least_squares_invariant
    source = shifted(ISOTROPIC, "orthogonal_train_test")
    prompts = source.sample(4000, seed=0)
    error = (predict(predictors.least_squares(), prompts) - prompts.targets).square().mean(0)
    # It predicts 0: the error is all of E[y^2] at each point; 4000 squares leave 3 %.
    torch.testing.assert_close(error / source.label_second_moment(), torch.ones(4), rtol=0.15, atol=0)


@pytest.mark.parametrize("task", [ISOTROPIC, TaskPool(4, 3), LinearRegression(4, x_cov=[2.0, 2.0, 0.0, 0.0])], ids=repr)
def test_orthogonal_queries_keep_norms_and_end_with_the_span(task: LinearRegression) -> None:
    prompts = shifted(task, "orthogonal_train_test").sample(5, seed=0)
    assert prompts.n_points == task.input_rank
    torch.testing.assert_close(prompts.query_xs.norm(dim=2), prompts.xs.norm(dim=2), rtol=1e-5, atol=0)
    products = torch.einsum("bpd,bqd->bpq", prompts.query_xs, prompts.xs).tril(-1)
    # Rounding of float32 at norms of order 5.
    torch.testing.assert_close(products, torch.zeros_like(products), rtol=0, atol=1e-4)
    own = (prompts.query_xs * prompts.xs).sum(2)
    assert float(own.min()) > 0  # the query points where its input does
    torch.testing.assert_close(prompts.query_xs[:, 0], prompts.xs[:, 0], rtol=1e-5, atol=1e-5)


def test_repeated_queries_are_inputs_before_with_their_labels() -> None:
    prompts = shifted(ISOTROPIC, "overlapping_train_test").sample(200, seed=0)
    torch.testing.assert_close(prompts.query_xs[:, 0], prompts.xs[:, 0], rtol=0, atol=0)
    for k in range(1, prompts.n_points):
        same = (prompts.query_xs[:, k, None] == prompts.xs[:, :k]).all(-1)
        torch.testing.assert_close(same.sum(1), torch.ones(200, dtype=torch.long))
        torch.testing.assert_close(prompts.query_ys[:, k], prompts.ys[:, :k][same], rtol=1e-5, atol=1e-5)
        assert int(same.any(0).sum()) == k  # each place is drawn


def test_free_queries_are_the_tasks_own_prompts() -> None:
    prompts, base = shifted(ISOTROPIC, "random_quadrants").sample(5, seed=0), ISOTROPIC.sample(5, seed=0)
    torch.testing.assert_close(prompts.query_xs, base.xs, rtol=0, atol=0)
    torch.testing.assert_close(prompts.query_ys, base.ys)
    folded = shifted(ISOTROPIC, "random_orthants").sample(5, seed=0)
    torch.testing.assert_close(prompts.xs, folded.xs, rtol=0, atol=0)


@pytest.mark.parametrize(("factor", "n_points", "count"), [(2.0, None, 18), (1.5, 4, 6), (1.01, 4, 5), (1.5, None, 14)])
def test_longer_prompts_have_more_points(factor: float, n_points: int | None, count: int) -> None:
    assert shifted(ISOTROPIC, "longer_prompts", factor).sample(2, n_points, seed=0).n_points == count


def test_longer_recurrences_have_the_moment_of_their_length() -> None:
    source = shifted(AffineRecurrence(n_points=4), "longer_prompts", 2.0)
    assert source.label_second_moment() == AffineRecurrence(n_points=8).label_second_moment()


def test_a_fraction_of_the_inputs_is_scaled() -> None:
    base, mixed = (s.sample(500, seed=0).xs for s in (ISOTROPIC, shifted(ISOTROPIC, "x_mixed", 0.25)))
    factors = (mixed / base).mean(2)
    assert set(factors.round().unique().tolist()) == {1.0, 3.0}
    # 4500 examples: standard deviation 0.65 %; five of these.
    assert float((factors > 2).float().mean()) == pytest.approx(0.25, abs=0.033)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mixed_weights_go_from_one_law_to_the_other(share: float) -> None:
    task = LinearRegression(4, w_cov=[2.0, 2.0, 0.0, 0.0])
    prompts = shifted(task, "w_mixed", share).sample(5, seed=0)
    weights = (torch.linalg.pinv(prompts.xs) @ prompts.ys[..., None])[..., 0]
    unused = slice(2, 4) if share == 0 else slice(0, 2)
    torch.testing.assert_close(weights[:, unused], torch.zeros(5, 2), rtol=0, atol=1e-4)  # inverses in float32
    assert prompts.ws is None


def test_heavy_tails_are_students() -> None:
    xs = shifted(LinearRegression(1), "x_heavy_tails", 5.0).sample(20_000, 1, seed=0).xs.double().flatten()
    # t with 5 degrees of freedom, scaled to variance 1: P(|t| > 3) = 0.0117 where a Gaussian has 0.0027.
    assert float(xs.var()) == pytest.approx(1.0, abs=0.1)
    assert float((xs.abs() > 3).double().mean()) == pytest.approx(0.0117, abs=0.004)


def test_heavy_noise_has_the_stated_deviation() -> None:
    task = LinearRegression(2, w_cov=0.0, w_mean=1.0)
    prompts = shifted(task, "noise_heavy_tails", 1.0).sample(20_000, 1, seed=0)
    clean = (prompts.xs * prompts.ws[:, None]).sum(-1)
    noise = (prompts.ys - clean) / (2 / 3) ** 0.5  # E[y^2] = 2, and 3 with the noise
    # t with 3 degrees of freedom, variance 1: the median of |t| is 0.7649 / sqrt(3).
    assert float(noise.abs().median()) == pytest.approx(0.7649 / 3**0.5, rel=0.05)


def test_fresh_weights_of_a_pool_are_unlimited_tasks() -> None:
    pool = TaskPool(4, 3, noise_std=0.5, n_points=7)
    source = shifted(pool, "w_fresh")
    plain = LinearRegression(4, noise_std=0.5, n_points=7)
    torch.testing.assert_close(source.sample(5, seed=0).ys, plain.sample(5, seed=0).ys)
    assert source.label_second_moment() == pytest.approx(4.25)


@pytest.mark.parametrize("task", [QuadraticRegression(n_dims=3), ReluNetworkRegression(n_dims=3)], ids=repr)
def test_functions_without_weights_are_scaled_as_a_whole(task: Task) -> None:
    base, scaled = task.sample(4, seed=0), shifted(task, "w_scale", 3.0).sample(4, seed=0)
    torch.testing.assert_close(scaled.ys, 3 * base.ys)


def test_a_scaled_recurrence_is_a_scaled_sequence() -> None:
    base, scaled = (s.sample(4, seed=0) for s in (AffineRecurrence(), shifted(AffineRecurrence(), "x_scale", 2.0)))
    torch.testing.assert_close(scaled.ys, 2 * base.ys)


def test_prompts_keep_their_axes_when_their_inputs_move() -> None:
    task = IllConditionedRegression(n_dims=3)
    base, moved = task.sample(4, seed=0), shifted(task, "x_scale", 2.0).sample(4, seed=0)
    torch.testing.assert_close(moved.xs, 2 * base.xs)
    torch.testing.assert_close(moved.ys, 2 * base.ys)


def test_tails_of_a_million_degrees_cost_no_more_memory_and_are_gaussian() -> None:
    task = LinearRegression(3)
    moved, own = (source.sample(500, seed=0).xs for source in (shifted(task, "x_heavy_tails=1000000"), task))
    # chi^2_v / v is 1 up to sqrt(2 / v) = 0.0014; five of them, halved by the root.
    torch.testing.assert_close(moved, own, rtol=0.004, atol=1e-6)


def test_queries_have_noise_of_their_own() -> None:
    task = LinearRegression(4, noise_std=0.5)
    prompts = shifted(task, "random_quadrants").sample(4000, seed=0)
    asked, paired = (
        ys - (xs * prompts.ws[:, None]).sum(2)
        for xs, ys in ((prompts.query_xs, prompts.query_ys), (prompts.xs, prompts.ys))
    )
    # 36,000 numbers: five standard errors of a standard deviation, and of a correlation.
    assert float(asked.std()) == pytest.approx(0.5, abs=0.01)
    correlation = torch.corrcoef(torch.stack([asked.flatten(), paired.flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(0, abs=0.027)
    # One stream, all of it used: no two points share their noise.
    assert len(asked[0].unique()) == task.default_points


NETWORK, TREE, SINE = ReluNetworkRegression(n_dims=5, noise_std=0.5), DecisionTreeRegression(n_dims=3), SineRegression()
EXACT = [
    (NETWORK, "x_scale=3", 45.25),
    (NETWORK, "x_mean=2", 25.25),
    (NETWORK, "x_skewed", 5.25),
    (NETWORK, "x_mixed=1/2", 25.25),
    (NETWORK, "x_heavy_tails", 5.25),
    (NETWORK, "random_orthants", 5.25),
    (NETWORK, "orthogonal_train_test", 5.25),
    (TREE, "x_scale=3", 1.0),
    (TREE, "x_mean=-1", 1.0),
    (TREE, "x_half_subspace", 1.0),
    (SINE, "x_scale=2", SINE.label_second_moment()),
    (SINE, "x_mean=1", SINE.label_second_moment()),
]


@pytest.mark.parametrize(("task", "name", "energy"), EXACT, ids=[f"{t.family}-{n}" for t, n, _ in EXACT])
def test_energy_is_exact_where_the_inputs_decide_it(task: Task, name: str, energy: float) -> None:
    (entry,) = select_shifts(task, [name])
    assert entry.source.label_second_moment() == pytest.approx(energy, rel=1e-12)  # rounding of float64
    squares = entry.source.sample(N, seed=1).targets.double().square().mean(1)
    # Five standard errors of the mean.
    assert float(squares.mean()) == pytest.approx(energy, abs=5 * float(squares.std()) / N**0.5)


def test_energy_of_moved_quadratic_functions_is_estimated_within_a_few_percent() -> None:
    # E[(x + 1)^4] = 1 + 6 + 3 = 10, and y sums d of them over 3; the stated accuracy is about 1 %.
    energy = shifted(QuadraticRegression(n_dims=3), "x_mean", 1.0).label_second_moment()
    assert energy == pytest.approx(10.0, rel=0.03)
