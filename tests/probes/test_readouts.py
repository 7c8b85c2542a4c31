"""Read-outs of layers: single probes as the reference, both methods, planted layers and none, errors."""

import numpy as np
import pytest
import torch
from hand_made import descent, draw_prompts, linear_attention
from torch import Tensor

from probes.linear import fit_linear_probe
from probes.readouts import fit_layer_readouts, readout_errors
from probes.step_matching import match_steps


def draw(n: int = 80) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, n, 4, 5, generator=generator, dtype=torch.float64) * 3 + 1
    noise = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return hidden, hidden[1, :, :, 0] - 2 * hidden[1, :, :, 4] + 0.1 * noise


HIDDEN, LABELS = draw()
RIDGE = fit_layer_readouts(HIDDEN, LABELS)


def test_ridge_equals_a_probe_of_each_layer() -> None:
    groups = torch.arange(80).repeat_interleave(4)
    for layer in range(3):
        probe = fit_linear_probe(HIDDEN[layer].flatten(0, 1), LABELS.flatten(), groups=groups)
        torch.testing.assert_close(RIDGE.weight[layer], probe.weight[:, 0])
        torch.testing.assert_close(RIDGE.bias[layer], probe.bias[0])
        share = 1 - (RIDGE.predictions[layer] - LABELS).square().mean() / LABELS.var(unbiased=False)
        # R² takes the training folds' means as its zero, which 64 prompts know to a few per cent of the spread.
        np.testing.assert_allclose(float(share), float(probe.r2), atol=0.02)


def test_read_outs_by_entry_equal_fits_that_leave_one_prompt_out() -> None:
    penalty = 0.7
    found = readout_errors(HIDDEN[:, :12], LABELS[:12], penalties=[penalty])
    for layer in range(3):
        for k in range(4):
            left_out = []
            for one in range(12):
                rest = [i for i in range(12) if i != one]
                x, y = HIDDEN[layer, rest, k], LABELS[rest, k]
                centred = x - x.mean(0)
                weight = torch.linalg.solve(
                    centred.T @ centred + penalty * torch.eye(5).double(), centred.T @ (y - y.mean())
                )
                left_out.append(LABELS[one, k] - y.mean() - (HIDDEN[layer, one, k] - x.mean(0)) @ weight)
            torch.testing.assert_close(found[layer, k], torch.stack(left_out).square().mean(), rtol=1e-9, atol=0)


def test_read_outs_by_entry_find_the_planted_layer_and_no_other() -> None:
    found = readout_errors(HIDDEN, LABELS)
    assert float(found[1].max()) < 0.05 < 10 < float(found[[0, 2]].min())
    constant = readout_errors(torch.ones(1, 9, 1, 4), torch.arange(9.0)[:, None])
    torch.testing.assert_close(constant, torch.tensor([[float(np.var(np.arange(9))) * (9 / 8) ** 2]]))
    with pytest.raises(ValueError, match="readout_errors needs a number of prompts of at least 3, got 2"):
        readout_errors(HIDDEN[:, :2], LABELS[:2])


@pytest.mark.parametrize("method", ["ridge", "sgd"])
def test_the_planted_layer_is_read_and_others_are_not(method: str) -> None:
    found = fit_layer_readouts(HIDDEN, LABELS, method=method, lr=0.1, steps=200, n_folds=2)
    assert found.errors[1].mean.high < 0.1
    assert found.errors[0].mean.low > 10
    assert found.errors[2].mean.low > 10
    expected = torch.tensor([1.0, 0.0, 0.0, 0.0, -2.0]).double()
    torch.testing.assert_close(found.weight[1], expected, rtol=0, atol=0.1)  # 200 steps end near it
    torch.testing.assert_close(found.bias[1], torch.tensor(0.0).double(), rtol=0, atol=0.1)


def test_both_methods_agree() -> None:
    found = fit_layer_readouts(HIDDEN, LABELS, method="sgd", lr=0.1, steps=300, n_folds=2)
    torch.testing.assert_close(found.predictions[1], RIDGE.predictions[1], rtol=0, atol=0.1)


