"""A signature over training checkpoints: planted growth, controls, errors."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from probes.signature import fit_signature, signature_emergence
from probes.subspaces import subspace_overlap

AXES = torch.eye(6, dtype=torch.float64)


def checkpoint(strength: float, axis: int = 0, seed: int = 0) -> Tensor:
    noise = torch.randn(40, 9, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise + strength * AXES[axis]


def test_a_planted_direction_emerges() -> None:
    found = signature_emergence({0: checkpoint(0.0), 100: checkpoint(2.0), 200: checkpoint(8.0)}, k=1)
    assert found.steps == (0, 100, 200)
    assert found.within[0] < 0.3 < found.within[1] < found.within[2]
    assert found.overlap_with_final[1] > 0.9
    assert found.chance == 1 / 6
    assert repr(found).startswith("SignatureEmergence(3 checkpoints, steps 0..200, overlap within 0.")


def test_without_training_signal_nothing_emerges() -> None:
    # Fresh noise at each checkpoint: no signature within, and no agreement between beyond chance.
    found = signature_emergence({step: checkpoint(0.0, seed=step) for step in range(30)}, k=1)
    # One random line against another has overlap 1/6 with standard deviation 0.2; four of the mean of 29.
    assert abs(found.overlap_with_previous.mean() - found.chance) < 0.15
    assert abs(found.within.mean() - found.chance) < 0.05


def test_a_jump_shows_between_neighbours_only() -> None:
    steps = {0: checkpoint(8.0), 1: checkpoint(8.0, seed=1), 2: checkpoint(8.0, axis=3), 3: checkpoint(8.0, 3, seed=1)}
    found = signature_emergence(steps, k=1)
    assert found.overlap_with_previous[[0, 2]].min() > 0.99
    assert found.overlap_with_previous[1] < 0.01
    torch.testing.assert_close(found.overlap_with_final > 0.5, torch.tensor([False, False, True, True]))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("center", [False, True])
def test_formulas(side: str, center: bool) -> None:
    steps = {step: checkpoint(step, seed=step) for step in (1, 2, 5)}
    options = {"k": 2, "side": side, "center": center}
    found = signature_emergence(steps, **options)
    fitted = [fit_signature(a, **options) for a in steps.values()]
    final = fitted[-1]
    for t, signature in enumerate(fitted):
        torch.testing.assert_close(found.overlap_with_final[t], subspace_overlap(signature.reference, final.reference))
        cosines = (signature.direction_references * final.direction_references).sum(dim=1).abs()
        torch.testing.assert_close(found.alignment_with_final[t], cosines)
        torch.testing.assert_close(found.within[t], signature.pairwise_overlap)
    for t, (before, after) in enumerate(pairwise(fitted)):
        torch.testing.assert_close(found.overlap_with_previous[t], subspace_overlap(after.reference, before.reference))
        cosines = (after.direction_references * before.direction_references).sum(dim=1).abs()
        torch.testing.assert_close(found.alignment_with_previous[t], cosines)


def test_iterators_of_checkpoints_and_batches() -> None:
    steps = {0: checkpoint(1.0), 9: checkpoint(3.0)}
    streamed = signature_emergence((step, iter(a.split(7))) for step, a in steps.items())
    expected = signature_emergence(steps)
    torch.testing.assert_close(streamed.overlap_with_final, expected.overlap_with_final, rtol=0, atol=1e-10)
    torch.testing.assert_close(streamed.within, expected.within, rtol=0, atol=1e-10)


def test_one_checkpoint_is_its_own_final() -> None:
    found = signature_emergence({5: checkpoint(1.0)})
    torch.testing.assert_close(found.overlap_with_final, torch.ones(1).double())
    assert found.overlap_with_previous.shape == (0,)
    assert found.alignment_with_previous.shape == (0, 2)


ERRORS = {
    "none": (lambda: signature_emergence({}), "number of checkpoints of at least 1, got 0"),
    "falling": (
        lambda: signature_emergence({2: checkpoint(1.0), 1: checkpoint(1.0)}),
        "steps that rise, got 1 after 2",
    ),
    "widths": (
        lambda: signature_emergence({1: checkpoint(1.0), 2: checkpoint(1.0)[..., :4]}),
        "as many dimensions at one checkpoint as at the last, got 6 and 4",
    ),
    "one sample": (lambda: signature_emergence({1: checkpoint(1.0)[:1]}), "fitted samples of at least 2"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
