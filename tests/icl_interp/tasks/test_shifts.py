"""Every shift and strength, on every kind of task it applies to, obeys the same laws."""

import pytest
import torch
from task_cases import cover
from torch import Tensor

from icl_interp import (
    SHIFTS,
    LinearRegression,
    Prompts,
    SparseLinearRegression,
    TaskPool,
    UniformRegression,
    predictors,
    shifted,
)
from icl_interp.tasks.shifts.select import ShiftedTask, select_shifts

BASES = {
    "isotropic": LinearRegression(5),
    "subspace": LinearRegression(5, w_cov=[2.5, 2.5, 0.0, 0.0, 0.0]),
    "general": LinearRegression(
        3,
        x_mean=[0.5, 0.0, -0.5],
        x_cov=[1.0, 2.0, 0.5],
        w_mean=0.3,
        w_cov=[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0] * 3],
    ),
    "inputs in a plane": LinearRegression(4, x_cov=[2.0, 2.0, 0.0, 0.0]),
    "pool": TaskPool(4, 6),
    "sparse": SparseLinearRegression(n_dims=4, n_nonzero=2, x_correlation=0.5),
    "uniform": UniformRegression(n_dims=3, n_points=7),
}
CASES = [
    (base, entry)
    for base, task in BASES.items()
    for entry in select_shifts(task, ["all"])
    if not entry.shift.errors_only  # these are in test_query_shifts
]
COVER = cover(CASES, BASES)
every_case = pytest.mark.parametrize(("base", "entry"), COVER, ids=[f"{b}-{e.label}" for b, e in COVER])
N = 20_000


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def clean_labels(prompts: Prompts) -> Tensor:
    return (prompts.xs * prompts.ws[:, None]).sum(-1)


def least_squares_error(source: object, n_dims: int) -> float:
    """Median over prompts of the normalised error at n_dims to 2 n_dims pairs."""
    prompts = source.sample(200, seed=0)
    error = (predictors.least_squares()(prompts.xs, prompts.ys) - prompts.ys)[:, n_dims:].square().mean(1)
    return float(error.median()) / source.label_second_moment()


def test_the_table_covers_every_shift_and_strength() -> None:
    labels = {entry.label for _, entry in COVER}
    assert {base for base, _ in COVER} == set(BASES)
    assert len(labels) == sum(max(1, len(shift.values)) for shift in SHIFTS.values() if not shift.errors_only)
    assert all(name == shift.name for name, shift in SHIFTS.items())


@every_case
def test_sample_is_a_pure_function(base: str, entry: ShiftedTask) -> None:
    before = torch.get_rng_state()
    first = entry.source.sample(4, seed=3)
    entry.source.sample(9, 2, seed=4)
    again = entry.source.sample(4, seed=3)
    for name in ("xs", "ys", "ws"):
        assert_same(getattr(again, name), getattr(first, name))
    assert_same(torch.get_rng_state(), before)
    assert first.xs.shape == (4, 2 * BASES[base].n_dims + 1, BASES[base].n_dims)
    assert first.xs.dtype == first.ys.dtype == torch.float32


@every_case
def test_label_second_moment_is_what_samples_have(base: str, entry: ShiftedTask) -> None:  # noqa: ARG001
    squares = entry.source.sample(N, 1, seed=1).ys.double().square()
    # Five standard errors of the mean.
    assert entry.source.label_second_moment() == pytest.approx(
        float(squares.mean()), abs=5 * float(squares.std()) / N**0.5
    )


INVARIANT = [(b, e) for b, e in CASES if e.shift.least_squares_invariant]
NOT_INVARIANT = [(b, e) for b, e in CASES if not e.shift.least_squares_invariant]


@pytest.mark.parametrize(("base", "entry"), INVARIANT, ids=[f"{b}-{e.label}" for b, e in INVARIANT])
def test_least_squares_stays_exact_where_the_registry_says_so(base: str, entry: ShiftedTask) -> None:
    prompts = entry.source.sample(20, seed=0)
    # No noise came in: labels are products of float32 numbers of order 10.
    torch.testing.assert_close(prompts.ys, clean_labels(prompts), rtol=1e-5, atol=3e-5)
    # (1e-7 of float32 labels, times a condition number around 100) squared, and an order of magnitude to spare.
    assert least_squares_error(entry.source, BASES[base].n_dims) < 1e-9


@pytest.mark.parametrize(("base", "entry"), NOT_INVARIANT, ids=[f"{b}-{e.label}" for b, e in NOT_INVARIANT])
def test_least_squares_fails_where_the_registry_says_so(base: str, entry: ShiftedTask) -> None:
    assert least_squares_error(entry.source, BASES[base].n_dims) > 0.01


NOISY = {name: task.model_copy(update={"noise_std": 0.5}) for name, task in BASES.items()}


def parts(prompts: Prompts) -> dict[str, Tensor]:
    return {"inputs": prompts.xs, "weights": prompts.ws, "noise": prompts.ys - clean_labels(prompts)}


# A shift of labels rescales weights and noise together, so that the labels keep their energy.
MAY_CHANGE = {"inputs": {"inputs"}, "weights": {"weights"}, "labels": {"weights", "noise"}}


WITH_WEIGHTS = [(b, e) for b, e in COVER if e.shift.name != "w_mixed"]  # whose prompts follow no one weight vector


@pytest.mark.parametrize(("base", "entry"), WITH_WEIGHTS, ids=[f"{b}-{e.label}" for b, e in WITH_WEIGHTS])
def test_what_is_declared_changes_and_the_rest_is_shared(base: str, entry: ShiftedTask) -> None:
    (noisy,) = select_shifts(NOISY[base], [entry.label])
    before, after = (parts(source.sample(30, seed=0)) for source in (NOISY[base], noisy.source))
    # The noise is a difference of float32 labels of order 30; inputs and weights agree to their last digits.
    changed = {name for name in before if float((after[name] - before[name]).abs().max()) > 1e-4}
    assert changed == MAY_CHANGE[entry.shift.changes]


