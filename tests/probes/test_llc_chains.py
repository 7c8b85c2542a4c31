"""How chains walk: what changes them and what does not, one step and its noise, burn-in, thinning, divergence."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from llc_cases import FIT, LABELS, NOTHING, REGRESSION, SOURCES, regression_stream, run, squares
from torch import Tensor

METHODS = ("sgld", "rmsprop_sgld")


# Each two of source, batches and method together once.
PAIRS = [
    ("fixed", False, "sgld"),
    ("fixed", True, "rmsprop_sgld"),
    ("stream", False, "rmsprop_sgld"),
    ("stream", True, "sgld"),
]


@pytest.mark.parametrize(
    ("source", "shared", "method"),
    [(SOURCES[name], shared, method) for name, shared, method in PAIRS],
    ids=[f"{name}, {'shared' if shared else 'own'} batches, {method}" for name, shared, method in PAIRS],
)
def test_how_many_chains_run_at_once_changes_nothing(source: Any, shared: bool, method: str) -> None:
    settings = {
        "batch_size": 20, "num_chains": 5, "num_draws": 72, "num_burnin_steps": 4, "lr": 1e-4,
        "shared_batches": shared, "sampling_method": method,
    }  # fmt: skip
    start = {"w": FIT["w"].double()}
    doubled = {"fixed": (REGRESSION.double(), LABELS.double())}.get("fixed") if isinstance(source, tuple) else None
    data = doubled or (lambda n, *, seed: tuple(t.double() for t in regression_stream(n, seed=seed)))
    together, grouped, alone = (run(squares, start, data, chains_at_once=n, **settings) for n in (None, 2, 1))
    # Two blocks of random numbers; float64 and contracting steps: rounding stays rounding.
    torch.testing.assert_close(grouped.loss_trace, together.loss_trace, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.loss_trace, together.loss_trace, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.acceptance, together.acceptance, rtol=1e-9, atol=1e-9)


def test_chains_share_batches_only_if_asked() -> None:
    settings = {"batch_size": 8, "num_chains": 3, "num_draws": 2, "num_burnin_steps": 0}
    own = run(squares, FIT, (REGRESSION, LABELS), **settings).loss_trace[:, 0]
    shared = run(squares, FIT, (REGRESSION, LABELS), shared_batches=True, **settings).loss_trace[:, 0]
    assert len(set(own.tolist())) == 3
    torch.testing.assert_close(shared, shared[:1].expand(3))


def test_more_chains_leave_the_first_ones_alone() -> None:
    few, many = (run(num_chains=n, num_draws=20, num_burnin_steps=5) for n in (2, 4))
    torch.testing.assert_close(many.loss_trace[:2], few.loss_trace)


def test_burnin_never_enters_the_estimate() -> None:
    # From w* the losses rise for the whole of burn-in, so that including it would lower the mean.
    settings = {"num_draws": 50, "num_burnin_steps": 100, "lr": 2e-4}
    result = run(**settings)
    assert result.burnin_trace.shape == (64, 100)
    assert result.loss_trace.shape == (64, 50)
    np.testing.assert_allclose(result.estimate, 100.0 * (float(result.loss_trace.mean()) - result.init_loss))
    whole = run(num_draws=150, num_burnin_steps=0, lr=2e-4)
    torch.testing.assert_close(whole.loss_trace[:, 100:], result.loss_trace)
    torch.testing.assert_close(whole.loss_trace[:, :100], result.burnin_trace)
    assert whole.estimate < result.estimate - 0.1


def test_steps_between_draws_thin_the_trace() -> None:
    dense = run(num_chains=2, num_draws=30, num_burnin_steps=5)
    thin = run(num_chains=2, num_draws=10, num_burnin_steps=5, num_steps_bw_draws=3)
    torch.testing.assert_close(thin.loss_trace, dense.loss_trace[:, ::3])
    torch.testing.assert_close(thin.distance_trace, dense.distance_trace[:, ::3])


def test_one_step_is_the_documented_one() -> None:
    # Two steps from the same seed under two settings: the noise cancels and only the drift is left.
    start = {"w": torch.tensor([0.3, -0.2], dtype=torch.float64)}

    def slope(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return params["w"].sum() + 0 * batch.sum()

    settings = {"num_chains": 1, "num_draws": 3, "num_burnin_steps": 0, "lr": 0.01, "localization": 7.0}
    weak, strong = (run(slope, start, NOTHING.double(), nbeta=nbeta, **settings).loss_trace[0] for nbeta in (1.0, 3.0))
    first = -(0.01 / 2) * (3.0 - 1.0) * 2  # lr / 2 times the difference of nbeta, over two entries
    second = first * (2 - 0.01 / 2 * 7.0)  # the pull towards w* shrinks the first one
    torch.testing.assert_close(strong - weak, torch.tensor([0.0, first, second], dtype=torch.float64))


def test_noise_has_the_variance_of_the_step() -> None:
    flat = {"w": torch.zeros(4000)}
    result = run(lambda p, b: 0 * p["w"].sum() + b.sum(), flat, num_chains=2, num_draws=2, num_burnin_steps=0, lr=0.04)
    # |w - w*|^2 after one step is lr * 4000 up to 2 %.
    np.testing.assert_allclose(result.distance_trace[:, 1].square(), 0.04 * 4000, rtol=0.1)


def test_a_diverged_chain_is_isolated_reported_and_left_out() -> None:
    # (w1 w2)^2 with a large step: some chains run away, from w* too.
    def crossing(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return params["w"].prod().square() + 0 * batch.sum()

    settings = {"nbeta": 1000.0, "lr": 5e-3, "localization": 1.0, "num_draws": 200}
    result = run(crossing, {"w": torch.zeros(2)}, **settings)
    assert 0 < int(result.diverged.sum()) < 64
    assert not bool(result.loss_trace[result.diverged].isfinite().all())
    healthy = result.chain_estimates[~result.diverged]
    np.testing.assert_allclose(result.estimate, float(healthy.mean()))
    assert "diverged" in result.raised
    first_sound = int((~result.diverged).nonzero()[0])
    alone = run(crossing, {"w": torch.zeros(2)}, **settings | {"num_chains": first_sound + 1}, chains_at_once=1)
    torch.testing.assert_close(alone.loss_trace[first_sound], result.loss_trace[first_sound], rtol=1e-3, atol=1e-6)


def test_a_chain_that_ran_away_without_overflow_is_left_out_too() -> None:
    # Unstable (lr * P = 4.8), but too few steps for an overflow: the estimate is finite and absurd.
    result = run(lr=1.2e-2, num_draws=30, num_burnin_steps=10)
    assert bool(result.loss_trace.isfinite().all())
    assert bool(result.diverged.all())
    assert math.isnan(result.estimate)
    assert "0 of 64 chains" in repr(result)
