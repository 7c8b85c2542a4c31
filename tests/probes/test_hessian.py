"""Top eigenvalues against dense Hessians, with masks, signs and edges."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probes.hessian import top_hessian_eigenvalue

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
