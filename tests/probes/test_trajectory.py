"""Joint PCA against plain SVD, streamed against in memory, weights by repetition, landmarks, signs, the null."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from probes.trajectory.joint_pca import _landmark_rows, joint_trajectory_pca, log_step_weights

GENERATOR = torch.Generator().manual_seed(5)
TIME = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]


def curves(n_outputs: int) -> dict[str, Tensor]:
    # Two planted directions with clear shares, and noise.
    basis = torch.linalg.qr(torch.randn(n_outputs, 2, generator=GENERATOR, dtype=torch.float64)).Q.T
    runs = {}
    for index, name in enumerate(("M=4", "M=16", "M=inf")):
        plane = torch.cat([5 * TIME, 2 * torch.sin(3 * TIME + index)], dim=1) @ basis
        runs[name] = 7 + plane + 0.02 * torch.randn(30, n_outputs, generator=GENERATOR, dtype=torch.float64)
    return runs


NARROW, WIDE = curves(20), curves(700)  # the second takes the route for many outputs
each_width = pytest.mark.parametrize("runs", [NARROW, WIDE], ids=["narrow", "wide"])


@each_width
def test_agrees_with_svd_of_the_centred_stack(runs: dict[str, Tensor]) -> None:
    found = joint_trajectory_pca(runs, n_components=3)
    stack = torch.cat(list(runs.values()))
    mean = stack.mean(dim=0)
    _, s, right = torch.linalg.svd(stack - mean, full_matrices=False)
    torch.testing.assert_close(found.mean, mean)
    # Two planted directions are far apart; the third is noise among noise, where only the variance is stable.
    torch.testing.assert_close((found.components[:2] * right[:2]).sum(dim=1).abs(), torch.ones(2).double())
    torch.testing.assert_close(found.explained, s[:3].square() / s.square().sum(), rtol=1e-6, atol=0)
    np.testing.assert_allclose(found.total_variance, float(s.square().sum()) / 90, rtol=1e-9)
    torch.testing.assert_close(found.scores["M=16"], (runs["M=16"] - mean) @ found.components.T)
    torch.testing.assert_close(found.project(runs["M=16"]), found.scores["M=16"])
    assert "3 runs, explained" in repr(found)


@each_width
def test_blocks_from_a_function_and_float32_give_the_same(runs: dict[str, Tensor]) -> None:
    def reader(rows: Tensor) -> Any:
        def blocks() -> Iterator[Tensor]:
            yield from rows.float().split(7)

        return blocks

    whole, streamed = joint_trajectory_pca(runs), joint_trajectory_pca({k: reader(v) for k, v in runs.items()})
    # Rows were rounded to float32.
    torch.testing.assert_close(streamed.scores["M=4"], whole.scores["M=4"], rtol=0, atol=1e-4)
    torch.testing.assert_close(streamed.null.explained, whole.null.explained, rtol=1e-3, atol=1e-4)


@each_width
def test_integer_weights_are_repetitions(runs: dict[str, Tensor]) -> None:
    counts = {name: torch.tensor([1.0, 2.0, 3.0] * 10) for name in runs}
    repeated = {name: rows.repeat_interleave(counts[name].long(), dim=0) for name, rows in runs.items()}
    weighted, expected = joint_trajectory_pca(runs, weights=counts), joint_trajectory_pca(repeated)
    torch.testing.assert_close(weighted.mean, expected.mean)
    torch.testing.assert_close(weighted.explained, expected.explained, rtol=1e-6, atol=0)
    torch.testing.assert_close(weighted.null.explained, expected.null.explained, rtol=1e-6, atol=0)
    firsts = counts["M=4"].long().cumsum(0) - counts["M=4"].long()
    torch.testing.assert_close(weighted.scores["M=4"], expected.scores["M=4"][firsts], rtol=1e-6, atol=1e-6)


def test_landmarks_are_projected_and_not_fitted() -> None:
    plain = joint_trajectory_pca(NARROW)
    far = {"ridge": torch.full((20,), 1e3, dtype=torch.float64), "zero": torch.zeros(20)}
    marked = joint_trajectory_pca(NARROW, landmarks=far)
    torch.testing.assert_close(marked.components, plain.components)
    torch.testing.assert_close(marked.landmarks["ridge"], plain.project(far["ridge"][None])[0])
    assert set(marked.landmarks) == {"ridge", "zero"}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_landmark_can_fix_the_signs(sign: float) -> None:
    plain = joint_trajectory_pca(NARROW)
    mark = plain.mean + sign * (plain.components[0] - 2 * plain.components[1])
    found = joint_trajectory_pca(NARROW, landmarks={"ridge": mark}, positive="ridge")
    torch.testing.assert_close(found.landmarks["ridge"], torch.tensor([1.0, 2.0], dtype=torch.float64))
    expected = plain.scores["M=4"] * sign * torch.tensor([1.0, -1.0])
    torch.testing.assert_close(found.scores["M=4"], expected)


def test_without_a_landmark_components_point_where_runs_go() -> None:
    there = joint_trajectory_pca(NARROW)
    back = joint_trajectory_pca({name: rows.flip(0) for name, rows in NARROW.items()})
    travelled = sum(score[-1] - score[0] for score in there.scores.values())
    assert bool((travelled > 0).all())
    torch.testing.assert_close(back.components, -there.components)
    closed = torch.cat([TIME, TIME.flip(0)]) * torch.tensor([-2.0, 1.0])  # ends where it starts
    assert float(joint_trajectory_pca({"loop": closed}, n_components=1).components.abs().max()) == float(
        joint_trajectory_pca({"loop": closed}, n_components=1).components.max()
    )


def test_smoothing_is_an_option_that_the_fit_never_sees() -> None:
    plain, smooth = joint_trajectory_pca(NARROW), joint_trajectory_pca(NARROW, smoothing=2.0)
    assert plain.smoothed is None
    assert smooth.smoothed is not None
    torch.testing.assert_close(smooth.components, plain.components)
    expected = gaussian_filter1d(plain.scores["M=4"].numpy(), 2.0, axis=0, mode="nearest")
    np.testing.assert_allclose(smooth.smoothed["M=4"].numpy(), expected, atol=1e-12)


def test_random_walks_explain_what_the_null_says_and_planted_curves_more() -> None:
    walks = {n: torch.randn(60, 4000, generator=GENERATOR, dtype=torch.float64).cumsum(0) for n in "abc"}
    found = joint_trajectory_pca(walks)
    # In 4,000 dimensions squared lengths scatter by sqrt(2 / 4000), 2 %.
    torch.testing.assert_close(found.explained, found.null.explained, rtol=0.05, atol=0)
    planted = joint_trajectory_pca(WIDE)
    assert float(planted.explained.sum()) > 1.2 * float(planted.null.explained.sum())


def test_one_walk_draws_cosines_and_thinning_keeps_the_shares() -> None:
    steps = torch.eye(1600, dtype=torch.float32)  # equal, orthogonal steps: a walk in the limit, 1,600 rows
    found = joint_trajectory_pca({"walk": steps.cumsum(0)}, n_components=3)
    expected = 6 / (torch.pi * torch.arange(1, 4)) ** 2
    torch.testing.assert_close(found.null.explained, expected.double(), rtol=0.01, atol=0)
    torch.testing.assert_close(found.explained, found.null.explained, rtol=0.01, atol=0)
    kept = found.null.kept["walk"]
    assert len(kept) == 1500
    cosine = torch.cos(torch.pi * (kept + 0.5) / 1600)
    curve = found.null.scores["walk"][:, 0]
    assert abs(float(torch.corrcoef(torch.stack([curve, cosine.double()]))[0, 1])) > 0.999
    assert "explained 6" in repr(found.null)


def test_log_step_weights() -> None:
    torch.testing.assert_close(log_step_weights(torch.tensor([5.0])), torch.ones(1).double())
    weights = log_step_weights(torch.cat([torch.arange(0.0, 10), torch.arange(10.0, 1000, 10)]))
    assert float(weights[:10].sum()) > 3 * float(weights[-50:].sum())
    with pytest.raises(ValueError, match="steps from 0 that rise strictly"):
        log_step_weights(torch.tensor([0.0, 2.0, 2.0]))


ROWS = torch.arange(12.0).reshape(4, 3) ** 2
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no run": ({"runs": {}}, "at least one run"),
    "empty run": ({"runs": {"a": lambda: iter(())}}, "at least one checkpoint, got none in run 'a'"),
    "widths": ({"runs": {"a": ROWS, "b": ROWS[:, :2]}}, "got 3 in 'a', 2 in 'b'"),
    "nan": ({"runs": {"a": ROWS / 0}}, "finite run 'a'"),
    "equal rows": ({"runs": {"a": torch.ones(4, 3)}}, "checkpoints that differ, got 4 equal rows"),
    "components": ({"n_components": 4}, "got 4 for 4 rows of 3 outputs"),
    "no component": ({"n_components": 0}, "n_components of at least 1"),
    "positive": ({"positive": "ridge"}, "positive to be one of"),
    "smoothing": ({"smoothing": 0.0}, "positive smoothing, got 0.0"),
    "weight names": ({"weights": {"b": torch.ones(4)}}, "weights for the runs a, got them for b"),
    "weight length": ({"weights": {"a": torch.ones(3)}}, "got 3 and 4"),
    "negative weight": ({"weights": {"a": torch.tensor([1.0, 1.0, -1.0, 1.0])}}, "weights that are not negative"),
    "zero weights": ({"weights": {"a": torch.zeros(4)}}, "some of them positive"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    settings = {"runs": {"a": ROWS}} | options
    with pytest.raises(ValueError, match=message):
        joint_trajectory_pca(settings.pop("runs"), **settings)


def test_landmarks_on_other_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="landmark 'ridge', needs 3 outputs as the runs have, got 2"):
        _landmark_rows("joint_trajectory_pca", {"ridge": torch.zeros(2)}, 3)


MEMORY = """
import re, torch
from pathlib import Path
from probes.trajectory.joint_pca import joint_trajectory_pca
base = torch.randn(256, 8192, generator=torch.Generator().manual_seed(0))
def reader(run):
    def blocks():
        for start in range(0, 2203, 256):
            yield base[: min(256, 2203 - start)] + run * base[:1]
    return blocks
found = joint_trajectory_pca({str(run): reader(run) for run in range(25)})
assert found.scores["24"].shape == (2203, 2)
assert float(found.explained[0]) > 0.3
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 2**20
assert peak < 2, f"{peak} GB"
"""


@pytest.mark.slow
def test_a_paper_sized_stack_stays_below_two_gigabytes() -> None:
    # 25 runs x 2,203 checkpoints x 8,192 outputs. Linux only; ru_maxrss would count what the process that starts this
    # one held, and at the end of a long test session that is 2 GB by itself.
    subprocess.run([sys.executable, "-c", MEMORY], check=True, timeout=1800)
