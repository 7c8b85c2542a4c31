"""Least squares and ridge: exactness where it is hard, and where the fast path must step aside."""

import numpy as np
import pytest
import torch

from icl_interp.predictors import _prefix_lstsq, least_squares, ridge
from icl_interp.predictors.least_squares import ridge_predictions


def truth(xs, ys):
    # One decomposition a prefix in float64; the rank tolerance is that of the dtype the inputs came in.
    answer = torch.zeros(ys.shape, dtype=torch.float64)
    for k in range(1, xs.shape[1]):
        cutoff = torch.finfo(xs.dtype).eps * max(k, xs.shape[2])
        inverse = torch.linalg.pinv(xs[:, :k].double(), rtol=cutoff)
        weights = (inverse @ ys[:, :k, None].double())[..., 0]
        answer[:, k] = (xs[:, k].double() * weights).sum(dim=1)
    return answer


def subspace(xs):
    basis = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(5)))[0]
    return xs[..., :10] @ basis[:10]


INPUTS = {
    "isotropic": lambda xs: xs,
    "half subspace": subspace,
    "skewed": lambda xs: xs * torch.logspace(0, -2, 20),
    "categories": lambda xs: torch.nn.functional.one_hot(xs.argmax(dim=2), 20).float(),
    "repeated": lambda xs: xs[:, torch.arange(41) // 3],
    "one input off the subspace": lambda xs: torch.where(torch.arange(41)[:, None] == 14, xs, subspace(xs)),
    "rows of all sizes": lambda xs: xs * 10 ** (12 * torch.rand(41, 1, generator=torch.Generator().manual_seed(7)) - 6),
    "subspace rows of all sizes": lambda xs: INPUTS["rows of all sizes"](subspace(xs)),
    "huge late inputs": lambda xs: torch.cat([subspace(xs)[:, :30], 1e6 * xs[:, 30:]], dim=1),
    "tiny late inputs": lambda xs: torch.cat([subspace(xs)[:, :30], 1e-3 * xs[:, 30:]], dim=1),
}


@pytest.fixture(name="noise")
def _noise():
    return torch.randn(100, 41, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", INPUTS)
def test_is_exact_for_float32_inputs_with_noisy_labels(kind, noise):
    xs = INPUTS[kind](torch.randn(100, 41, 20, generator=torch.Generator().manual_seed(0)))
    ys = xs.sum(dim=2) + 0.5 * noise
    expected = truth(xs, ys)
    error = (least_squares()(xs, ys) - expected).abs() / (1 + expected.abs())
    assert float(error.max()) <= 1e-6


def test_a_float64_tolerance_would_fit_the_rounding_of_a_subspace(noise):
    # The trap: the same float32 numbers, declared to be float64, have full rank. Unit vectors as queries
    # read the weights off.
    xs = subspace(torch.randn(1, 41, 20, generator=torch.Generator().manual_seed(0)))
    ys = (xs.sum(dim=2) + 0.5 * noise[:1]).expand(20, 41)
    xs = torch.cat([xs[:, :-1].expand(20, 40, 20), torch.eye(20)[:, None]], dim=1)
    careful = least_squares()(xs, ys, points=[-1])
    naive = least_squares()(xs.double(), ys.double(), points=[-1])
    assert float(careful.norm()) < 10
    assert float(naive.norm()) > 1e5


def test_the_slow_fallback_is_rare(monkeypatch, noise):
    counts = []
    original = _prefix_lstsq.exact_predictions

    def counted(xs, ys, where, spectral_filter):
        counts.append(int(where.sum()))
        return original(xs, ys, where, spectral_filter)

    monkeypatch.setattr(_prefix_lstsq, "exact_predictions", counted)
    xs = torch.randn(100, 41, 20, generator=torch.Generator().manual_seed(0))
    least_squares()(xs, xs.sum(dim=2) + noise)
    assert sum(counts) < 0.02 * noise.numel()


@pytest.mark.parametrize(("n_points", "n_dims"), [(200, 3), (90, 1), (50, 60), (150, 30)])
def test_long_prompts_go_by_blocks(n_points, n_dims):
    generator = torch.Generator().manual_seed(3)
    xs = torch.randn(2, n_points, n_dims, generator=generator, dtype=torch.float64)
    ys = torch.randn(2, n_points, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(least_squares()(xs, ys), truth(xs, ys), rtol=1e-8, atol=1e-8)
    expected = torch.zeros_like(ys)
    for k in range(1, n_points):
        system = xs[:, :k].mT @ xs[:, :k] + 0.3 * torch.eye(n_dims, dtype=torch.float64)
        weights = torch.linalg.solve(system, xs[:, :k].mT @ ys[:, :k, None])
        expected[:, k] = (xs[:, k] * weights[..., 0]).sum(dim=1)
    torch.testing.assert_close(ridge(0.3)(xs, ys), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("penalty", [1e-14, 1e-9, 1e-3, 10.0, 1e9], ids=str)
def test_ridge_at_any_penalty_matches_the_singular_value_formula(penalty):
    generator = torch.Generator().manual_seed(4)
    xs = torch.randn(3, 12, 5, generator=generator, dtype=torch.float64)
    ys = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    answer = ridge(penalty)(xs, ys)
    for k in (1, 4, 5, 11):
        left, s, right = np.linalg.svd(xs[:, :k].numpy(), full_matrices=False)
        weights = np.einsum("bri,br,bkr,bk->bi", right, s / (s**2 + penalty), left, ys[:, :k].numpy())
        expected = torch.from_numpy(np.einsum("bi,bi->b", weights, xs[:, k].numpy()))
        torch.testing.assert_close(answer[:, k], expected, rtol=1e-8, atol=1e-12)


def test_ridge_tends_to_least_squares():
    generator = torch.Generator().manual_seed(4)
    xs, ys = (
        torch.randn(3, 12, 5, generator=generator).double(),
        torch.randn(3, 12, generator=generator).double(),
    )
    torch.testing.assert_close(ridge(1e-12)(xs, ys), least_squares()(xs, ys), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ridge(0.0)(xs, ys), ridge_predictions(xs, ys, 0.0, 2e-16), rtol=0, atol=0)


def test_fits_what_is_linear_exactly():
    #                 x1   x2            w = (2, -1)
    xs = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [3.0, 5.0]])[None]
    ys = torch.tensor([[2.0, 4.0, -1.0, 99.0]])
    # nothing known; along x1; x2 not yet seen; everything
    torch.testing.assert_close(least_squares()(xs, ys), torch.tensor([[0.0, 4.0, 0.0, 1.0]]))


def test_the_gradient_at_the_query_is_the_fitted_weight_vector():
    xs = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    ys = (xs.detach() * torch.tensor([1.0, -2.0, 3.0])).sum(dim=2)
    least_squares()(xs, ys, points=[-1]).sum().backward()
    torch.testing.assert_close(xs.grad[:, -1], torch.tensor([[1.0, -2.0, 3.0]]).double().expand(4, 3))


def test_bayes_optimal_ridge_beats_its_neighbours():
    generator = torch.Generator().manual_seed(6)
    xs = torch.randn(4000, 9, 8, generator=generator)
    weights = torch.randn(4000, 8, 1, generator=generator)
    ys = (xs @ weights)[..., 0] + 0.5 * torch.randn(4000, 9, generator=generator)
    losses = {penalty: (ridge(penalty)(xs, ys) - ys)[:, -1].square().mean() for penalty in (0.05, 0.25, 1.25)}
    assert min(losses, key=losses.get) == 0.25
