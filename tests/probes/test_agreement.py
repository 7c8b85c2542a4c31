"""Agreement, piece by piece: finite differences and lstsq as references, conventions, undefined cases, options."""

import math

import numpy as np
import pytest
import torch
from hand_made import by_point, descent, draw_prompts
from torch import Tensor

from icl_interp.predictors import nearest_neighbors, zero
from probes.agreement import compare_algorithms, ilwd, mspd, similarity_of_errors, similarity_of_weights, spd
from probes.effective_descent import effective_preconditioner, effective_step
from probes.induced_weights import fresh_query_predictions, induced_weights
from probes.sensitivity import label_gradients, query_gradients, sensitivity_agreement, sensitivity_cosine
from probes.step_matching import match_steps, match_steps_by_weights

XS, YS, QUERIES = draw_prompts(10, 6)
F = descent(2, 0.3)


def curved_answer(_: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    return (ys.sum(dim=1) + 1).sin() + query.square().sum(dim=1)


CURVED = by_point(curved_answer)


def differences(f: object, values: Tensor, place: tuple[int, ...], *, of_labels: bool, k: int) -> Tensor:
    # Central differences; their error is of order 1e-8 here.
    moved = []
    for step in (1e-4, -1e-4):
        changed = values.clone()
        changed[(slice(None), *place)] += step
        moved.append(f(XS, changed, points=[k]) if of_labels else f(changed, YS, points=[k]))
    return (moved[0] - moved[1])[:, 0] / 2e-4


@pytest.mark.parametrize("f", [F, CURVED], ids=["descent", "curved"])
def test_gradients_agree_with_finite_differences(f: object) -> None:
    k = 4
    slopes = query_gradients(f, XS, YS, points=[k])[:, 0]
    expected = torch.stack([differences(f, XS, (k, i), of_labels=False, k=k) for i in range(3)], dim=1)
    torch.testing.assert_close(slopes, expected, rtol=1e-6, atol=1e-6)
    labels = label_gradients(f, XS, YS, point=k)
    expected = torch.stack([differences(f, YS, (i,), of_labels=True, k=k) for i in range(k)], dim=1)
    torch.testing.assert_close(labels, expected, rtol=1e-6, atol=1e-6)


def test_query_gradients_keep_points_apart_and_leave_no_graph() -> None:
    every = query_gradients(F, XS, YS)
    torch.testing.assert_close(query_gradients(F, XS, YS, points=[-1, 2]), every[:, [5, 2]])
    assert not every.requires_grad
    assert XS.grad is None
    with torch.no_grad():
        torch.testing.assert_close(query_gradients(F, XS, YS), every)
    torch.testing.assert_close(every[:, 0], torch.zeros(10, 3).double())  # no pairs, no weight


def test_induced_weights_of_a_linear_predictor_are_its_gradient() -> None:
    found = induced_weights(F, XS, YS, QUERIES, points=[2, -1])
    torch.testing.assert_close(found.weights, query_gradients(F, XS, YS, points=[2, -1]))
    torch.testing.assert_close(found.r2, torch.ones(10, 2).double())
    assert found.points == (2, 5)


@pytest.mark.parametrize("intercept", [False, True])
def test_induced_weights_agree_with_numpy(intercept: bool) -> None:
    found = induced_weights(CURVED, XS, YS, QUERIES, points=[3], intercept=intercept)
    for b in range(10):
        design = QUERIES[b].numpy()
        design = np.hstack([design, np.ones((12, 1))]) if intercept else design
        answers = curved_answer(XS[b, None, :3], YS[b, None, :3], QUERIES[b]).numpy()
        solution = np.linalg.lstsq(design, answers)[0]
        np.testing.assert_allclose(found.weights[b, 0], solution[:3])
        np.testing.assert_allclose(found.intercepts[b, 0], solution[3] if intercept else 0.0)
        share = 1 - np.square(answers - design @ solution).sum() / np.square(answers - answers.mean()).sum()
        np.testing.assert_allclose(found.r2[b, 0], share)


def test_a_curved_predictor_is_not_linear() -> None:
    linear, curved = (induced_weights(f, XS, YS, QUERIES, points=[5], intercept=True).r2.mean() for f in (F, CURVED))
    assert linear > 0.999
    assert curved < 0.9


def test_answers_that_do_not_vary_have_no_r2() -> None:
    found = induced_weights(zero(), XS, YS, QUERIES)
    assert bool(found.r2.isnan().all())
    torch.testing.assert_close(found.weights, torch.zeros(10, 6, 3).double())


def test_fresh_queries_replace_the_entry_and_nothing_after_is_read() -> None:
    plain = fresh_query_predictions(F, XS, YS, QUERIES, points=[3])
    expected = torch.stack(
        [F(torch.cat([XS[:, :3], q[:, None]], 1), YS[:, :4], points=[3])[:, 0] for q in QUERIES.unbind(1)], 1
    )
    torch.testing.assert_close(plain[:, :, 0], expected)
    spoilt = YS.clone()
    spoilt[:, 3:] = 99.0
    torch.testing.assert_close(fresh_query_predictions(F, XS, spoilt, QUERIES, points=[3]), plain)
    torch.testing.assert_close(fresh_query_predictions(F, XS, YS, QUERIES, points=[3], batch_size=7), plain)


def test_errors_that_are_rounding_have_no_direction() -> None:
    right = similarity_of_errors(YS, F(XS, YS), YS)
    assert math.isnan(right.value)
    assert right.reason == "it is undefined in every prompt"
    one_right = F(XS, YS)
    one_right[0] = YS[0]
    value = similarity_of_errors(one_right, F(XS, YS), YS).value  # the other nine prompts
    np.testing.assert_allclose(value, 1.0)


def test_the_floor_of_errors_follows_the_precision() -> None:
    ys = 1e3 + YS.float()
    nearly = ys * (1 + torch.finfo(torch.float32).eps)  # off by one unit in the last place
    assert math.isnan(similarity_of_errors(nearly, ys + 1, ys).value)
    assert not math.isnan(similarity_of_errors(ys * (1 + 1e-4), ys + 1, ys).value)


def test_the_preconditioner_is_scored_on_other_prompts() -> None:
    # Each prompt weighs its labels at random: nine entries of a matrix fit some of it, and none of it elsewhere.
    weights = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    random = by_point(lambda _, ys, query: (ys[:, :2] * weights[:, : ys.shape[1]]).sum(dim=1) + 0 * query.sum(dim=1))
    assert effective_preconditioner(random, XS, YS, point=2).r2 < 0


def test_zero_weights_are_left_out_of_cosines() -> None:
    weights = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    weights[:, 0] = 0.0
    np.testing.assert_allclose(similarity_of_weights(weights, -weights).value, -1.0, rtol=1e-6)
    assert math.isnan(similarity_of_weights(0 * weights, weights).value)
    np.testing.assert_allclose(sensitivity_cosine(F, F, XS, YS, point=1).value, 1.0)
    assert math.isnan(sensitivity_cosine(F, F, XS, YS, point=0).value)


def test_mspd_takes_the_underdetermined_entries_alone() -> None:
    a, b = torch.zeros(2, 6), torch.arange(6.0).expand(2, 6)
    np.testing.assert_allclose(mspd(a, b, n_dims=4).value, (1 + 4 + 9) / 3)
    np.testing.assert_allclose(mspd(a, b, n_dims=4, n_pairs=[9, 9, 2, 9, 9, 9], divide_by=4.0).value, 1.0)


def test_symmetry_and_options() -> None:
    a, b = F(XS, YS), CURVED(XS, YS)
    torch.testing.assert_close(spd(a, b).values, spd(b, a).values)
    torch.testing.assert_close(spd(a, b, divide_by=2.0).values, spd(a, b).values / 2)
    torch.testing.assert_close(ilwd(XS, 0 * XS, divide_by=3.0).values, XS.square().sum(2).mean(0) / 3)
    wide, narrow = (spd(a, b, confidence=c, seed=1, n_bootstrap=200).mean for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert spd(a.float(), b.float()).values.dtype == torch.float32


def test_sensitivity_agreement_agrees_with_literal_formulas() -> None:
    found = sensitivity_agreement(F, CURVED, XS, YS, point=3)
    f, g = (query_gradients(h, XS, YS, points=[3])[:, 0] for h in (F, CURVED))
    np.testing.assert_allclose(found.cosine.value, torch.cosine_similarity(f, g).mean())
    np.testing.assert_allclose(found.gradient_difference.value, (f - g).norm(dim=1).mean())
    said = [h(XS, YS, points=[3]) for h in (F, CURVED)]
    np.testing.assert_allclose(found.prediction_difference.value, (said[0] - said[1]).abs().mean())
    assert found.point == 3


def test_effective_step_normalisation_and_linearity() -> None:
    one = descent(1, 0.3)
    np.testing.assert_allclose(effective_step(one, XS, YS, point=4).step_size.value, 0.3)
    np.testing.assert_allclose(effective_step(one, XS, YS, point=4, normalise="sum").step_size.value, 0.3 / 4)
    preconditioner = effective_preconditioner(one, XS, YS, point=4, normalise="sum")
    torch.testing.assert_close(preconditioner.matrix, 0.3 / 4 * torch.eye(3).double())
    assert effective_step(CURVED, XS, YS).linearity < 0.9
    silent = by_point(lambda _, ys, query: query.sum(dim=1) + 0 * ys.sum(dim=1))
    assert math.isnan(effective_step(silent, XS, YS).linearity)
    assert math.isnan(effective_step(silent, XS, YS).r2)


def test_effective_step_interval() -> None:
    # Two steps: no single number fits all prompts, so the interval has a width and shrinks with confidence.
    wide, narrow = (effective_step(F, XS, YS, confidence=c, seed=2).step_size for c in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert narrow.value != effective_step(F, XS, YS, point=2).step_size.value


def test_step_matches_tie_and_interval() -> None:
    candidates = torch.stack([F(XS, YS), F(XS, YS), CURVED(XS, YS)])
    found = match_steps(candidates[:1], candidates, YS, steps=[4, 5, 6], seed=1, n_bootstrap=50, confidence=0.9)
    assert found.best_steps == (4,)
    assert bool(found.tied[0])
    assert found.best_interval[0, 0] <= found.best[0] <= found.best_interval[0, 1]
    assert not match_steps(candidates[2:], candidates, YS).tied[0]
    assert repr(found) == "StepMatches(best_steps=(4,), measure='errors')"


def test_an_uncertain_step_has_a_wide_interval_and_little_support() -> None:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(6, 10, 6, generator=generator, dtype=torch.float64)
    layer = torch.randn(1, 10, 6, generator=generator, dtype=torch.float64)
    found = match_steps(layer, candidates, YS, measure="spd")
    assert found.support[0] < 0.95
    assert found.best_interval[0, 0] < found.best_interval[0, 1]
    literal = (layer - candidates).square().mean(dim=(1, 2))
    torch.testing.assert_close(found.values[0], literal)
    assert int(found.best[0]) == int(literal.argmin())


def test_weights_match_by_direction_alone() -> None:
    weights = torch.randn(4, 5, 3, 2, generator=torch.Generator().manual_seed(0))
    found = match_steps_by_weights(7 * weights[[2]], weights, steps=[1, 2, 4, 8])
    assert found.best_steps == (4,)
    assert found.measure == "weights"


def test_comparison_of_a_predictor_without_gradient_in_labels() -> None:
    # Nearest neighbours: constant in the query almost everywhere, so its gradient is zero and has no cosine.
    found = compare_algorithms(nearest_neighbors(2), F, XS, YS, QUERIES, points=[4], n_bootstrap=20)
    assert found.spd.mean.value > 0
    assert math.isnan(found.mspd.value)
    assert found.mspd.reason == "no asked entry has fewer pairs than dimensions"
    assert found.points == (4,)
    assert math.isnan(found.sensitivity.cosine.value)
    length = query_gradients(F, XS, YS, points=[4]).norm(dim=2).mean()
    np.testing.assert_allclose(found.sensitivity.gradient_difference.value, float(length))


REPRS = {
    "AlgorithmAgreement(spd=Estimate(0.000": lambda: compare_algorithms(F, F, XS, YS, QUERIES, points=[2]),
    "InducedWeights(r2=1.000, n_points=1, n_queries=12)": lambda: induced_weights(F, XS, YS, QUERIES, points=[2]),
    "SensitivityAgreement(cosine=Estimate(1.000": lambda: sensitivity_agreement(F, F, XS, YS),
    "EffectiveStep(step_size=Estimate(0.300": lambda: effective_step(descent(1, 0.3), XS, YS),
    "EffectivePreconditioner(r2=1.000, n_dims=3": lambda: effective_preconditioner(descent(1, 0.3), XS, YS),
}


@pytest.mark.parametrize(("text", "make"), REPRS.items(), ids=[name.partition("(")[0] for name in REPRS])
def test_repr_is_short(text: str, make: object) -> None:
    assert repr(make()).startswith(text)
