"""Losses and data on which the tests of the sampler run it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.learning_coefficient import LearningCoefficient, estimate_learning_coefficient

NOTHING = torch.zeros(1)
CURVATURES = torch.tensor([2.0, 2.0, 2.0, 1.5, 1.5, 1.0, 1.0, 1.0, 4.0, 3.0])


def bowl(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return (CURVATURES * params["w"].square()).sum() / 2 + 0 * batch.sum()


def run(loss: Callable[..., Tensor] = bowl, start: Any = None, data: Any = NOTHING, **options: Any) -> Any:
    settings: dict[str, Any] = {"nbeta": 100.0, "lr": 2e-3, "localization": 5.0, "num_chains": 64} | options
    return estimate_learning_coefficient(loss, start or {"w": torch.zeros(10)}, data, **settings)


def assert_within_errors(result: LearningCoefficient, expected: float, errors: float = 4.0) -> None:
    # Four standard errors are exceeded once in 16,000 runs; a share that small of the truth is also asked for below.
    assert result.standard_error < 0.05 * expected
    np.testing.assert_allclose(result.estimate, expected, atol=errors * result.standard_error)


REGRESSION = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
LABELS = REGRESSION @ torch.ones(4) + torch.randn(300, generator=torch.Generator().manual_seed(2))
FIT = {"w": torch.linalg.lstsq(REGRESSION, LABELS[:, None]).solution[:, 0]}


def squares(params: dict[str, Tensor], batch: Any) -> Tensor:
    return (batch[0] @ params["w"] - batch[1]).square().mean()


def regression_stream(n_samples: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_samples, 4, generator=generator)
    return xs, xs @ torch.ones(4) + torch.randn(n_samples, generator=generator)


SOURCES = {"fixed": (REGRESSION, LABELS), "stream": regression_stream}
