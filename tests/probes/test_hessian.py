"""Top eigenvalues against dense Hessians, with masks, signs and edges."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.learning_coefficient.hessian import top_hessian_eigenvalue

MATRIX = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MATRIX = MATRIX @ MATRIX.T
NOTHING = torch.zeros(1)


def quadratic(matrix: Tensor) -> Any:
    def loss(params: dict[str, Tensor], _: Tensor) -> Tensor:
        w = torch.cat([params["a"], params["b"]])
        return w @ matrix @ w / 2 + w.pow(4).sum()

    return loss


START = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.zeros(4, dtype=torch.float64)}
SHIFTS = {"positive": 0.0, "mixed, negative dominates": 1.2, "negative": 4.0}


@pytest.mark.parametrize("share", SHIFTS.values(), ids=SHIFTS)
def test_agrees_with_the_dense_hessian(share: float) -> None:
    top = float(torch.linalg.eigvalsh(MATRIX)[-1])
    matrix = MATRIX - share * top / 2 * torch.eye(6)
    found = top_hessian_eigenvalue(quadratic(matrix), START, NOTHING, tolerance=1e-9, max_iterations=2000)
    np.testing.assert_allclose(found, float(torch.linalg.eigvalsh(matrix)[-1]), rtol=1e-4, atol=1e-4)


def test_masks_restrict_it() -> None:
    found = top_hessian_eigenvalue(quadratic(MATRIX), START, NOTHING, param_masks=["b"], tolerance=1e-8)
    np.testing.assert_allclose(found, float(torch.linalg.eigvalsh(MATRIX[2:, 2:])[-1]), rtol=1e-4)
    keep = torch.tensor([True, False, True, False])
    found = top_hessian_eigenvalue(quadratic(MATRIX), START, NOTHING, param_masks={"b": keep}, tolerance=1e-8)
    rows = [2, 4]
    np.testing.assert_allclose(found, float(torch.linalg.eigvalsh(MATRIX[rows][:, rows])[-1]), rtol=1e-4)


def test_linear_and_infinite_losses() -> None:
    start = {"w": torch.zeros(3)}
    assert top_hessian_eigenvalue(lambda p, _: p["w"].sum(), start, NOTHING) == 0.0
    assert math.isnan(top_hessian_eigenvalue(lambda p, _: p["w"].abs().pow(1.5).sum(), start, NOTHING))


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="max_iterations of at least 1, got 0"):
        top_hessian_eigenvalue(quadratic(MATRIX), START, NOTHING, max_iterations=0)


def network(n_inputs: int, n_hidden: int, seed: int, dtype: torch.dtype) -> tuple[Any, dict[str, Tensor], Any]:
    generator = torch.Generator().manual_seed(seed)
    params = {
        "inner": torch.randn(n_inputs, n_hidden, generator=generator).to(dtype),
        "outer": torch.randn(n_hidden, generator=generator).to(dtype),
    }
    xs = torch.randn(30, n_inputs, generator=generator).to(dtype)
    ys = 3 * torch.randn(30, generator=generator).to(dtype)

    def loss(p: dict[str, Tensor], batch: Any) -> Tensor:
        return (torch.tanh(batch[0] @ p["inner"]) @ p["outer"] - batch[1]).square().mean()

    return loss, params, (xs, ys)


def dense(loss: Any, params: dict[str, Tensor], batch: Any) -> Tensor:
    sizes = [value.numel() for value in params.values()]

    def of_row(row: Tensor) -> Tensor:
        pieces = zip(params.items(), torch.split(row, sizes), strict=True)
        return loss({name: piece.view(value.shape) for (name, value), piece in pieces}, batch)

    row = torch.cat([value.flatten() for value in params.values()])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(of_row, row).double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 9)], ids=str)
def test_agrees_with_dense_hessians_of_networks(shape: tuple[int, int], dtype: torch.dtype) -> None:
    for seed in range(4):
        loss, params, batch = network(*shape, seed, dtype)
        spectrum = dense(loss, params, batch)
        assert float(spectrum[0]) < 0 < float(spectrum[-1])  # saddles all
        found = top_hessian_eigenvalue(loss, params, batch)
        np.testing.assert_allclose(found, float(spectrum[-1]), rtol=2e-3)
        assert found == top_hessian_eigenvalue(loss, params, batch)


@pytest.mark.parametrize("tilt", [-0.02, 0.0, 0.02])
def test_spectra_that_are_nearly_symmetric(tilt: float) -> None:
    # a^T M b has the eigenvalues +-s of M; power iteration never settles on one of them.
    matrix = torch.randn(25, 25, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start = {"a": torch.zeros(25, dtype=torch.float64), "b": torch.zeros(25, dtype=torch.float64)}

    def loss(p: dict[str, Tensor], _: Tensor) -> Tensor:
        return p["a"] @ matrix @ p["b"] + tilt * (p["a"].square().sum() + p["b"].square().sum()) / 2

    top = float(torch.linalg.svdvals(matrix)[0])
    np.testing.assert_allclose(top_hessian_eigenvalue(loss, start, NOTHING), top + tilt, rtol=1e-3)


def test_a_top_far_below_the_bottom() -> None:
    # Eigenvalues from -1 to -1e-6 or 1e-6, in float32: right against the largest magnitude.
    scales = -torch.logspace(0, -6, 60)
    for top in (-1e-6, 1e-6):
        scales[-1] = top
        found = top_hessian_eigenvalue(
            lambda p, _: (scales * p["w"].square()).sum() / 2, {"w": torch.zeros(60)}, NOTHING
        )
        assert abs(found - top) <= 2e-3


def test_one_entry_and_one_that_may_move() -> None:
    cube = {"w": torch.tensor([2.0])}
    np.testing.assert_allclose(top_hessian_eigenvalue(lambda p, _: -p["w"].pow(3).sum(), cube, NOTHING), -12.0)
    held = {"w": torch.tensor([False, True, False, False, False, False])}
    start = {"w": torch.zeros(6)}
    found = top_hessian_eigenvalue(lambda p, _: -p["w"].square().sum(), start, NOTHING, param_masks=held)
    assert found == -2.0
