"""What every agreement probe refuses, whatever the callee: tested on the shared checks and on the public functions."""

import pytest
import torch
from hand_made import descent, draw_prompts
from torch import Tensor

from probes._core.callees import ask, check_prompts, context_point, resolve_points
from probes.agreement import compare_algorithms, mspd, spd
from probes.effective_descent import effective_preconditioner, effective_step
from probes.induced_weights import fresh_query_predictions, induced_weights
from probes.sensitivity import label_gradients, query_gradients
from probes.step_matching import match_steps

XS, YS, QUERIES = draw_prompts(8, 5)
F = descent(1, 0.1)
ZEROS = torch.zeros(8, 5, dtype=torch.float64)


def all_points(xs: Tensor, ys: Tensor, *, points: list[int]) -> Tensor:  # noqa: ARG001
    return F(xs, ys)


def detached(xs: Tensor, ys: Tensor, *, points: list[int]) -> Tensor:
    return F(xs, ys, points=points).detach()


ERRORS = {
    "answer": (lambda: query_gradients(all_points, XS, YS, points=[1]), r"= \(8, 1\), got \(8, 5\); answer the asked"),
    "ask": (lambda: ask("f", all_points, XS, YS, [0, 1]), r"f needs f\(xs, ys, points=\[0, 1\]\) to answer"),
    "detached": (lambda: query_gradients(detached, XS, YS), "answers that carry a gradient, got detached ones"),
    "detached labels": (lambda: label_gradients(detached, XS, YS), "answers that carry a gradient"),
    "prompts": (lambda: check_prompts("f", XS, YS[:3]), "as many prompts of xs as of ys, got 8 and 3"),
    "points of xs": (lambda: check_prompts("f", XS, YS[:, :2]), "as many points of xs as of ys, got 5 and 2"),
    "point": (lambda: query_gradients(F, XS, YS, points=[7]), r"points in \[-5, 5\), got \[7\]"),
    "no points": (lambda: resolve_points("f", [], 5), "number of points of at least 1, got 0"),
    "first entry": (lambda: label_gradients(F, XS, YS, point=0), "an entry with a pair before it, got entry 0"),
    "first entry again": (lambda: context_point("f", -5, 5), "an entry with a pair before it, got entry 0"),
    "NaN": (lambda: query_gradients(F, XS * torch.nan, YS), "finite xs"),
    "few queries": (
        lambda: induced_weights(F, XS, YS, QUERIES[:, :3]),
        "more queries than unknowns, got 3 queries for 3; with fewer any answers lie on a line",
    ),
    "few with intercept": (lambda: induced_weights(F, XS, YS, QUERIES[:, :4], intercept=True), "got 4 queries for 4"),
    "batch_size": (lambda: fresh_query_predictions(F, XS, YS, QUERIES, batch_size=0), "batch_size of at least 1"),
    "zero inputs": (lambda: effective_step(F, 0 * XS, YS), "needs inputs before entry 4 that are not orthogonal"),
    "few prompts": (
        lambda: effective_preconditioner(F, XS[:5], YS[:5]),
        r"number of prompts \(2 d for d = 3\) of at least 6, got 5",
    ),
    "few pairs": (
        lambda: effective_preconditioner(F, XS, YS, point=1),
        r"number of pairs in half of the prompts \(d\^2 for d = 3\) of at least 9, got 4",
    ),
    "unit": (lambda: spd(ZEROS, ZEROS, divide_by=0.0), "a positive divide_by, got 0.0; give d"),
    "overdetermined": (
        lambda: mspd(ZEROS, ZEROS, n_dims=1),
        r"fewer than n_dims=1 pairs before it, got entries with \[",
    ),
    "n_pairs": (lambda: mspd(ZEROS, ZEROS, n_dims=3, n_pairs=[1]), "as many points as n_pairs, got 5 and 1"),
    "names of steps": (
        lambda: match_steps(ZEROS[None] + 1, ZEROS[None] + 2, YS, steps=[1, 2]),
        "as many candidates as steps, got 1 and 2",
    ),
    "no error": (
        lambda: match_steps(YS[None], ZEROS[None], YS),
        "needs a defined measure in some prompt, got none for a pair of layer and step",
    ),
    "bootstrap": (lambda: compare_algorithms(F, F, XS, YS, QUERIES, n_bootstrap=0), "n_bootstrap of at least 1, got 0"),
    "step bootstrap": (lambda: effective_step(F, XS, YS, n_bootstrap=0), "effective_step needs an n_bootstrap of"),
    "match bootstrap": (lambda: match_steps(ZEROS[None] + 1, ZEROS[None], YS, confidence=0.0), "0 < confidence < 1"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_negative_points_count_from_the_end() -> None:
    assert resolve_points("f", [-1, 0, -5], 5) == [4, 0, 0]
    assert resolve_points("f", None, 3) == [0, 1, 2]
    assert context_point("f", -1, 5) == 4