@pytest.mark.parametrize("base", [b for b, task in NOISY.items() if isinstance(task, LinearRegression)])
def test_label_noise_rescales_weights_and_noise_and_adds_noise(base: str) -> None:
    task = NOISY[base]
    before, after = (parts(source.sample(30, seed=0)) for source in (task, shifted(task, "label_noise", 1.0)))
    energy = task.label_second_moment()
    factor = (energy / (energy + 1)) ** 0.5
    # As above.
    torch.testing.assert_close(after["weights"], factor * before["weights"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after["noise"], factor * (1.25**0.5 / 0.5) * before["noise"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [1 / 3, 2.0])
def test_scales_multiply_and_leave_the_rest(factor: float) -> None:
    task = BASES["general"]
    before = task.sample(10, seed=0)
    inputs = shifted(task, "x_scale", factor).sample(10, seed=0)
    weights = shifted(task, "w_scale", factor).sample(10, seed=0)
    # Rounding of float32.
    torch.testing.assert_close(inputs.xs, factor * before.xs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights.ws, factor * before.ws, rtol=1e-5, atol=1e-6)


def test_x_mean_moves_every_coordinate() -> None:
    task = BASES["general"]
    moved = shifted(task, "x_mean", 2.0).sample(10, seed=0)
    torch.testing.assert_close(moved.xs, task.sample(10, seed=0).xs + 2, rtol=1e-6, atol=1e-6)  # rounding of float32


@pytest.mark.parametrize("n_dims", [2, 3, 5, 20])
@pytest.mark.parametrize("name", ["x_skewed", "x_half_subspace"])
def test_reshaped_inputs_keep_their_energy(name: str, n_dims: int) -> None:
    task = shifted(LinearRegression(n_dims), name)
    # A product of float64 matrices of this size, of which eigenvalues below 1e-6 may have been set to 0.
    assert float(task.input_cov.trace()) == pytest.approx(n_dims, rel=1e-9)


@pytest.mark.parametrize("name", ["x_skewed", "x_half_subspace"])
@pytest.mark.parametrize("base", ["general", "inputs in a plane", "sparse", "uniform"])
def test_reshaped_inputs_keep_the_energy_of_inputs_that_are_not_isotropic(name: str, base: str) -> None:
    task, moved = BASES[base], shifted(BASES[base], name)
    energy = float(task.input_second_moment.trace())
    xs = moved.sample(N, 1, seed=0).xs.double().square().sum(2)
    # Five standard errors of the mean.
    assert float(xs.mean()) == pytest.approx(energy, abs=5 * float(xs.std()) / N**0.5)


@pytest.mark.parametrize(("n_dims", "rank"), [(2, 1), (3, 1), (5, 2), (20, 10)])
def test_half_subspace_has_half_the_dimensions_all_alike(n_dims: int, rank: int) -> None:
    values = torch.linalg.eigvalsh(shifted(LinearRegression(n_dims), "x_half_subspace").input_cov)
    expected = torch.tensor([0.0] * (n_dims - rank) + [n_dims / rank] * rank, dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)  # rounding of float64


def test_skewed_inputs_have_scales_one_half_third_along_rotated_axes() -> None:
    cov = shifted(LinearRegression(4), "x_skewed").input_cov
    values = torch.linalg.eigvalsh(cov).flip(0)
    expected = torch.tensor([1, 1 / 4, 1 / 9, 1 / 16], dtype=torch.float64)
    torch.testing.assert_close(values / values[0], expected, rtol=1e-9, atol=0)  # rounding of float64
    assert float((cov - torch.diag(cov.diagonal())).abs().max()) > 0.1


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("task", [BASES["general"], NOISY["isotropic"]], ids=["clean", "noisy"])
def test_label_noise_keeps_the_energy_of_labels(task: LinearRegression, std: float) -> None:
    noisy = shifted(task, "label_noise", std)
    clean = task.label_second_moment()
    assert noisy.label_second_moment() == pytest.approx(clean, rel=1e-12)  # rounding of float64
    # Of the labels' energy, the noise has what it had and std^2 more, before both are rescaled.
    assert noisy.noise_std**2 / clean == pytest.approx((task.noise_std**2 + std**2) / (clean + std**2), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1 / 4, 1 / 2, 1.0])
@pytest.mark.parametrize("base", ["subspace", "general"])
def test_rotation_keeps_the_energy_of_weights(base: str, alpha: float) -> None:
    task = BASES[base]
    turned = shifted(task, "w_rotation", alpha)
    inside = task.weight_cov / task.weight_cov.trace()
    projector = torch.linalg.pinv(inside, hermitian=True) @ inside
    energy = task.weight_cov.trace()
    # Rounding of float64 in sums and products of this size.
    torch.testing.assert_close(turned.weight_cov.trace(), energy, rtol=1e-9, atol=0)
    torch.testing.assert_close((projector @ turned.weight_cov).trace(), (1 - alpha) * energy, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned.weight_mean, task.weight_mean, rtol=0, atol=0)


def test_rotation_goes_from_the_task_to_its_complement() -> None:
    task = BASES["general"]
    torch.testing.assert_close(shifted(task, "w_rotation", 0.0).weight_cov, task.weight_cov, rtol=0, atol=1e-12)
    turned = shifted(task, "w_rotation", 1.0)
    torch.testing.assert_close(turned.weight_cov @ task.weight_cov, torch.zeros(3, 3).double(), rtol=0, atol=1e-12)
    assert turned.weight_rank == 3 - task.weight_rank