def test_errors_are_those_of_held_out_predictions() -> None:
    literal = (RIDGE.predictions - LABELS).square()
    for layer, curve in enumerate(RIDGE.errors):
        torch.testing.assert_close(curve.values, literal[layer].mean(dim=0))
    # With as many features as prompts a fit on its own prompts would look perfect.
    wide = torch.randn(1, 20, 1, 20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.randn(20, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert fit_layer_readouts(wide, labels).errors[0].mean.value > 0.5


def test_read_outs_of_a_hand_made_network_find_its_steps() -> None:
    # Layer l of the network holds l steps of descent in its query token, at every entry.
    xs, ys, _ = draw_prompts(200, 8)
    layers = []
    hidden: list[Tensor] = []
    linear_attention(3, 0.1, hidden=hidden)(xs, ys)
    for layer in range(3):
        layers.append(torch.stack(hidden[layer::3], dim=1))  # entries one after another
    tuned = fit_layer_readouts(torch.stack(layers), ys, n_bootstrap=50)
    errors = [curve.mean.value for curve in tuned.errors]
    assert errors[0] > errors[1] > errors[2]
    candidates = torch.stack([descent(steps, 0.1)(xs, ys) for steps in range(1, 6)])
    # Read out without tuning, the layers are steps 1, 2 and 3; a tuned read-out rescales what is partly learned.
    raw = torch.stack([-layer[..., -1] for layer in layers])
    assert match_steps(raw, candidates, ys, steps=range(1, 6), n_bootstrap=50).best_steps == (1, 2, 3)


def test_options() -> None:
    strong = fit_layer_readouts(HIDDEN, LABELS, penalties=[1e12], n_bootstrap=20)
    assert float(strong.weight.abs().max()) < 1e-6
    first, again, other = (fit_layer_readouts(HIDDEN, LABELS, n_folds=2, seed=s, n_bootstrap=20) for s in (0, 0, 1))
    torch.testing.assert_close(first.predictions, again.predictions, rtol=0, atol=0)
    assert not torch.equal(first.predictions, other.predictions)
    wide, narrow = (fit_layer_readouts(HIDDEN, LABELS, confidence=c, n_bootstrap=100).errors[0] for c in (0.99, 0.5))
    assert wide.mean.low < narrow.mean.low
    short = fit_layer_readouts(HIDDEN, LABELS, method="sgd", steps=1, lr=1e-3, batch_size=4)
    assert float(short.weight.abs().max()) < 1e-2


def test_float32_dead_features_and_repr() -> None:
    dead = HIDDEN.float().clone()
    dead[0] = 2.0
    found = fit_layer_readouts(dead, LABELS.float(), method="sgd", steps=20)
    assert found.predictions.dtype == found.weight.dtype == torch.float32
    assert bool(found.predictions.isfinite().all())
    assert repr(RIDGE).endswith("method='ridge')")


ERRORS = {
    "few prompts": (lambda: fit_layer_readouts(HIDDEN[:, :4], LABELS[:4]), "number of prompts of at least 5, got 4"),
    "folds": (lambda: fit_layer_readouts(HIDDEN, LABELS, n_folds=1), "n_folds of at least 2"),
    "steps": (lambda: fit_layer_readouts(HIDDEN, LABELS, steps=0), "steps of at least 1, got 0"),
    "batch_size": (lambda: fit_layer_readouts(HIDDEN, LABELS, batch_size=0), "batch_size of at least 1, got 0"),
    "lr": (lambda: fit_layer_readouts(HIDDEN, LABELS, lr=0.0), "a positive lr, got 0.0"),
    "penalties": (lambda: fit_layer_readouts(HIDDEN, LABELS, penalties=[0.0]), "positive finite penalties"),
    "seed": (lambda: fit_layer_readouts(HIDDEN, LABELS, seed=-1), "seed of at least 0"),
    "NaN": (lambda: fit_layer_readouts(HIDDEN * torch.nan, LABELS), "finite hidden"),
    "n_bootstrap": (lambda: fit_layer_readouts(HIDDEN, LABELS, n_bootstrap=0), "n_bootstrap of at least 1"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
