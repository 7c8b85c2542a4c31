"""Laws of agreement, read-outs, attention and scores: a new measure is one line in a table and inherits them all."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hand_made import draw_prompts
from torch import Tensor

from icl_interp.predictors import gradient_descent, least_squares
from probes import (
    agreement,
    attention,
    effective_descent,
    head_importance,
    induced_weights,
    linear,
    permutation,
    probe_grid,
    readouts,
    risk_coverage,
    selectivity,
    sensitivity,
    step_matching,
    streamed_probe,
    targets,
)

INF = math.inf
FEW = {"n_bootstrap": 20}
# Both follow the scale of inputs and labels, and turn with the inputs.
F, G = least_squares(), gradient_descent(2, "per_prefix")


def weights(callee: Callable[..., Tensor], xs: Tensor, ys: Tensor, queries: Tensor) -> Tensor:
    return induced_weights.induced_weights(callee, xs, ys, queries).weights


def slopes(xs: Tensor, ys: Tensor) -> sensitivity.SensitivityAgreement:
    return sensitivity.sensitivity_agreement(F, G, xs, ys, **FEW)


def steps(xs: Tensor, ys: Tensor, measure: str) -> Tensor:
    found = [gradient_descent(k, "per_prefix")(xs, ys) for k in (1, 3)]
    return step_matching.match_steps(torch.stack([F(xs, ys)]), torch.stack(found), ys, measure=measure, **FEW).values


class Prompted(NamedTuple):
    measure: Callable[[Tensor, Tensor, Tensor], Tensor]  # of xs, ys and fresh queries
    of_labels: int  # doubling the labels multiplies the result by 2 ** of_labels
    of_inputs: int
    low: float = 0.0
    high: float = INF


PROMPTED = {
    "SPD": Prompted(lambda x, y, _: agreement.spd(F(x, y), G(x, y), **FEW).values, 2, 0),
    "MSPD": Prompted(lambda x, y, _: number(agreement.mspd(F(x, y), G(x, y), n_dims=3, **FEW).value), 2, 0),
    "ILWD": Prompted(lambda x, y, q: agreement.ilwd(weights(F, x, y, q), weights(G, x, y, q), **FEW).values, 2, -2),
    "SimE": Prompted(
        lambda x, y, _: number(agreement.similarity_of_errors(F(x, y), G(x, y), y, **FEW).value), 0, 0, -1, 1
    ),
    "SimW": Prompted(
        lambda x, y, q: number(agreement.similarity_of_weights(weights(F, x, y, q), weights(G, x, y, q), **FEW).value),
        0,
        0,
        -1,
        1,
    ),
    "linear R2": Prompted(
        lambda x, y, q: induced_weights.induced_weights(F, x, y, q, points=[2, 5]).r2.mean(), 0, 0, -INF, 1 + 1e-9
    ),
    "preds diff": Prompted(lambda x, y, _: number(slopes(x, y).prediction_difference.value), 1, 0),
    "model cos": Prompted(lambda x, y, _: number(slopes(x, y).cosine.value), 0, 0, -1, 1),
    "model diff": Prompted(lambda x, y, _: number(slopes(x, y).gradient_difference.value), 1, -1),
    "effective step": Prompted(
        lambda x, y, _: number(effective_descent.effective_step(G, x, y, **FEW).step_size.value), 0, -2, -INF
    ),
    "effective R2": Prompted(
        lambda x, y, _: number(effective_descent.effective_step(G, x, y, **FEW).r2), 0, 0, -INF, 1
    ),
    "steps by errors": Prompted(lambda x, y, _: steps(x, y, "errors"), 0, 0, -1, 1),
    "steps by SPD": Prompted(lambda x, y, _: steps(x, y, "spd"), 2, 0),
    "moments": Prompted(lambda x, y, _: targets.moment_vector(x, y).norm(dim=2).mean(dim=0), 1, 1),
    "weights": Prompted(lambda x, y, _: targets.least_squares_weights(x, y).norm(dim=2).mean(dim=0), 1, -1),
    "stable step": Prompted(lambda x, *_: targets.largest_stable_step(x)[:, 1:].mean(dim=0), 0, -2),
}


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("law", PROMPTED.values(), ids=PROMPTED)
class TestPrompted:
    xs, ys, queries = draw_prompts(20, 6)

    def test_rotating_the_inputs_changes_nothing(self, law: Prompted) -> None:
        generator = torch.Generator().manual_seed(0)
        rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
        moved = law.measure(self.xs @ rotation, self.ys, self.queries @ rotation)
        # Near k = d least squares amplifies rounding a thousandfold.
        torch.testing.assert_close(moved, law.measure(self.xs, self.ys, self.queries), rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize(("labels", "inputs"), [(4.0, 1.0), (1.0, 0.5)], ids=["labels", "inputs"])
    def test_scaling_law(self, law: Prompted, labels: float, inputs: float) -> None:
        factor = labels**law.of_labels * inputs**law.of_inputs
        scaled = law.measure(self.xs * inputs, self.ys * labels, self.queries * inputs)
        expected = law.measure(self.xs, self.ys, self.queries) * factor
        torch.testing.assert_close(scaled, expected, rtol=1e-9, atol=1e-9 * factor)

    def test_order_of_prompts_changes_nothing(self, law: Prompted) -> None:
        order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
        moved = law.measure(self.xs[order], self.ys[order], self.queries[order])
        torch.testing.assert_close(moved, law.measure(self.xs, self.ys, self.queries), rtol=1e-9, atol=1e-12)

    def test_range(self, law: Prompted) -> None:
        found = law.measure(self.xs, self.ys, self.queries)
        assert bool(((found >= law.low) & (found <= law.high)).all())

    def test_one_prompt_is_finite_and_nothing_is_modified(self, law: Prompted) -> None:
        kept = self.xs[:1].clone(), self.ys[:1].clone(), self.queries[:1].clone()
        assert bool(law.measure(*kept).isfinite().all())
        torch.testing.assert_close(kept, (self.xs[:1], self.ys[:1], self.queries[:1]), rtol=0, atol=0)


class Readout(NamedTuple):
    measure: Callable[[Tensor, Tensor], Tensor]  # of features [batch point feature] and targets [batch point]
    of_targets: int = 0
    low: float = -INF
    high: float = 1.0


def rows(features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n_prompts, n_points = wanted.shape
    return features.flatten(0, 1), wanted.flatten()[:, None], torch.arange(n_prompts).repeat_interleave(n_points)


def grid(features: Tensor, wanted: Tensor) -> probe_grid.ProbeGrid:
    return probe_grid.fit_probe_grid(features[None], wanted[..., None], **FEW)


def linear_r2(features: Tensor, wanted: Tensor) -> Tensor:
    x, y, groups = rows(features, wanted)
    return linear.fit_linear_probe(x, y, groups=groups, **FEW).r2


def partial_share(features: Tensor, wanted: Tensor) -> Tensor:
    x, y, groups = rows(features, wanted)
    neighbours = wanted.roll(1, dims=1).flatten()[:, None]
    return number(selectivity.partial_r2(x, y, neighbours, groups=groups, **FEW).partial[0].value)


READOUTS = {
    "linear probe": Readout(linear_r2),
    "streamed probe": Readout(lambda x, y: streamed_probe.fit_streamed_probe([rows(x, y)]).r2),
    "partial R2": Readout(partial_share),
    "probe grid": Readout(lambda x, y: grid(x, y).r2),
    "probe grid, best": Readout(lambda x, y: grid(x, y).best_r2),
    "layer read-out": Readout(
        lambda x, y: readouts.fit_layer_readouts(x[None], y, **FEW).errors[0].values, of_targets=2, low=0.0, high=INF
    ),
}


@pytest.mark.parametrize("law", READOUTS.values(), ids=READOUTS)
class TestReadouts:
    @staticmethod
    def draw() -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(40, 3, 4, generator=generator, dtype=torch.float64)
        noise = torch.randn(40, 3, generator=generator, dtype=torch.float64)
        return features, features[..., 0] + 0.5 * noise

    def test_rotation_shift_and_scale_of_features_change_nothing(self, law: Readout) -> None:
        x, y = self.draw()
        generator = torch.Generator().manual_seed(1)
        rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
        # The penalties follow the features' scale; the shift costs a few digits.
        torch.testing.assert_close(law.measure(100 * x @ rotation + 3, y), law.measure(x, y), rtol=1e-8, atol=1e-8)

    def test_scaling_law_of_targets(self, law: Readout) -> None:
        x, y = self.draw()
        expected = law.measure(x, y) * 8.0**law.of_targets
        torch.testing.assert_close(law.measure(x, 8 * y), expected, rtol=1e-9, atol=1e-9)

    def test_range_and_dtype(self, law: Readout) -> None:
        found = law.measure(*self.draw())
        assert bool(((found >= law.low) & (found <= law.high)).all())

    def test_controls(self, law: Readout) -> None:
        x, _ = self.draw()
        planted, noise = (
            x[..., 1] - 2 * x[..., 2],
            torch.randn(40, 3, generator=torch.Generator().manual_seed(5)).double(),
        )
        # The error of a planted target is nothing, its R² is 1; of noise the error is the variance, the R² about 0.
        found = law.measure(x, planted) + law.of_targets / 2
        torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-6)
        assert float((law.measure(x, noise) - law.of_targets / 2).mean().abs()) < 0.5


class Pattern(NamedTuple):
    measure: Callable[[Tensor], Tensor]
    low: float = 0.0
    high: float = 1.0


MASKS = attention.role_masks(torch.tensor([True, False] * 3), torch.tensor([False, True] * 3))
PATTERNS = {
    "entropy": Pattern(lambda p: attention.normalised_entropy(p)[:, :, 1:].mean(dim=(0, 2))),
    **{
        f"mass on {role}": Pattern(lambda p, r=role: attention.attention_mass(p, MASKS)[r].mean(dim=(0, 2)))
        for role in MASKS
    },
    "variability": Pattern(lambda p: attention.pattern_variability(p).mean(dim=(0, 2))),
    "report": Pattern(lambda p: attention.attention_report(p, MASKS, **FEW).entropy.values),
    "report, variability": Pattern(lambda p: attention.attention_report(p, MASKS, **FEW).variability),
    "importance": Pattern(
        lambda p: head_importance.head_importance(p[:, :, 5, 0].T[None] + 0.1, p[:, 0, 0, 0] * 0, **FEW).importance[0]
    ),
}


@pytest.mark.parametrize("law", PATTERNS.values(), ids=PATTERNS)
class TestPatterns:
    @staticmethod
    def draw() -> Tensor:
        scores = torch.randn(12, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return scores.masked_fill(~torch.ones(6, 6).tril().bool(), -INF).softmax(dim=3)

    def test_range(self, law: Pattern) -> None:
        found = law.measure(self.draw())
        assert bool(((found >= law.low) & (found <= law.high)).all())

    def test_order_of_prompts_changes_nothing(self, law: Pattern) -> None:
        pattern = self.draw()
        torch.testing.assert_close(law.measure(pattern.flip(0)), law.measure(pattern))

    def test_heads_keep_their_own_numbers(self, law: Pattern) -> None:
        pattern = self.draw()
        torch.testing.assert_close(law.measure(pattern.flip(1)), law.measure(pattern).flip(0))

    def test_one_prompt(self, law: Pattern) -> None:
        assert bool(law.measure(self.draw()[:1]).isfinite().all())


class Scored(NamedTuple):
    measure: Callable[[Tensor, Tensor], Tensor]  # of scores and errors
    of_errors: int
    low: float
    high: float


SCORED = {
    "AURC": Scored(lambda s, e: number(risk_coverage.risk_coverage(s, e, **FEW).aurc.value), 1, 0, INF),
    "AURC gain": Scored(lambda s, e: number(risk_coverage.risk_coverage(s, e, **FEW).gain.value), 0, -INF, 1),
    "Spearman": Scored(
        lambda s, e: number(permutation.permutation_test_correlation(s, e, n_permutations=9).statistic), 0, -1, 1
    ),
    "AUROC": Scored(
        lambda s, e: number(permutation.permutation_test_auroc(s[e < 1], s[e >= 1], n_permutations=9).statistic),
        0,
        0,
        1,
    ),
}


@pytest.mark.parametrize("law", SCORED.values(), ids=SCORED)
class TestScored:
    @staticmethod
    def draw() -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        score = torch.randn(30, generator=generator, dtype=torch.float64).mul(4).round() / 4  # with ties
        # Half below 1 and half above by far, so that scaling keeps the two sets of the AUROC.
        error = torch.rand(30, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 900.0]).repeat(15) + 0.01
        return score, torch.where(error > 0.2, error + 10, error)

    def test_monotone_transforms_of_the_score_change_nothing(self, law: Scored) -> None:
        score, error = self.draw()
        torch.testing.assert_close(law.measure(score.exp(), error), law.measure(score, error))

    def test_order_of_samples_changes_nothing(self, law: Scored) -> None:
        score, error = self.draw()
        torch.testing.assert_close(law.measure(score.flip(0), error.flip(0)), law.measure(score, error))

    def test_scaling_law_and_range(self, law: Scored) -> None:
        score, error = self.draw()
        found = law.measure(score, error)
        torch.testing.assert_close(law.measure(score, 2 * error), found * 2**law.of_errors)
        assert law.low <= float(found) <= law.high


def test_holm_keeps_the_order_and_never_lowers() -> None:
    p_values = torch.rand(20, generator=torch.Generator().manual_seed(0))
    adjusted = permutation.holm(p_values)
    assert bool((adjusted >= p_values).all())
    assert bool((adjusted[p_values.argsort()].diff() >= 0).all())
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(permutation.holm(p_values[order]), adjusted[order])
