"""One number beside those of untrained networks: interval, p-value and verdict, literally and at the edges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from icl_interp.measure.verdicts import (
    Excess,
    excess_of_replicates,
    excess_over_controls,
    gated,
    paired_variance,
    variance_over,
)

NAN, INF = float("nan"), float("inf")
LOW = [0.1, 0.12, 0.08, 0.1, 0.1]
N_PROMPTS = 24


def to_scale(x, scale):
    x = np.asarray(x, dtype=float)
    if scale == "logit":
        return scipy.special.logit((x * N_PROMPTS + 0.5) / (N_PROMPTS + 1))
    return np.log(x) if scale == "log" else x


def from_scale(x, scale):
    if scale == "logit":
        return np.clip((scipy.special.expit(x) * (N_PROMPTS + 1) - 0.5) / N_PROMPTS, 0, 1)
    return np.exp(x) if scale == "log" else x


def draws(value, spread, seed, scale="identity"):
    """Bootstrap replicates around a value, within what the scale allows."""
    noise = torch.randn(200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved = value + spread * noise
    return moved.clamp(0, 1) if scale == "logit" else moved.clamp(min=1e-3) if scale == "log" else moved


def judged(scale, value, controls, *, spread=0.02, seed=0, **options):
    own = value, draws(value, spread, seed, scale)
    others = [(c, draws(c, spread, seed + 1 + i, scale)) for i, c in enumerate(controls)]
    return excess_of_replicates(own, others, scale=scale, n_prompts=N_PROMPTS, **options), own, others


@pytest.mark.parametrize("scale", ["identity", "logit", "log"])
@pytest.mark.parametrize("n_verdicts", [1, 9])
@pytest.mark.parametrize("controls", [[0.2, 0.4], [0.1, 0.2, 0.6], [0.5, 0.45, 0.55, 0.4, 0.6]], ids=len)
def test_the_interval_is_the_formula_on_each_scale(scale, n_verdicts, controls):
    found, own, others = judged(scale, 0.9, controls, n_verdicts=n_verdicts)
    n, level = len(controls), 0.05 / n_verdicts
    replicates = to_scale(own[1].numpy(), scale) - np.mean([to_scale(r.numpy(), scale) for _, r in others], axis=0)
    on_scale = to_scale(controls, scale)
    t, z = scipy.stats.t.ppf(1 - level / 2, df=n - 1), scipy.stats.norm.ppf(1 - level / 2)
    half = t * np.sqrt(np.var(on_scale, ddof=1) * (1 + 1 / n))
    center = from_scale(np.mean(on_scale), scale)
    another = from_scale(np.mean(on_scale) + np.array([half, -half]), scale)  # what one more network may show
    unscaled = own[1].numpy() - np.mean([r.numpy() for _, r in others], axis=0)
    far = np.hypot(another - center, z * np.std(unscaled, ddof=1))
    # the same float64 arithmetic in another order; the widest intervals are exponentials of large numbers
    ends = 0.9 - center + np.array([-far[0], far[1]])
    if scale == "logit":
        ends = ends.clip(-1, 1)
    decided = found.verdict == "evidence"  # by the scale: then 0 lies outside, else inside
    np.testing.assert_allclose(found.low, max(ends[0], 0) if decided else min(ends[0], 0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.high, ends[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([found.control, found.excess], [np.mean(controls), 0.9 - np.mean(controls)], rtol=1e-12)
    assert (found.controls, found.level, found.scale) == (tuple(controls), level, scale)
    error = np.sqrt(np.var(on_scale, ddof=1) * (1 + 1 / n) + np.var(replicates, ddof=1))
    farther = np.mean(on_scale) + (t + scipy.stats.t.ppf(0.8, df=n - 1)) * error
    expected = from_scale(farther, scale) - from_scale(np.mean(on_scale), scale)
    np.testing.assert_allclose(found.detectable, expected, rtol=1e-9)


def test_the_choice_of_prompts_widens_the_interval_far_from_the_controls():
    # Untrained networks are at 0 whatever the prompts; the model's value depends on them.
    controls = [(0.0, torch.zeros(200, dtype=torch.float64))] * 4 + [(0.001, torch.zeros(200, dtype=torch.float64))]
    own = 0.5, draws(0.5, 0.05, 0, "logit")
    found = excess_of_replicates(own, controls, scale="logit", n_prompts=128, chance=0.0)
    assert found.verdict == "evidence"
    np.testing.assert_allclose(found.low, found.value_low - found.control, atol=2e-3)
    unsure = excess_of_replicates((0.08, draws(0.08, 0.05, 0)), controls, scale="logit", n_prompts=128, chance=0.0)
    assert unsure.verdict == "inconclusive"
    assert unsure.detectable > unsure.excess  # what was not found is less than what would have been


def test_the_value_over_prompts_has_a_normal_interval_of_its_own():
    found = excess_over_controls(0.7, LOW, chance=0.5, value_variance=0.01, n_verdicts=4)
    np.testing.assert_allclose(found.value_low, 0.7 - scipy.stats.norm.ppf(1 - 0.025 / 4) * 0.1, rtol=1e-12)


def random_claims(n):
    generator = np.random.default_rng(3)
    for i in range(n):
        scale = ("identity", "logit", "log")[i % 3]
        n_controls = int(generator.integers(2, 30))
        middle, width = generator.uniform(0.05, 0.95), 10 ** generator.uniform(-4, 0)
        controls = middle + width * generator.standard_normal(n_controls)
        value = middle + 3 * width * generator.standard_normal() * 10 ** generator.uniform(-1, 1)
        if scale == "logit":
            controls, value = controls.clip(0, 1), min(max(value, 0.0), 1.0)
        if scale == "log":
            controls, value = np.abs(controls) + 1e-3, abs(value) + 1e-3
        chance = (-INF, 0.0, 0.5, INF)[int(generator.integers(4))]
        options = {"n_verdicts": int(generator.integers(1, 40)), "chance": chance}
        yield judged(scale, float(value), controls.tolist(), spread=width * generator.uniform(0, 2), seed=i, **options)[
            0
        ]


def test_p_is_below_5_percent_exactly_where_something_is_found_and_signs_agree():
    seen = set()
    for found in random_claims(300):
        decided = found.verdict in ("evidence", "opposite")
        assert (found.p_value < 0.05) == decided, found
        assert found.low <= 0 or found.excess > 0
        assert found.high >= 0 or found.excess < 0
        assert found.low <= found.excess <= found.high
        if found.verdict == "evidence":
            assert found.low > 0
            assert found.value_low > found.chance
        if found.verdict == "opposite":
            assert found.high < 0
        if found.verdict == "negligible":
            assert max(abs(found.low), abs(found.high)) <= found.smallest
        seen.add((found.scale, found.verdict))
    assert {word for _, word in seen} == {"evidence", "opposite", "negligible", "inconclusive"}
    assert {scale for scale, word in seen if word == "evidence"} == {"identity", "logit", "log"}
    assert {scale for scale, word in seen if word == "opposite"} == {"identity", "logit", "log"}


BELOW_CHANCE = [-0.3, -0.31, -0.29, -0.3, -0.3]
VERDICTS = {
    "far above": (0.9, LOW, {}, "evidence"),
    "among the controls, which are alike": (0.1, LOW, {}, "negligible"),
    "among the controls, which scatter": (0.5, [0.0, 0.9, 0.1, 0.5, 0.7], {}, "inconclusive"),
    "below": (-0.9, LOW, {}, "opposite"),
    "below, whatever chance is": (-0.9, LOW, {"chance": 0.0, "value_variance": 0.01}, "opposite"),
    "uncertain over prompts": (0.9, LOW, {"sampling_variance": 1.0}, "inconclusive"),
    "above controls, below chance": (-0.1, BELOW_CHANCE, {"chance": 0.0}, "inconclusive"),
    "without a chance level": (-0.1, BELOW_CHANCE, {}, "evidence"),
    "above chance for sure": (0.6, LOW, {"chance": 0.5, "value_variance": 0.0001}, "evidence"),
    "above chance by chance": (0.6, LOW, {"chance": 0.5, "value_variance": 0.01}, "inconclusive"),
    "chance cannot be judged": (0.6, LOW, {"chance": 0.5, "value_variance": NAN}, "inconclusive"),
    "nothing exceeds chance": (0.6, LOW, {"chance": INF}, "inconclusive"),
    "found, and too small to matter": (0.13, [0.1, 0.101, 0.099, 0.1], {}, "evidence"),
    "no control": (0.9, [], {}, "not applicable"),
    "one control": (0.9, [0.1], {}, "not applicable"),
    "value is NaN": (NAN, LOW, {}, "not applicable"),
    "value is infinite": (INF, LOW, {}, "not applicable"),
    "a control is NaN": (0.9, [0.1, NAN], {}, "not applicable"),
    "variance is NaN": (0.9, LOW, {"sampling_variance": NAN}, "not applicable"),
}


@pytest.mark.parametrize(("value", "controls", "options", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(value, controls, options, verdict):
    found = excess_over_controls(value, controls, **options)
    assert found.verdict == verdict
    assert (found.reason is not None) == (verdict == "not applicable")
    assert math.isnan(found.p_value) == (verdict == "not applicable")


REASONS = {
    "no control": (0.9, [], "there are no untrained networks to compare with"),
    "one control": (0.9, [0.1], "one untrained network shows no spread"),
    "no number": (NAN, LOW, "the model gives no such number"),
    "no number, no control": (NAN, [], "the model gives no such number"),
    "infinite": (INF, LOW, "the numbers are not finite"),
    "an infinite control": (0.5, [0.1, INF], "the numbers are not finite"),
}


@pytest.mark.parametrize(("value", "controls", "reason"), REASONS.values(), ids=REASONS)
def test_reasons(value, controls, reason):
    assert excess_over_controls(value, controls).reason == reason


def test_a_smallest_effect_of_interest_decides_what_is_negligible():
    assert excess_over_controls(0.1, LOW, smallest=0.06).verdict == "negligible"
    assert excess_over_controls(0.1, LOW, smallest=0.01).verdict == "inconclusive"
    small = excess_over_controls(0.13, [0.1, 0.101, 0.099, 0.1])
    assert not small.matters
    assert excess_over_controls(0.9, LOW).matters
    assert excess_over_controls(-0.9, LOW).matters


def test_more_claims_ask_for_more():
    assert excess_over_controls(0.35, [0.1, 0.15, 0.05], n_verdicts=1).verdict == "evidence"
    assert excess_over_controls(0.35, [0.1, 0.15, 0.05], n_verdicts=20).verdict == "inconclusive"


@pytest.mark.parametrize("n", [2, 3, 20])
@pytest.mark.parametrize(("value", "verdict"), [(0.2, "evidence"), (0.1, "negligible"), (0.0, "opposite")])
def test_equal_controls_have_no_spread_and_rounding_is_none(n, value, verdict):
    found = excess_over_controls(value, [0.1] * n)
    assert found.verdict == verdict
    np.testing.assert_allclose(found.interval, value - 0.1, atol=1e-15)
    np.testing.assert_equal(found.p_value, 1.0 if verdict == "negligible" else 0.0)


@pytest.mark.parametrize("scale", ["identity", "logit"])
@pytest.mark.parametrize("everywhere", [0.0, 1.0])
def test_a_number_that_is_0_or_1_everywhere_shows_nothing(scale, everywhere):
    replicates = torch.full((50,), everywhere)
    same = everywhere, replicates
    found = excess_of_replicates(same, [same] * 6, scale=scale, n_prompts=N_PROMPTS)
    assert found.verdict == "negligible"
    assert found.p_value == 1.0
    np.testing.assert_allclose(found.interval, 0, atol=1e-12)


def test_0_and_1_have_a_place_on_the_logit_scale():
    controls = [(value, torch.full((50,), value)) for value in (0.0, 0.0, 0.1, 0.0, 0.05, 0.0)]
    found = excess_of_replicates((1.0, torch.ones(50)), controls, scale="logit", n_prompts=N_PROMPTS)
    assert found.verdict == "evidence"
    assert 0 < found.low < found.excess < found.high <= 1
    # Without prompts to count halves of, one counts.
    assert excess_of_replicates((1.0, torch.ones(50)), controls, scale="logit").verdict == "evidence"


def test_0_has_no_place_on_the_log_scale():
    controls = [(value, torch.full((50,), value)) for value in (0.0, 0.2, 0.1)]
    found = excess_of_replicates((0.5, torch.full((50,), 0.5)), controls, scale="log")
    assert (found.verdict, found.reason) == ("not applicable", "the numbers are not finite")


def test_wide_intervals_on_the_log_scale_do_not_overflow():
    controls = [(value, torch.full((50,), value)) for value in (1e-8, 1e3)]
    found = excess_of_replicates((0.5, torch.full((50,), 0.5)), controls, scale="log", n_verdicts=40)
    assert found.verdict == "inconclusive"
    assert math.isfinite(found.low)


CONTROLS = (0.1, 0.14, 0.08, 0.12, 0.06)


def test_without_sampling_noise_p_is_student_s():
    excess = excess_over_controls(0.2, CONTROLS)
    t = excess.excess / math.sqrt(np.var(CONTROLS, ddof=1) * (1 + 1 / 5))
    np.testing.assert_allclose(excess.p_value, 2 * scipy.stats.t.sf(t, df=4), rtol=1e-6)


def test_without_spread_p_is_normal():
    excess = excess_over_controls(0.2, [0.1, 0.1, 0.1], sampling_variance=0.0025)
    np.testing.assert_allclose(excess.p_value, 2 * scipy.stats.norm.sf(2.0), rtol=1e-6)


def test_two_controls_have_the_widest_tails():
    excess = excess_over_controls(0.3, [0.1, 0.12])
    t = excess.excess / math.sqrt(np.var([0.1, 0.12], ddof=1) * 1.5)
    np.testing.assert_allclose(excess.p_value, 2 * scipy.stats.t.sf(t, df=1), rtol=1e-6)


def test_p_is_multiplied_by_the_number_of_claims_up_to_1():
    p_values = [excess_over_controls(0.2, CONTROLS, n_verdicts=n, sampling_variance=1e-3).p_value for n in (1, 3, 999)]
    np.testing.assert_allclose(p_values, [p_values[0], 3 * p_values[0], 1.0], rtol=1e-6)


def test_both_halves_of_a_claim_count():
    # Far beyond its controls, and two standard errors above chance.
    excess = excess_over_controls(0.7, [-0.5, -0.51, -0.49, -0.5], chance=0.5, value_variance=0.01)
    np.testing.assert_allclose(excess.p_value, 2 * scipy.stats.norm.sf(2.0), rtol=1e-6)


def test_less_than_the_controls_is_the_mirror_image():
    above, below = (excess_over_controls(0.1 + d, CONTROLS) for d in (0.05, -0.05))
    np.testing.assert_allclose(above.p_value, below.p_value, rtol=1e-6)
    np.testing.assert_allclose([above.low, above.high], [-below.high, -below.low], rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-13, 1e13])
@pytest.mark.parametrize("value", [0.1, 0.15, 0.2])
def test_units_change_no_p_value(value, unit):
    def p_value(u):
        return excess_over_controls(value * u, [c * u for c in CONTROLS], sampling_variance=1e-3 * u * u).p_value

    np.testing.assert_allclose(p_value(unit), p_value(1.0), rtol=1e-6)


@pytest.mark.parametrize("n_controls", [5, 20])
def test_an_effect_of_the_detectable_size_is_found_in_about_8_of_10_studies(n_controls):
    generator, repeats = np.random.default_rng(0), 2000
    networks = generator.standard_normal((repeats, 1 + n_controls))
    sizes = [excess_over_controls(own, rest).detectable for own, *rest in networks.tolist()]
    shift = math.sqrt(np.mean(np.square(sizes)))  # as the spread over many controls would have it
    fresh = generator.standard_normal((repeats, 1 + n_controls)).tolist()
    found = sum(excess_over_controls(own + shift, rest).verdict == "evidence" for own, *rest in fresh)
    # Four standard errors of 2000 studies; sums of two quantiles of t, where a noncentral t would be exact, cost less.
    assert abs(found / repeats - 0.8) < 4 * math.sqrt(0.8 * 0.2 / repeats)


def test_variance_over_leaves_out_what_is_not_finite():
    replicates = torch.tensor([1.0, NAN, 3.0, INF, 5.0])
    np.testing.assert_allclose(variance_over(replicates), np.var([1, 3, 5], ddof=1), rtol=1e-6)  # float32
    assert np.isnan(variance_over(torch.tensor([1.0, NAN])))


def test_paired_variance_is_that_of_the_difference():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(400, generator=generator)
    a, b, c = (shared + 0.1 * torch.randn(400, generator=generator) for _ in range(3))
    # one float32 variance of the same numbers
    np.testing.assert_allclose(paired_variance(a, [b, c]), np.var((a - (b + c) / 2).numpy(), ddof=1), rtol=1e-5)
    assert paired_variance(a, [b, c]) < 0.1 * variance_over(a)  # what is shared cancels
    np.testing.assert_equal(paired_variance(a, []), 0.0)


def test_a_claim_is_not_asked_where_what_it_presupposes_is_not_evidence():
    found, lost = excess_over_controls(0.9, LOW), excess_over_controls(0.1, LOW)
    claims = {"learns": lost, "survives": found, "other": found}
    gates = {"learns": None, "survives": "learns", "other": None}
    stopped = gated(claims, gates)
    assert [excess.verdict for excess in stopped.values()] == ["negligible", "not applicable", "evidence"]
    assert stopped["survives"].reason == "it presupposes learns, which is not shown"
    assert math.isnan(stopped["survives"].p_value)
    assert stopped["survives"].interval == found.interval  # its numbers stay
    assert gated({**claims, "learns": found}, gates)["survives"] is found
    opposite = excess_over_controls(-0.9, LOW)
    assert gated({**claims, "learns": opposite}, gates)["survives"].verdict == "not applicable"


def test_a_gated_claim_without_controls_says_that_these_are_missing():
    found = replace(excess_over_controls(0.9, []), gate="learns")
    assert found.reason == "there are no untrained networks to compare with"


def test_without_controls_there_is_no_control_value():
    found = excess_over_controls(0.9, [])
    np.testing.assert_equal([found.control, found.excess, found.low, found.high], [np.nan] * 4)


def test_repr_is_a_line_with_the_verdict():
    assert repr(Excess(1.0, (0.5, 0.5), 0.25, 0.75, 0.05)) == (
        "Excess(evidence: 1 vs 0.5 in untrained networks, difference 0.5 [0.25, 0.75])"
    )
    assert repr(excess_over_controls(0.9, [])) == (
        "Excess(not applicable: 0.9 vs nan in untrained networks, difference nan [nan, nan])"
    )
