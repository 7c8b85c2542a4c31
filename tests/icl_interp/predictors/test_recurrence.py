"""Predictors for sequences, on sequences."""

import pytest
import torch

from icl_interp.predictors import affine_recurrence, copy_last, linear_extrapolation, running_least_squares


def sequences(a, b, start, n_points):
    values = [torch.tensor(start, dtype=torch.float64)]
    for _ in range(n_points):
        values.append(torch.tensor(a).double() * values[-1] + torch.tensor(b).double())
    s = torch.stack(values, dim=1)
    return s[:, :-1, None], s[:, 1:]


# contracting, expanding, alternating, a walk, standing still at its fixed point, standing still at 0
XS, YS = sequences([0.5, 1.05, -0.9, 1.0, 0.5, 0.5], [1.0, 0.3, 0.2, 2.0, 1.0, 0.0], [5.0, 1.0, 1.0, 0.0, 2.0, 0.0], 30)


@pytest.mark.parametrize("build", [affine_recurrence, running_least_squares])
def test_two_pairs_determine_the_recurrence(build):
    # 30 halvings leave differences of 1e-9: the widest pair keeps the answer exact.
    torch.testing.assert_close(build()(XS, YS)[:, 2:], YS[:, 2:], rtol=1e-9, atol=1e-9)


def test_late_pairs_alone_would_not_do_in_float32():
    xs, ys = XS.float(), YS.float()
    late = xs[:1, -3:], ys[:1, -3:]
    answer = affine_recurrence()(xs, ys)
    torch.testing.assert_close(answer[:, 2:], ys[:, 2:], rtol=1e-4, atol=1e-4)
    assert bool(torch.isfinite(affine_recurrence()(*late)).all())


def test_before_two_pairs_the_last_value_is_repeated():
    torch.testing.assert_close(affine_recurrence()(XS, YS)[:, :2], XS[:, :2, 0])


def test_copying_is_exact_for_what_stands_still():
    torch.testing.assert_close(copy_last()(XS, YS)[4:], YS[4:])


def test_extrapolating_is_exact_for_equal_steps():
    torch.testing.assert_close(linear_extrapolation()(XS, YS)[3, 1:], YS[3, 1:])


def test_the_baselines_miss_what_the_oracle_solves():
    for build in (copy_last, linear_extrapolation):
        assert float((build()(XS, YS) - YS)[:3, 2:].abs().amax(dim=1).min()) > 0.01


def test_running_least_squares_averages_noise_over_all_pairs():
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(200, 30, 2, generator=generator)
    clean = 0.5 * xs[..., 0] - xs[..., 1] + 3
    noisy = clean + 0.1 * torch.randn(200, 30, generator=generator)
    error = (running_least_squares()(xs, noisy) - clean).square().mean(dim=0)
    assert float(error[29]) < 0.3 * float(error[6])
