"""Attention patterns and head importance: patterns readable on screen, literal formulas, controls, errors."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from probes.attention import (
    _check_roles,
    attention_mass,
    attention_report,
    attention_to,
    normalised_entropy,
    pattern_variability,
    role_masks,
)
from probes.head_importance import head_importance, pruning_curve, pruning_masks

X_TOKENS = torch.tensor([True, False, True, False])
ROLES = role_masks(X_TOKENS, ~X_TOKENS)
#            x0   y0   x1   y1
PATTERN = torch.tensor([
    [1.0, 0.0, 0.0, 0.0],  # x0
    [0.5, 0.5, 0.0, 0.0],  # y0
    [0.2, 0.7, 0.1, 0.0],  # x1
    [0.0, 0.4, 0.6, 0.0],  # y1
])[None, None]


def draw(n: int = 30, heads: int = 3) -> Tensor:
    scores = torch.randn(n, heads, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return scores.masked_fill(~torch.ones(4, 4).tril().bool(), -math.inf).softmax(dim=3)


class TestPatterns:
    def test_mass_by_hand(self) -> None:
        mass = attention_mass(PATTERN, ROLES)
        expected = {
            "self": [1.0, 0.5, 0.1, 0.0],
            "previous": [0.0, 0.5, 0.7, 0.6],
            "x": [1.0, 0.5, 0.3, 0.6],
            "y": [0.0, 0.5, 0.7, 0.4],
        }
        for role, values in expected.items():
            torch.testing.assert_close(mass[role][0, 0], torch.tensor(values))

    def test_attention_to_one_key_by_hand(self) -> None:
        keys = torch.tensor([[-1, 0, 1, 3], [0, 1, 0, 2]])
        found = attention_to(PATTERN.expand(2, 1, 4, 4), keys)[:, 0]
        torch.testing.assert_close(found[0], torch.tensor([torch.nan, 0.5, 0.7, 0.0]), equal_nan=True)
        torch.testing.assert_close(found[1], torch.tensor([1.0, 0.5, 0.2, 0.6]))
        lag = torch.tensor([[-1, 0, 1, 2]])
        mass = attention_mass(PATTERN, ROLES)["previous"][0, 0, 1:]
        torch.testing.assert_close(attention_to(PATTERN, lag)[0, 0, 1:], mass)

    def test_entropy_agrees_with_scipy(self) -> None:
        pattern = draw()
        found = normalised_entropy(pattern)
        assert bool(found[:, :, 0].isnan().all())  # one visible key
        for query in range(1, 4):
            expected = stats.entropy(pattern[:, :, query].numpy(), axis=2) / math.log(query + 1)
            np.testing.assert_allclose(found[:, :, query], expected)
        full = normalised_entropy(pattern, causal=False)
        np.testing.assert_allclose(full[:, :, 3], found[:, :, 3])
        np.testing.assert_allclose(full[:, :, 0], 0.0)

    def test_uniform_and_one_hot_are_the_ends(self) -> None:
        uniform = torch.ones(4, 4).tril().div(torch.arange(1.0, 5.0)[:, None])[None, None]
        torch.testing.assert_close(normalised_entropy(uniform)[0, 0, 1:], torch.ones(3))
        torch.testing.assert_close(normalised_entropy(torch.eye(4)[None, None])[0, 0, 1:], torch.zeros(3))

    def test_fewer_queries_than_keys_are_the_last_ones(self) -> None:
        torch.testing.assert_close(normalised_entropy(PATTERN[:, :, 2:]), normalised_entropy(PATTERN)[:, :, 2:])

    def test_variability_controls(self) -> None:
        fixed = PATTERN.expand(10, 2, 4, 4)
        torch.testing.assert_close(pattern_variability(fixed), torch.zeros(10, 2, 4), rtol=0, atol=1e-6)
        assert float(pattern_variability(draw())[:, :, 2:].mean()) > 0.1
        literal = (draw() - draw().mean(dim=0)).abs().sum(dim=3) / 2
        torch.testing.assert_close(pattern_variability(draw()), literal)


class TestReport:
    def test_means_over_prompts_and_asked_queries(self) -> None:
        pattern = draw()
        found = attention_report(pattern, ROLES, queries=X_TOKENS)
        torch.testing.assert_close(found.entropy.values, normalised_entropy(pattern)[:, :, 2].mean(dim=0))
        mass = attention_mass(pattern, ROLES)["y"][:, :, X_TOKENS].mean(dim=(0, 2))
        torch.testing.assert_close(found.mass["y"].values, mass)
        torch.testing.assert_close(found.variability, pattern_variability(pattern)[:, :, X_TOKENS].mean(dim=(0, 2)))
        assert bool((found.variability_interval[:, 0] < found.variability).all())
        # Queries x0 (sees x0) and x1 (sees x0, y0, x1).
        np.testing.assert_allclose(found.chance["y"], (0 + 1 / 3) / 2)
        np.testing.assert_allclose(found.chance["self"], (1 + 1 / 3) / 2)

    def test_a_copying_head_is_told_from_a_blind_one(self) -> None:
        previous = ROLES["previous"].double()
        previous[0, 0] = 1.0
        pattern = torch.stack([previous.expand(30, 4, 4), draw(heads=1)[:, 0]], dim=1)
        found = attention_report(pattern, ROLES)
        assert found.mass["previous"].low[0] == 0.75
        assert found.mass["previous"].high[1] < 0.6
        assert found.entropy.values[0] == 0.0
        assert found.variability[0] < 1e-9 < 0.05 < found.variability[1]

    def test_options_and_repr(self) -> None:
        wide, narrow = (attention_report(draw(), {}, confidence=c, n_bootstrap=100, seed=1) for c in (0.99, 0.5))
        assert bool((wide.entropy.low < narrow.entropy.low).all())
        assert bool((wide.variability_interval[:, 0] < narrow.variability_interval[:, 0]).all())
        full = attention_report(torch.full((2, 1, 4, 4), 0.25), ROLES, causal=False, n_bootstrap=5)
        torch.testing.assert_close(full.entropy.values, torch.ones(1))
        assert repr(full) == "AttentionReport(entropy=[1.00], roles=['self', 'previous', 'x', 'y'], n_prompts=2)"


def losses_of_heads(rises: Tensor, n: int = 100) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(n, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(*rises.shape, n, generator=generator, dtype=torch.float64)
    return base + rises[..., None] + noise - noise.mean(dim=2, keepdim=True), base


class TestImportance:
    rises = torch.tensor([[3.0, 1.0, 0.0], [-1.0, -0.5, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)

    def test_formula_and_layers_without_any(self) -> None:
        masked, base = losses_of_heads(self.rises)
        found = head_importance(masked, base)
        torch.testing.assert_close(found.increase, self.rises, rtol=0, atol=1e-9)
        expected = torch.tensor([[0.75, 0.25, 0.0], [math.nan] * 3, [0.0, 0.0, 1.0]]).double()
        torch.testing.assert_close(found.importance, expected, rtol=0, atol=1e-9, equal_nan=True)
        torch.testing.assert_close(found.top_share[[0, 2]], torch.tensor([0.75, 1.0]).double())
        literal = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
        torch.testing.assert_close(found.entropy[[0, 2]], torch.tensor([literal, 0.0]).double())
        assert bool(found.entropy[1].isnan())

    def test_intervals_are_paired_over_prompts(self) -> None:
        masked, base = losses_of_heads(self.rises)
        found = head_importance(masked, base + 0.0, confidence=0.95)
        width = (found.increase_high - found.increase_low)[0, 0]
        # The prompts' own losses differ by 0.3 and cancel; the noise of 0.1 over 100 prompts stays.
        np.testing.assert_allclose(float(width), 2 * 1.96 * 0.1 / 10, rtol=0.25)
        assert bool((found.importance_low[0] <= found.importance[0]).all())
        assert bool((found.importance[0] <= found.importance_high[0]).all())
        other = head_importance(masked, base, seed=1, n_bootstrap=50)
        assert not torch.equal(other.increase_low, found.increase_low)

    def test_a_head_without_effect_has_no_share(self) -> None:
        base = torch.rand(50, generator=torch.Generator().manual_seed(0))
        found = head_importance(torch.stack([base, base + 1])[None], base)
        torch.testing.assert_close(found.importance, torch.tensor([[0.0, 1.0]]))
        assert found.importance.dtype == torch.float32
        assert bool(head_importance(base[None, None] + 1, base).entropy.isnan())  # one head has no spread
        assert repr(found) == "HeadImportance(top_share=[1.00], n_heads=2)"

    def test_pruning_keeps_the_most_important_first(self) -> None:
        masks = pruning_masks(torch.tensor([[0.1, math.nan], [5.0, 0.1]]))
        assert masks.sum(dim=(1, 2)).tolist() == [0, 1, 2, 3, 4]
        assert masks[1].tolist() == [[False, False], [True, False]]
        assert masks[2].tolist() == [[True, False], [True, False]]
        assert masks[3].tolist() == [[True, False], [True, True]]

    def test_pruning_curve(self) -> None:
        base = torch.rand(40, generator=torch.Generator().manual_seed(0)) + 1
        rows = torch.stack([base * 5, base * 1.02, base * 2, base * 1.04, base])
        found = pruning_curve(rows, base)
        assert found.n_needed == 3  # one head looked enough, two were not
        assert pruning_curve(rows, base, tolerance=0.03).n_needed == 4
        assert pruning_curve(rows, base, tolerance=9.0).n_needed == 0
        assert pruning_curve(rows[:3], base).n_needed is None
        assert pruning_curve(rows[[0, 4]], base, n_kept=(0, 4)).n_needed == 4
        torch.testing.assert_close(found.losses.values, rows.mean(dim=1))
        assert repr(found).startswith("PruningCurve(n_needed=3 of 4, full=Estimate(1.")


ERRORS = {
    "scores": (lambda: normalised_entropy(PATTERN * 2), "rows that are distributions, got a least weight of 0"),
    "negative": (lambda: pattern_variability(PATTERN * 3 - 0.5), "linear attention has no such pattern"),
    "future": (lambda: normalised_entropy(PATTERN.flip(3)), "no weight on later keys, got some .* pass causal=False"),
    "NaN": (lambda: attention_mass(PATTERN * torch.nan, {}), "finite pattern"),
    "masks": (lambda: role_masks(X_TOKENS[:0], X_TOKENS[:0]), "at least one entry along pos of x_tokens"),
    "role": (
        lambda: _check_roles("f", PATTERN, {"x": X_TOKENS}),
        r"masks \[query key\] = \(4, 4\), got \(4,\) for role 'x'; use role_masks",
    ),
    "keys": (
        lambda: attention_to(PATTERN, torch.tensor([[0, 1, 2, 4]])),
        r"one key per prompt and query, \[1 4\], each from -1 to 3, got shape \(1, 4\) with 0 to 4",
    ),
    "queries": (
        lambda: attention_report(PATTERN, {}, queries=torch.zeros(4).bool()),
        r"a mask over 4 queries with at least one asked for, got shape \(4,\) with 0",
    ),
    "report bootstrap": (lambda: attention_report(PATTERN, {}, n_bootstrap=0), "n_bootstrap of at least 1"),
    "losses": (lambda: head_importance(torch.ones(1, 1, 2) * torch.nan, torch.ones(2)), "finite masked_losses"),
    "bootstrap": (lambda: head_importance(torch.ones(1, 1, 2), torch.ones(2), n_bootstrap=0), "n_bootstrap of at"),
    "infinite importance": (lambda: pruning_masks(torch.ones(0, 2)), "at least one entry along layer of importance"),
    "order": (
        lambda: pruning_curve(torch.ones(2, 3), torch.ones(3), n_kept=(2, 1)),
        r"rising n_kept, got \(2, 1\); sort the rows",
    ),
    "rows": (
        lambda: pruning_curve(torch.ones(2, 3), torch.ones(3), n_kept=(1,)),
        "as many rows as n_kept, got 2 and 1",
    ),
    "tolerance": (
        lambda: pruning_curve(torch.ones(2, 3), torch.ones(3), tolerance=-1.0),
        "a tolerance of at least 0, got -1.0",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
