"""Each family's own formula, evaluated literally."""

import math

import pytest
import torch

from icl_interp import (
    AffineRecurrence,
    CategoricalRegression,
    DecisionTreeRegression,
    IllConditionedRegression,
    LinearRegression,
    QuadraticRegression,
    ReluNetworkRegression,
    SineRegression,
    SparseLinearRegression,
    UniformRegression,
)
from icl_interp.prompts import stream


@pytest.mark.parametrize("n_nonzero", [1, 3, 20])
def test_sparse_weights_have_their_number_of_entries(n_nonzero: int) -> None:
    ws = SparseLinearRegression(n_dims=20, n_nonzero=n_nonzero).sample(200, 1, seed=0).ws
    torch.testing.assert_close((ws != 0).sum(1), torch.full((200,), n_nonzero))


def test_supports_are_even() -> None:
    ws = SparseLinearRegression(n_dims=5, n_nonzero=2).sample(5000, 1, seed=0).ws
    # 2000 each, standard deviation below 35; five of these.
    torch.testing.assert_close((ws != 0).sum(0), torch.full((5,), 2000), rtol=0, atol=175)


def test_more_non_zero_weights_than_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="n_nonzero needs at most 2 weights, the number of dimensions, got 3"):
        SparseLinearRegression(n_dims=2)


def test_correlated_inputs_have_a_geometric_covariance() -> None:
    expected = [[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]
    task = SparseLinearRegression(n_dims=3, n_nonzero=1, x_correlation=0.5)
    torch.testing.assert_close(task.input_second_moment, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("basis_seed", [None, 3])
def test_features_are_orthonormal_and_inputs_are_features(basis_seed: int | None) -> None:
    task = CategoricalRegression(n_dims=5, n_features=3, basis_seed=basis_seed)
    torch.testing.assert_close(task.features @ task.features.T, torch.eye(3, dtype=torch.float64))
    xs = task.sample(4, seed=0).xs
    matches = (xs[:, :, None] == task.features.float()).all(-1).sum(-1)
    torch.testing.assert_close(matches, torch.ones_like(matches))


def test_feature_shares() -> None:
    shares = CategoricalRegression(n_dims=4, dominant_share=0.7).shares
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64))
    seen = CategoricalRegression(n_dims=4, dominant_share=0.7).sample(2000, 5, seed=0).xs.double().mean((0, 1))
    # 10 000 draws: standard error at most 0.005; five of these.
    torch.testing.assert_close(seen, shares, rtol=0, atol=0.025)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_features": 4}, "n_features needs at most 3, the number of dimensions, got 4"),
        ({"n_features": 1, "dominant_share": 0.5}, "dominant_share needs at least two features, got one; leave it out"),
        ({"dominant_share": 1.0}, "dominant_share\n.*less than 1"),
    ],
    ids=str,
)
def test_features_that_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CategoricalRegression(**{"n_dims": 3, **fields})


def test_a_recurrence_follows_its_rule() -> None:
    task = AffineRecurrence(slope_bound=1.0, n_points=6)
    prompts = task.sample(50, seed=0)
    start = torch.randn(50, generator=stream(0, "inputs"))
    slope = 2 * torch.rand(50, generator=stream(0, "weights")) - 1
    offset = torch.randn(50, generator=stream(0, "offsets"))
    torch.testing.assert_close(prompts.xs[:, 0, 0], start, rtol=0, atol=0)
    torch.testing.assert_close(prompts.ys, slope[:, None] * prompts.xs[..., 0] + offset[:, None])
    torch.testing.assert_close(prompts.xs[:, 1:, 0], prompts.ys[:, :-1], rtol=0, atol=0)


def test_a_shorter_sequence_is_the_beginning_of_a_longer_one() -> None:
    task = AffineRecurrence()
    torch.testing.assert_close(task.sample(4, 3, seed=0).ys, task.sample(4, 9, seed=0).ys[:, :3], rtol=0, atol=0)


def test_noise_stays_in_the_sequence() -> None:
    prompts = AffineRecurrence(noise_std=1.0).sample(4, seed=0)
    torch.testing.assert_close(prompts.xs[:, 1:, 0], prompts.ys[:, :-1], rtol=0, atol=0)


def test_the_second_moment_of_one_step() -> None:
    # s_1 = a s_0 + b + e: E[a^2] = 0.5^2 / 3.
    task = AffineRecurrence(slope_bound=0.5, start_std=2.0, offset_std=3.0, noise_std=0.1, n_points=1)
    assert task.label_second_moment() == pytest.approx(0.25 / 3 * 4 + 9 + 0.01)


@pytest.mark.parametrize("slope_bound", [0.0, 1.2])
def test_slopes_are_bounded(slope_bound: float) -> None:
    with pytest.raises(ValueError, match=r"slope_bound\n.*(greater|less) than"):
        AffineRecurrence(slope_bound=slope_bound)


def test_uniform_inputs_fill_their_range() -> None:
    xs = UniformRegression(n_dims=3, half_width=2.0).sample(2000, seed=0).xs
    assert -2.0 <= float(xs.min()) < -1.99
    assert 1.99 < float(xs.max()) <= 2.0


