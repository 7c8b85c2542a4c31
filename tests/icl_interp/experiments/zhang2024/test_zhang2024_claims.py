"""The claims of Zhang et al.: all hold for what theory says, and each fails where its numbers are spoilt."""

from dataclasses import replace

import pytest
from zhang_cases import THREE, ideal_measures, with_risks

from icl_interp.experiments.monte_carlo import Risk
from icl_interp.experiments.zhang2024.claims import claims
from icl_interp.experiments.zhang2024.reader import optimum


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


def verdicts(found):
    return {claim.key: claim.verdict for claim in claims(found, THREE)}


def test_theory_reproduces_every_claim(ideal):
    found = verdicts(ideal)
    assert found.pop("table-1-cells") == "unknown in the paper"
    assert set(found.values()) == {"reproduced"}
    assert len(found) == 10


SPOILT = {
    "optima": lambda m: with_risks(with_risks(m, 1.1, part="figure 1", kind="ltb"), 1.1, part="figure 1", kind="lsa"),
    "gap": lambda m: with_risks(m, 0.01, kind="lsa"),
    "norms": lambda m: with_risks(m, 1.1, part="norms"),
    "lengths": lambda m: with_risks(with_risks(m, 1.1, part="lengths"), 3.0, part="figure 1", kind="lsa"),
    "near-bayes": lambda m: replace(with_risks(m, 1.1, part="noise"), bayes=Risk(5.01, 0.0)),
    "skip-and-mlp": lambda m: with_risks(with_risks(m, 0.6, part="ablation"), 0.6, part="figure 1", kind="lsa"),
    "moved-mean": lambda m: replace(m, moved={key: Risk(2.7, 0.0) for key in m.moved}),
    "weights": lambda m: replace(m, weights={run: dict.fromkeys(errors, 0.5) for run, errors in m.weights.items()}),
    "linear-analogue": lambda m: with_risks(
        with_risks(m, 0.01, part="table 1", kind="lsa"), 1.1, part="table 1", kind="ltb"
    ),
    "gpt2": lambda m: with_risks(with_risks(m, 100.0, part="table 1", norm=0.0), 0.01, kind="gpt2 no MLP"),
}


@pytest.mark.parametrize("key", SPOILT)
def test_a_claim_fails_on_spoilt_numbers(ideal, key):
    assert verdicts(SPOILT[key](ideal))[key] in ("not reproduced", "partly")


@pytest.mark.parametrize(
    "key", ["optima", "norms", "near-bayes", "skip-and-mlp", "moved-mean", "weights", "linear-analogue"]
)
def test_a_claim_whose_checks_all_fail_is_not_reproduced(ideal, key):
    assert verdicts(SPOILT[key](ideal))[key] == "not reproduced"


def test_one_spoilt_check_makes_a_claim_partly(ideal):
    assert verdicts(with_risks(ideal, 1.1, part="figure 1", kind="ltb"))["optima"] == "partly"


def test_one_seed_is_not_judged():
    sizes = replace(THREE, seeds=(0,))
    found = {claim.verdict for claim in claims(ideal_measures(sizes), sizes)}
    assert found == {"not judged", "unknown in the paper"}


def test_the_oracles_of_the_notes():
    # Four digits are given there.
    assert round(optimum("ltb", 0.0, 40, n_dims=20), 4) == 6.8852
    assert round(optimum("lsa", 10 * 20**0.5, 40, n_dims=20), 2) == 114.15
    assert optimum("ltb", 1.0, 5) == pytest.approx(optimum("ltb", 9.0, 5), rel=1e-12)  # exactly flat in |b*|
    with pytest.raises(ValueError, match=r"needs labels without noise, got noise_std=0\.5"):
        optimum("lsa", 1.0, 5, noise_std=0.5)
