"""Asking at queries: one call a point, and nothing of the queried pair is read."""

import pytest
import torch
from torch import Tensor

from icl_interp import LinearRegression, Prompts
from icl_interp.predictors import least_squares
from icl_interp.prompts import _check_queries
from icl_interp.query import predict


def queried(n: int = 4, points: int = 5) -> Prompts:
    base, other = (LinearRegression(3).sample(n, points, seed=seed) for seed in (0, 1))
    answers = torch.einsum("bpd,bd->bp", other.xs, base.ws)
    return Prompts(xs=base.xs, ys=base.ys, ws=base.ws, query_xs=other.xs, query_ys=answers)


def test_plain_prompts_are_one_call() -> None:
    calls: list[int] = []
    prompts = LinearRegression(3).sample(4, seed=0)
    assert prompts.targets is prompts.ys
    answer = predict(least_squares(), prompts, on_prompts=calls.append)
    torch.testing.assert_close(answer, least_squares()(prompts.xs, prompts.ys), rtol=0, atol=0)
    assert calls == [4]


def test_entry_k_is_the_answer_to_the_pairs_before_and_the_query() -> None:
    prompts, calls = queried(), []
    answer = predict(least_squares(), prompts, on_prompts=calls.append)
    for k in range(prompts.n_points):
        weights = torch.linalg.pinv(prompts.xs[:, :k]) @ prompts.ys[:, :k, None]
        expected = (prompts.query_xs[:, k] * weights[..., 0]).sum(1)
        # Inverses of random 3 x 3 matrices in float32.
        torch.testing.assert_close(answer[:, k], expected, rtol=1e-3, atol=1e-3)
    assert calls == [4] * 5
    assert prompts.targets is prompts.query_ys


def test_queries_equal_to_the_inputs_change_nothing() -> None:
    base = LinearRegression(3).sample(4, seed=0)
    same = Prompts(xs=base.xs, ys=base.ys, query_xs=base.xs, query_ys=base.ys)
    torch.testing.assert_close(predict(least_squares(), same), predict(least_squares(), base))


def test_labels_of_the_asked_pair_are_hidden() -> None:
    seen: list[Tensor] = []

    def spy(xs: Tensor, ys: Tensor, *, points: list[int]) -> Tensor:
        assert points == [-1]
        seen.append(ys)
        return xs[:, -1:, 0]

    prompts = queried(2, 3)
    answer = predict(spy, prompts)
    torch.testing.assert_close(answer, prompts.query_xs[..., 0], rtol=0, atol=0)
    for k, ys in enumerate(seen):
        torch.testing.assert_close(ys[:, :k], prompts.ys[:, :k], rtol=0, atol=0)
        torch.testing.assert_close(ys[:, k], torch.zeros(2), rtol=0, atol=0)


def test_slices_and_beginnings_keep_queries() -> None:
    prompts = queried()
    assert prompts[1:3].query_xs.shape == (2, 5, 3)
    assert prompts.to("cpu").query_ys.shape == (4, 5)
    short = prompts.first_points(2)
    assert (short.xs.shape, short.query_xs.shape, short.query_ys.shape) == ((4, 2, 3), (4, 2, 3), (4, 2))
    torch.testing.assert_close(short.ws, prompts.ws, rtol=0, atol=0)
    assert prompts.first_points(9).n_points == 5
    assert "with queries" in repr(prompts)


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="first_points needs at least one point, got 0"):
        queried().first_points(0)


@pytest.mark.parametrize(
    "queries",
    [
        {"query_xs": torch.zeros(4, 5, 3)},
        {"query_ys": torch.zeros(4, 5)},
        {"query_xs": torch.zeros(4, 5, 3), "query_ys": torch.zeros(4, 4)},
        {"query_xs": torch.zeros(4, 4, 3), "query_ys": torch.zeros(4, 5)},
    ],
    ids=["no labels", "no inputs", "too few labels", "too few inputs"],
)
def test_queries_need_their_labels_and_one_a_point(queries: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"Prompts need query_xs and query_ys together, shaped as xs .* and ys"):
        # Under the type hook Prompts itself raises before its check.
        _check_queries(torch.zeros(4, 5, 3), torch.zeros(4, 5), queries.get("query_xs"), queries.get("query_ys"))
