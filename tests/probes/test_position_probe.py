"""The position-attention probe: planted positions, what only the deep head reads, its control, errors."""

from functools import cache

import pytest
import torch
from torch import Tensor

from probes.position_probe import PositionProbe, fit_position_probe


def draw(n: int = 400) -> Tensor:
    return torch.randn(n, 6, 4, generator=torch.Generator().manual_seed(0))


HIDDEN = draw()
# One coordinate sits at position 1, the other at position 4.
TARGETS = torch.stack([3 * HIDDEN[:, 1, 0] + 5, HIDDEN[:, 4, 2]], dim=1)


def fit(hidden: Tensor = HIDDEN, targets: Tensor = TARGETS, **options: object) -> PositionProbe:
    return fit_position_probe(hidden, targets, **{"lr": 0.03, "steps": 400, "n_bootstrap": 50, **options})


@cache
def linear() -> PositionProbe:
    return fit()


def test_each_coordinate_is_found_where_it_sits() -> None:
    assert linear().attention.argmax(dim=1).tolist() == [1, 4]
    torch.testing.assert_close(linear().attention.sum(dim=1), torch.ones(2))
    assert float(linear().r2.min()) > 0.95
    assert float(linear().selectivity.min()) > 0.8
    assert bool((linear().r2_interval[:, 0] <= linear().r2).all())
    assert bool((linear().r2 <= linear().r2_interval[:, 1]).all())


def test_predictions_are_in_target_units_and_the_error_is_theirs() -> None:
    said = linear().predict(HIDDEN)
    # Test prompts are a fifth of them; all of them have nearly the same error.
    torch.testing.assert_close((said - TARGETS).square().mean(dim=0), linear().error, rtol=0.6, atol=0.02)
    fresh = draw(50).flip(0) * 1.1
    truth = torch.stack([3 * fresh[:, 1, 0] + 5, fresh[:, 4, 2]], dim=1)
    assert float((linear().predict(fresh) - truth).square().mean()) < 0.2


def test_nothing_is_found_in_noise() -> None:
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(8))
    found = fit(targets=noise, steps=150)
    assert float(found.r2.max()) < 0.15
    assert float(found.r2_interval[:, 0].max()) < 0.05


def test_the_deep_head_reads_what_a_linear_one_cannot() -> None:
    square = HIDDEN[:, 2, :1].square()
    options = {"targets": square, "d_hidden": 24, "controls": False}
    assert float(fit(**options, steps=150).r2) < 0.2
    deep = fit(head="mlp", **options, steps=600, lr=0.01)
    assert float(deep.r2) > 0.7
    assert deep.attention[0].argmax() == 2
    assert deep.r2_shuffled is None
    assert deep.predict(HIDDEN).shape == (400, 1)


def test_splits_and_seed() -> None:
    assert linear().n_prompts == (240, 80, 80)
    short = [fit(steps=20, seed=s, batch_size=16) for s in (0, 0, 1)]
    torch.testing.assert_close(short[0].attention, short[1].attention, rtol=0, atol=0)
    assert not torch.equal(short[0].attention, short[2].attention)
    wide, narrow = (fit(steps=20, controls=False, confidence=c, n_bootstrap=200).r2_interval for c in (0.99, 0.5))
    assert bool((wide[:, 0] < narrow[:, 0]).all())


def test_smallest_sizes_dtype_and_repr() -> None:
    found = fit(HIDDEN[:10, :1].double(), TARGETS[:10, :1].double(), steps=3)
    assert found.n_prompts == (6, 2, 2)
    assert found.r2.dtype == torch.float64
    torch.testing.assert_close(found.attention, torch.ones(1, 1).double())
    assert repr(linear()).endswith("head='linear', n_prompts=(240, 80, 80))")


def test_defaults_and_no_gradients_left() -> None:
    found = fit_position_probe(HIDDEN[:20], TARGETS[:20])
    assert not any(tensor.requires_grad for tensor in found.parameters.values())
    assert HIDDEN.grad is None


ERRORS = {
    "few": (lambda: fit(HIDDEN[:9], TARGETS[:9]), "number of prompts of at least 10, got 9"),
    "constant": (lambda: fit(targets=0 * TARGETS + 1), "every target to vary, got target 0 constant at 1"),
    "steps": (lambda: fit(steps=0), "steps of at least 1, got 0"),
    "d_hidden": (lambda: fit(d_hidden=0), "d_hidden of at least 1, got 0"),
    "batch_size": (lambda: fit(batch_size=0), "batch_size of at least 1, got 0"),
    "lr": (lambda: fit(lr=-1.0), "a positive lr, got -1.0"),
    "seed": (lambda: fit(seed=-1), "seed of at least 0"),
    "n_bootstrap": (lambda: fit(n_bootstrap=0), "n_bootstrap of at least 1"),
    "NaN": (lambda: fit(HIDDEN * torch.nan), "finite hidden"),
    "positions": (lambda: linear().predict(HIDDEN[:, :2]), "as many positions as positions fitted, got 2 and 6"),
    "width": (lambda: linear().predict(HIDDEN[..., :2]), "as many features as features fitted, got 2 and 4"),
    "no control": (lambda: fit(steps=1, controls=False).selectivity, "pass controls=True"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