def test_von_oswalds_sizes_and_losses() -> None:
    task = UniformRegression(n_dims=10)
    assert task.default_points == 11
    # Half the error of predicting zero is .419 in their setting: d s / 2 with s = 0.5^2 / 3.
    assert task.label_second_moment() / 2 == pytest.approx(10 / 24)


def test_ill_conditioned_prompts_have_axes_of_their_own() -> None:
    prompts = IllConditionedRegression(n_dims=4, condition_number=9.0).sample(2, 20_000, seed=0)
    covs = [torch.cov(xs.double().T) for xs in prompts.xs]
    for cov in covs:
        # Standard error of a variance: sqrt(2 / 20 000) = 1 %.
        torch.testing.assert_close(
            torch.linalg.eigvalsh(cov), torch.tensor([0.2, 0.2, 1.8, 1.8], dtype=torch.float64), rtol=0.05, atol=0
        )
    assert float((covs[0] - covs[1]).abs().max()) > 0.1


def test_sines_have_amplitude_and_phase() -> None:
    task = SineRegression(amplitude_low=1.0, amplitude_high=3.0)
    prompts = task.sample(30, seed=0)
    amplitude, phase = torch.rand(2, 30, 1, generator=stream(0, "weights"))
    torch.testing.assert_close(prompts.ys, (1 + 2 * amplitude) * torch.sin(prompts.xs[..., 0] + math.pi * phase))
    assert float(prompts.xs.abs().max()) <= 5
    assert task.default_points == 11


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amplitude_low": 1.0}, "amplitude_low needs at most amplitude_high, got 1 and 0.5"),
        ({"n_dims": 2}, "n_dims\n"),
    ],
    ids=str,
)
def test_sines_that_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SineRegression(**fields)


def test_networks_are_their_formula() -> None:
    task = ReluNetworkRegression(n_dims=2, n_hidden=3)
    prompts = task.sample(2, 4, seed=0)
    first = torch.randn(2, 2, 3, generator=stream(0, "weights"))
    second = torch.randn(2, 3, generator=stream(0, "output weights"))
    for b in range(2):
        for k in range(4):
            hidden = [max(0.0, float(first[b, :, j] @ prompts.xs[b, k])) for j in range(3)]
            value = math.sqrt(2 / 3) * sum(float(second[b, j]) * hidden[j] for j in range(3))
            assert float(prompts.ys[b, k]) == pytest.approx(value, abs=1e-5)  # float32


def test_trees_are_walked_from_root_to_leaf() -> None:
    task = DecisionTreeRegression(n_dims=3, depth=3)
    prompts = task.sample(4, 10, seed=0)
    asked = torch.randint(3, (4, 7), generator=stream(0, "weights"))
    leaves = torch.randn(4, 8, generator=stream(0, "leaves"))
    for b in range(4):
        for k in range(10):
            node = 0
            while node < 7:
                node = 2 * node + (2 if prompts.xs[b, k, asked[b, node]] > 0 else 1)
            assert float(prompts.ys[b, k]) == float(leaves[b, node - 7])


def test_quadratics_are_linear_in_squares() -> None:
    prompts = QuadraticRegression(n_dims=3).sample(5, seed=0)
    ws = LinearRegression(3).sample(5, seed=0).ws
    torch.testing.assert_close(prompts.ys, (prompts.xs.square() * ws[:, None]).sum(-1) / 3**0.5)
    assert prompts.ws is None


def test_noise_of_a_recurrence_enters_every_step_anew() -> None:
    quiet, loud = (AffineRecurrence(noise_std=std, n_points=4).sample(500, seed=0) for std in (0.0, 2.0))
    start, first, second = quiet.xs[:, 0, 0], quiet.ys[:, 0], quiet.ys[:, 1]
    slopes = (second - first) / (first - start)
    offsets = first - slopes * start
    noise = loud.ys - slopes[:, None] * loud.xs[..., 0] - offsets[:, None]
    steps = noise[(first - start).abs() > 0.05]  # slopes are known to 1e-5 there
    # Five standard errors of a standard deviation and of a correlation, 450 prompts.
    torch.testing.assert_close(steps.std(dim=0), torch.full((4,), 2.0), rtol=0.17, atol=0)
    torch.testing.assert_close(torch.corrcoef(steps.T), torch.eye(4), rtol=0, atol=0.24)


def test_energy_of_a_recurrence_of_nothing_but_noise() -> None:
    # s_1 = e_0 and s_2 = a e_0 + e_1 with E[a^2] = 1/3: 9 and 12.
    task = AffineRecurrence(slope_bound=1.0, offset_std=0.0, start_std=0.0, noise_std=3.0, n_points=2)
    assert task.label_second_moment() == pytest.approx(10.5, rel=1e-12)
    squares = task.sample(20_000, seed=0).ys.square().mean(0)
    # Five standard errors: squares of normal numbers deviate by about 1.5 times their mean.
    torch.testing.assert_close(squares, torch.tensor([9.0, 12.0]), rtol=0.055, atol=0)
