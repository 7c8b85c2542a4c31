"""Targets of probes: a slow loop over prefixes as the reference, rank deficiency, causality, errors."""

import math

import numpy as np
import pytest
import torch
from hand_made import draw_prompts

from probes.targets import (
    largest_stable_step,
    least_squares_weights,
    moment_vector,
    prediction_differences,
    residuals,
    shared_signal,
)

XS, YS, _ = draw_prompts(6, 7)
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_moments_by_a_slow_loop(normalise: str) -> None:
    found = moment_vector(XS, YS, normalise=normalise).numpy()
    for k in range(7):
        expected = np.einsum("bpd,bp->bd", XS[:, :k].numpy(), YS[:, :k].numpy())
        divisor = max(1, k) if normalise == "mean" else 1
        np.testing.assert_allclose(found[:, k], expected / divisor, atol=1e-12)


def test_moments_without_the_shared_signal() -> None:
    plain = moment_vector(XS, YS - XS @ MEAN)
    torch.testing.assert_close(moment_vector(XS, YS, mean=MEAN), plain)
    torch.testing.assert_close(moment_vector(XS, YS), moment_vector(XS, YS, mean=0 * MEAN))


def test_weights_by_numpy_for_every_prefix() -> None:
    found = least_squares_weights(XS, YS).numpy()
    np.testing.assert_allclose(found[:, 0], 0.0)
    for b in range(6):
        for k in range(1, 7):
            expected = np.linalg.lstsq(XS[b, :k].numpy(), YS[b, :k].numpy())[0]
            np.testing.assert_allclose(found[b, k], expected, rtol=1e-8, atol=1e-10)


def test_weights_of_inputs_in_a_subspace_have_least_norm() -> None:
    flat = XS.clone()
    flat[..., 2] = 0.0
    found = least_squares_weights(flat, YS)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[..., 2], torch.zeros(6, 7).double())
    single = least_squares_weights(flat.float(), YS.float())  # the cut-off follows the caller's precision
    torch.testing.assert_close(single[:, 4:], found[:, 4:].float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("target", [moment_vector, least_squares_weights])
def test_targets_never_read_their_own_pair_or_later_ones(target: object) -> None:
    xs, ys = XS.clone(), YS.clone()
    xs[:, 4:], ys[:, 4:] = 9.0, 9.0
    torch.testing.assert_close(target(xs, ys)[:, :5], target(XS, YS)[:, :5])


def test_stable_step_is_where_the_steepest_direction_is_learned() -> None:
    found = largest_stable_step(XS)
    assert bool(found[:, 0].isnan().all())
    for k in range(1, 7):
        steepest = np.linalg.norm(XS[:, :k].numpy(), ord=2, axis=(1, 2)) ** 2
        np.testing.assert_allclose(found[:, k], k / steepest)
    assert math.isnan(float(largest_stable_step(0 * XS)[0, 3]))


def test_differences_and_residuals() -> None:
    predictions = {"a": YS, "b": 2 * YS, "c": 4 * YS}
    found = prediction_differences(predictions)
    assert list(found) == ["a - b", "a - c", "b - c"]
    torch.testing.assert_close(found["b - c"], -2 * YS)
    assert list(prediction_differences(predictions, [("c", "a")])) == ["c - a"]
    torch.testing.assert_close(residuals(3 * YS, YS), 2 * YS)
    torch.testing.assert_close(shared_signal(XS, MEAN), XS @ MEAN)


ERRORS = {
    "name": (
        lambda: prediction_differences({"a": YS, "b": YS}, [("a", "z")]),
        "a name to be one of 'a', 'b', got 'z'; pick one",
    ),
    "NaN": (lambda: moment_vector(XS, YS * torch.nan), "finite ys"),
    "dimensions": (lambda: moment_vector(XS, YS, mean=MEAN * torch.nan), "finite mean"),
    "residuals": (lambda: residuals(YS, YS * torch.nan), "finite ys"),
    "empty": (lambda: least_squares_weights(XS[:0], YS[:0]), "at least one entry along batch of xs"),
    "step": (lambda: largest_stable_step(XS * torch.nan), "finite xs"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
