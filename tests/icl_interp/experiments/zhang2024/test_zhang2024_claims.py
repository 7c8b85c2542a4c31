"""The claims of Zhang et al.: all hold for what theory says, and each fails where its numbers are spoilt."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from zhang_cases import THREE, ideal_measures, with_all, with_risks

from icl_interp.experiments.experiment import Outcome, experiment
from icl_interp.experiments.linear_risk import Risk
from icl_interp.experiments.zhang2024.claims import BETWEEN, _doublings
from icl_interp.experiments.zhang2024.measures import optimum
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page

EXPERIMENT = experiment("zhang2024")


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


claims = EXPERIMENT.judged


def verdicts(found):
    return {claim.key: claim.verdict for claim in claims(found, THREE)}


def test_theory_reproduces_every_claim(ideal):
    found = verdicts(ideal)
    assert found.pop("table-1-cells") == "no target"
    assert set(found.values()) == {"reproduced"}
    assert len(found) == 11


NEARER = BETWEEN * THREE.transformer.n_dims**0.5
SPOILT = {
    "optima": lambda m: with_risks(with_risks(m, 1.1, part="figure 1", kind="ltb"), 1.1, part="figure 1", kind="lsa"),
    "gap": lambda m: with_risks(m, 0.01, kind="lsa"),
    "norms": lambda m: with_risks(m, 1.1, part="norms"),
    "lengths": lambda m: with_risks(with_risks(m, 1.1, part="lengths"), 3.0, part="figure 1", kind="lsa"),
    "near-bayes": lambda m: replace(with_risks(m, 1.1, part="noise"), bayes=Risk(5.01, 0.0)),
    "skip-and-mlp": lambda m: with_risks(with_risks(m, 0.6, part="ablation"), 0.6, part="figure 1", kind="lsa"),
    "moved-mean": lambda m: with_all(m, lambda _, one: {"moved": dict.fromkeys(one.moved, 2.7)}),
    "weights": lambda m: with_all(m, lambda _, one: {"weights": dict.fromkeys(one.weights, 0.5)}),
    "linear-analogue": lambda m: with_risks(
        with_risks(m, 0.01, part="table 1", kind="lsa"), 1.1, part="table 1", kind="ltb"
    ),
    "gpt2": lambda m: with_risks(with_risks(m, 100.0, part="table 1", norm=0.0), 0.01, kind="gpt2 no MLP"),
    "gpt2-nearer": lambda m: with_risks(m, 100.0, part="table 1", norm=NEARER),
}


@pytest.mark.parametrize("key", SPOILT)
def test_a_claim_fails_on_spoilt_numbers(ideal, key):
    assert verdicts(SPOILT[key](ideal))[key] in ("contradicted", "mixed", "inconclusive", "partly reproduced")


@pytest.mark.parametrize(
    "key",
    ["optima", "norms", "near-bayes", "skip-and-mlp", "moved-mean", "weights", "gpt2-nearer", "linear-analogue"],
)
def test_a_claim_whose_checks_all_fail_is_contradicted(ideal, key):
    assert verdicts(SPOILT[key](ideal))[key] == "contradicted"


def test_one_spoilt_check_makes_a_claim_mixed(ideal):
    assert verdicts(with_risks(ideal, 1.1, part="figure 1", kind="ltb"))["optima"] == "mixed"


def nearer(found):
    (claim,) = (claim for claim in claims(found, THREE) if claim.key == "gpt2-nearer")
    return claim


def test_what_mlps_are_worth_nearer_to_zero_is_judged_by_itself(ideal):
    equal = with_risks(with_risks(ideal, 1 / 30, kind="gpt2 no MLP", norm=NEARER), 1 / 30, kind="gpt2 no MLP pinned")
    assert {claim.key: claim.verdict for claim in claims(equal, THREE)}["gpt2"] == "mixed"
    assert [check.verdict for check in named(nearer(equal), "without MLP / with MLP")] == ["contradicts"] * 2
    assert [check.verdict for check in named(nearer(equal), "b* = (3, ..., 3), GPT-2, ")] == ["agrees"] * 2


def test_what_fewer_weights_cost_is_taken_off(ideal):
    without = named(nearer(ideal), "b* = (3, ..., 3), GPT-2 without MLP")
    assert [(check.values, check.verdict) for check in without] == [((1.0,) * 3, "no target")] * 2
    assert [c.values for c in named(nearer(ideal), "less the one")] == [pytest.approx((math.log2(30),) * 3)] * 2
    # Without MLPs it is a hundred times worse around zero already.
    worse = with_risks(with_risks(ideal, 100.0, kind="gpt2 no MLP", norm=0.0), 1.0, kind="gpt2")
    free, pinned = named(nearer(worse), "less the one")
    assert (free.verdict, pinned.verdict) == ("contradicts", "agrees")
    assert free.values == pytest.approx((math.log2(30 / 100),) * 3)


@pytest.mark.parametrize("unlearned", [("gpt2", "gpt2 no MLP"), ("gpt2",)])
def test_without_learning_around_zero_nothing_is_beyond_it(ideal, unlearned):
    found = ideal
    for kind in unlearned:
        found = with_risks(found, 30.0, kind=kind, norm=0.0)
    free, pinned = named(nearer(found), "less the one")
    assert (free.verdict, pinned.verdict) == ("no target", "agrees")
    assert free.reason.startswith("not judged: GPT-2 with MLP has not learned")


def test_one_read_out_that_has_not_learned_leaves_the_other_judged(ideal):
    claim = nearer(with_risks(ideal, 10.0, kind="gpt2 pinned", norm=NEARER))
    (free,), (pinned,) = (named(claim, f"{end} read-out: log2") for end in ("free", "pinned"))
    assert (free.verdict, pinned.verdict) == ("agrees", "no target")
    beyond = named(claim, "less the one")[1]
    assert beyond.reason == pinned.reason
    assert pinned.reason.startswith("not judged: GPT-2 with MLP has not learned")
    assert (beyond.low, beyond.high) == (None, None)


LARGE = 10 * THREE.transformer.n_dims**0.5


def gpt2_around_ten(found, with_mlp, without):
    """The same, with these errors of GPT-2 around b* = (10, ..., 10); d = 3 is that of answering <b*, x>."""
    errors = {"gpt2": with_mlp, "gpt2 pinned": with_mlp, "gpt2 no MLP": without, "gpt2 no MLP pinned": without}
    changed = with_all(
        found,
        lambda run, _: {"risk": Risk(errors[run.kind], 0.0)} if run.kind in errors and run.norm == LARGE else {},
    )
    (claim,) = (claim for claim in claims(changed, THREE) if claim.key == "gpt2")
    return claim


def named(claim, part):
    return [check for check in claim.checks if part in check.label]


def test_gpt2_that_learns_with_mlps_only_reproduces_table_1(ideal):
    claim = gpt2_around_ten(ideal, 0.1, 20.0)
    assert claim.verdict == "reproduced"
    assert [check.verdict for check in named(claim, "without MLP / with MLP")] == ["agrees"] * 2
    assert [check.values for check in named(claim, "b* = (10, ..., 10), GPT-2")] == [pytest.approx((0.1 / 3,) * 3)] * 2
    assert [check.high for check in named(claim, "error of answering <b*, x>")] == [0.05] * 6


@pytest.mark.parametrize(("with_mlp", "without"), [(300.0, 700.0), (3.0, 3.0), (3.0, 20.0)])
def test_what_no_gpt2_learns_says_nothing_about_mlps(ideal, with_mlp, without):
    claim = gpt2_around_ten(ideal, with_mlp, without)
    # Around b* = 0 these are ideal still.
    assert claim.verdict == "mixed"
    assert [check.verdict for check in named(claim, "b* = (10, ..., 10), GPT-2")] == ["contradicts"] * 2
    for ratio in named(claim, "without MLP / with MLP"):
        assert (ratio.low, ratio.high, ratio.verdict) == (None, None, "no target")
        assert ratio.values == pytest.approx((math.log2(without / with_mlp),) * 3)
        assert ratio.reason.startswith("not judged: GPT-2 with MLP has not learned (error over that of answering")
    nothing = gpt2_around_ten(with_risks(ideal, 100.0, part="table 1", norm=0.0), with_mlp, without)
    assert nothing.verdict == "contradicted"


def test_a_slope_of_theory_alone_is_no_evidence(ideal):
    (claim,) = (claim for claim in claims(ideal, THREE) if claim.key == "lengths")
    (limit,) = named(claim, "nothing trained")
    assert (limit.verdict, limit.reason) == (
        "no target",
        "nothing trained, so not judged; theory tends to -1",
    )
    assert limit.values == pytest.approx((-0.93,) * 3, abs=0.005)  # two digits


def test_claims_say_what_their_intervals_leave_out(ideal):
    # The ridge's excess risk is that of the block less 0.3, and noise of 5 is in neither.
    excess = ideal.bayes.value - 5
    errors = {("gpt2", 0): 0.002, ("gpt2", 1): 0.004}
    spread = with_all(
        ideal, lambda run, one: {"risk": Risk(one.risk.value, one.risk.value * errors.get((run.kind, run.seed), 0.0))}
    )
    changed = replace(spread, bayes=Risk(ideal.bayes.value, 0.01 * excess))
    said = {claim.key: claim.measure for claim in claims(changed, THREE)}
    for key in ("optima", "gap", "norms", "lengths", "skip-and-mlp", "moved-mean", "linear-analogue"):
        assert "standard error" not in said[key], key
    assert re.findall(r"over ([\d,]+) tasks;.* (\S+) % of its excess risk", said["near-bayes"]) == [("20,000", "1")]
    assert re.findall(r"same (\d+) tasks\..* up to (\S+) % of an error", said["gpt2"]) == [("500", "0.4")]


def test_one_seed_is_not_judged():
    sizes = replace(THREE, seeds=(0,))
    found = {claim.verdict for claim in claims(ideal_measures(sizes), sizes)}
    assert found == {"inconclusive", "no target"}


def test_the_oracles_of_the_notes():
    # Four digits are given there.
    assert round(optimum("ltb", 0.0, 40, n_dims=20), 4) == 6.8852
    assert round(optimum("lsa", 10 * 20**0.5, 40, n_dims=20), 2) == 114.15
    assert optimum("ltb", 1.0, 5) == pytest.approx(optimum("ltb", 9.0, 5), rel=1e-12)  # exactly flat in |b*|
    with pytest.raises(ValueError, match=r"needs labels without noise, got noise_std=0\.5"):
        optimum("lsa", 1.0, 5, noise_std=0.5)


def test_numbers_that_are_none_leave_checks_undecided_and_end_nothing(ideal):
    lost = with_all(ideal, lambda run, _: {"risk": Risk(math.nan, math.nan)} if run.seed == 1 else {})
    found = {claim.key: claim for claim in claims(lost, THREE)}
    assert [check.verdict for check in found["optima"].checks] == ["undecided"] * 2
    assert [check.note for check in found["norms"].checks] == ["1 of 3 seeds gave no number"] * 4
    assert found["lengths"].checks[0].note == "1 of 3 seeds gave no number"
    assert found["weights"].verdict == "reproduced"
    outcome = Outcome(
        EXPERIMENT.paper, "laptop", THREE.seeds, (), (), tuple(found.values()), EXPERIMENT.drawn(lost, THREE)
    )
    html = render(claims_page(outcome, {}), plotlyjs="directory")
    assert "undecided: LTB risk: 1 of 3 seeds gave no number (expected from 2.673 to 2.782)" in html


def test_an_error_of_zero_leaves_ratios_undecided(ideal):
    found = {claim.key: claim for claim in claims(with_risks(ideal, 0.0, kind="gpt2 no MLP"), THREE)}
    (free, _) = named(found["gpt2"], "without MLP / with MLP")
    assert (free.verdict, free.note) == ("undecided", "3 of 3 seeds gave no number")


@pytest.mark.parametrize(("less", "more", "found"), [(1.0, 8.0, 3.0), (math.inf, 1.0, -math.inf), (0.0, 1.0, math.nan)])
def test_what_an_mlp_is_for_is_counted_in_doublings_of_the_error(less, more, found):
    np.testing.assert_equal(_doublings(less, more), found)
