"""What the sampler takes as data, parameters and settings, the loss at w*, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from llc_cases import FIT, LABELS, NOTHING, REGRESSION, SOURCES, bowl, regression_stream, run, squares
from torch import Tensor

from probes.learning_coefficient import NonFiniteLossError, estimate_learning_coefficient


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_regression_lands_near_half_the_parameters(source: Any) -> None:
    result = run(squares, FIT, source, batch_size=100, lr=5e-4, localization=0.1, num_init_loss_batches=400)
    # 4 / 2; the step and minibatch noise add up to a quarter, and the fit misses the stream's minimum a little.
    assert 1.6 < result.estimate < 2.8


def test_batches_may_be_dicts_or_single_tensors() -> None:
    def by_name(params: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return squares(params, (batch["xs"], batch["ys"]))

    def joined(params: dict[str, Tensor], batch: Tensor) -> Tensor:
        return squares(params, (batch[:, :4], batch[:, 4]))

    settings = {"batch_size": 16, "num_chains": 2, "num_draws": 5}
    plain = run(squares, FIT, (REGRESSION, LABELS), **settings)
    named = run(by_name, FIT, {"xs": REGRESSION, "ys": LABELS}, **settings)
    single = run(joined, FIT, torch.cat([REGRESSION, LABELS[:, None]], dim=1), **settings)
    torch.testing.assert_close(named.loss_trace, plain.loss_trace)
    torch.testing.assert_close(single.loss_trace, plain.loss_trace)


def test_init_loss_is_exact_on_small_sets_and_has_an_error_otherwise() -> None:
    sizes = {"num_chains": 2, "num_draws": 4}
    whole = run(squares, FIT, (REGRESSION, LABELS), **sizes)
    split = run(squares, FIT, (REGRESSION, LABELS), batch_size=64, **sizes)
    drawn = run(squares, FIT, (REGRESSION, LABELS), batch_size=5, num_init_loss_batches=30, **sizes)
    exact = float(squares(FIT, (REGRESSION, LABELS)))
    np.testing.assert_allclose([whole.init_loss, split.init_loss], exact, rtol=1e-5)
    assert (whole.init_loss_error, split.init_loss_error, split.n_init_batches) == (0.0, 0.0, 5)
    assert drawn.n_init_batches == 30
    assert 0 < abs(drawn.init_loss - exact) < 4 * drawn.init_loss_error
    np.testing.assert_allclose(drawn.total_error, math.hypot(drawn.standard_error, 100 * drawn.init_loss_error))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nbeta": ({"nbeta": 0.0}, "needs a positive finite nbeta, got 0.0"),
    "lr": ({"lr": math.inf}, "needs a positive finite lr, got inf"),
    "eps": ({"rmsprop_eps": -1.0}, "positive finite rmsprop_eps"),
    "localization": ({"localization": -1.0}, "needs a finite localization from 0"),
    "alpha": ({"rmsprop_alpha": 1.0}, "needs 0 <= rmsprop_alpha < 1"),
    "chains": ({"num_chains": 0}, "num_chains of at least 1"),
    "draws": ({"num_draws": 0}, "num_draws of at least 1"),
    "burn-in": ({"num_burnin_steps": -1}, "num_burnin_steps of at least 0"),
    "thinning": ({"num_steps_bw_draws": 0}, "num_steps_bw_draws of at least 1"),
    "mala": ({"num_mala_checks": 0}, "num_mala_checks of at least 1"),
    "init": ({"num_init_loss_batches": 0}, "num_init_loss_batches of at least 1"),
    "at once": ({"chains_at_once": 0}, "chains_at_once of at least 1"),
    "seed": ({"seed": -1}, "seed of at least 0"),
    "batch": ({"batch_size": 0}, "batch_size of at least 1, got 0"),
    "pattern": ({"param_masks": ["v*"]}, "'v\\*', which matches none of w"),
    "no pattern": ({"param_masks": []}, "at least one pattern"),
    "nothing moves": ({"param_masks": {"w": torch.zeros(10, dtype=torch.bool)}}, "entry that may move"),
    "mask shape": ({"param_masks": {"w": torch.ones(3, dtype=torch.bool)}}, r"got \(3,\) for 'w' of shape \(10,\)"),
    "no parameters": ({"start": {}}, "needs parameters, got an empty mapping"),
    "nan": ({"start": {"w": torch.full((10,), math.nan)}}, "finite parameters, got NaN or infinity in 'w'"),
    "dtypes": ({"start": {"w": torch.zeros(10), "v": torch.zeros(1).double()}}, "one dtype and device"),
    "lengths": ({"data": (torch.zeros(3), torch.zeros(4))}, r"got \[3, 4\]"),
    "stream without size": ({"data": regression_stream}, "needs a batch_size for streaming data"),
    "stream length": ({"data": lambda n, *, seed: torch.zeros(n + seed + 1), "batch_size": 4}, r"got \[3\] for 2"),
    "vector loss": ({"loss": lambda p, _: p["w"]}, r"return one number, got shape \(10,\)"),
    "infinite loss": ({"loss": lambda p, _: p["w"].sum() / 0}, "finite loss at w"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    chosen = dict(options)
    start = chosen.pop("start", {"w": torch.zeros(10)})
    settings = {"nbeta": 1.0, "lr": 1e-3, "num_draws": 5} | chosen
    loss, data = settings.pop("loss", bowl), settings.pop("data", NOTHING)
    with pytest.raises(ValueError, match=message):
        estimate_learning_coefficient(loss, start, data, **settings)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_an_error_of_its_own(number: float) -> None:
    with pytest.raises(NonFiniteLossError, match=f"needs a finite loss at w\\*, got {number}; check the parameters"):
        run(lambda params, _: number + 0 * params["w"].sum(), num_draws=5)


REFUSED_KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "mask dtype": ({"param_masks": {"w": torch.ones(10)}}, "boolean masks, got torch.float32"),
    "string": ({"param_masks": "w"}, "list of patterns as param_masks, got the string 'w'"),
    "data": ({"data": 3}, "got int"),
    "no tensors": ({"data": ()}, "got tuple"),
    "loss": ({"loss": lambda *_: 1.0}, "return a tensor, got float"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED_KINDS.values(), ids=REFUSED_KINDS)
def test_wrong_kinds_are_refused(options: dict[str, Any], message: str) -> None:
    settings = {"nbeta": 1.0, "lr": 1e-3, "num_draws": 5} | options
    loss, data = settings.pop("loss", bowl), settings.pop("data", NOTHING)
    with pytest.raises(TypeError, match=message):
        estimate_learning_coefficient(loss, {"w": torch.zeros(10)}, data, **settings)
