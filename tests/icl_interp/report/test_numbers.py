"""The JSON of a study: valid, without NaN, the same for the same seed, and with every number of the report."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from icl_interp.measure.families import draw_families
from icl_interp.measure.result import plain
from icl_interp.report.numbers import _names, study_json
from icl_interp.tasks.linear_regression import LinearRegression

PROVENANCE = {"command": "icl-probe small.pt", "threads": 1}


def refuse(constant: str) -> float:
    raise AssertionError(constant)


def read(text: str) -> dict:
    """JSON proper has neither NaN nor Infinity."""
    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def numbers(small_study, small_checkpoint):
    return read(study_json(small_study, small_checkpoint, PROVENANCE))


def test_equal_seeds_differ_in_provenance_only(uncontrolled_study, uncontrolled_study_again, small_checkpoint):
    first = read(study_json(uncontrolled_study, small_checkpoint, PROVENANCE))
    second = read(study_json(uncontrolled_study_again, small_checkpoint, {"command": "another", "time": "later"}))
    assert first.pop("provenance") != second.pop("provenance")
    assert first == second


def test_keys_are_sorted_and_the_text_ends_in_a_newline(small_study, small_checkpoint, numbers):
    text = study_json(small_study, small_checkpoint, PROVENANCE)
    assert text.endswith("}\n")
    assert list(numbers) == sorted(numbers)
    assert len(text) < 500_000


def test_the_header(numbers, small_checkpoint):
    assert (numbers["format"], numbers["format_version"]) == ("icl-interp study", 2)
    assert numbers["provenance"] == PROVENANCE
    checkpoint = numbers["checkpoint"]
    assert (checkpoint["name"], checkpoint["sha256"]) == ("small.pt", small_checkpoint.sha256)
    assert (checkpoint["step"], checkpoint["n_points_trained"]) == (7, 8)
    assert checkpoint["notes"] == list(small_checkpoint.notes)
    assert checkpoint["assumptions"] == []
    assert numbers["study"]["seed"] == 0
    assert numbers["study"]["task"]["n_dims"] == 3
    assert numbers["study"]["config"]["d_model"] == 16


def test_verdicts(numbers, small_study):
    assert set(numbers["verdicts"]) == set(small_study.verdicts)
    for name, excess in small_study.verdicts.items():
        written = numbers["verdicts"][name]
        assert (written["verdict"], written["reason"]) == (excess.verdict, excess.reason)
        assert (written["scale"], written["gate"]) == (excess.scale, excess.gate)
        fields = ("value", "low", "high", "excess", "level", "chance", "value_low", "p_value", "detectable", "smallest")
        # JSON keeps every digit of a float64, and has no infinities
        expected = {f: getattr(excess, f) for f in fields}
        assert {f: written[f] for f in fields} == {f: v if math.isfinite(v) else None for f, v in expected.items()}
        assert (written["chance"] is None) is (name == "spectra")
        assert (written["gate"] is not None) is (name in ("under shift", "algorithm", "erasure"))
        np.testing.assert_allclose(written["controls"], excess.controls, rtol=1e-15)


def test_errors(numbers, small_study):
    for label, errors in small_study.errors.families.items():
        written = numbers["study"]["errors"]["families"][label]
        assert set(written["curves"]) == set(errors.curves)
        for name, curve in errors.curves.items():
            np.testing.assert_allclose(written["curves"][name]["mean"], curve.mean, rtol=1e-15)
        gap = written["gap_to_least_squares"]["value"]
        np.testing.assert_allclose(gap, errors.gap_to_least_squares.value, rtol=1e-15)
        assert {name: e["low"] for name, e in written["gap_to_best"].items()} == {
            name: e.low for name, e in errors.gap_to_best.items()
        }
        assert written["family"]["prompts"] == {"n_prompts": 16, "n_points": 8, "n_dims": 3}


def test_ood_and_probes(numbers, small_study):
    ood, probes = numbers["study"]["ood"], numbers["study"]["probes"]
    for label, detection in small_study.ood.shifts.items():
        written = ood["shifts"][label]
        np.testing.assert_allclose(written["signature"]["auroc"], detection.signature.auroc, rtol=1e-15)
        assert len(written["untrained"]) == 5
        np.testing.assert_allclose(ood["scores"][label], small_study.ood.scores[label], rtol=1e-15)
        np.testing.assert_allclose(ood["errors"][label], small_study.ood.errors[label], rtol=1e-15)
    assert probes["targets"] == list(small_study.probes.targets)
    for site, probe in small_study.probes.probes.items():
        np.testing.assert_allclose(probes["probes"][site]["r2"], probe.r2, rtol=1e-15)
        np.testing.assert_allclose(probes["probes"][site]["r2_shuffled"], probe.r2_shuffled, rtol=1e-15)
    assert numbers["study"]["ood_final"]["site"]["label"] == "final norm"


def test_spectra(numbers, small_study):
    for label, record in small_study.survey.families.items():
        for site, ours in record.sites.items():
            written = numbers["study"]["survey"]["families"][label]["sites"][site]
            np.testing.assert_allclose(written["spectrum"], ours.spectrum, rtol=1e-15)
            np.testing.assert_allclose(written["leading_value"], ours.leading_value, rtol=1e-15)
            np.testing.assert_allclose(written["overlap_within"], ours.overlap_within, rtol=1e-15)
            np.testing.assert_allclose(written["overlap_with_id"], ours.overlap_with_id, rtol=1e-15)
    assert len(numbers["study"]["untrained"]) == 5


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(entry) for entry in value.values()))
    return set().union(*(keys(entry) for entry in value)) if isinstance(value, list) else set()


def test_what_no_figure_shows_is_left_out(numbers):
    found = keys(numbers)
    assert not found & {"predictions", "signatures", "weight", "bias", "reference", "direction_references", "xs", "ys"}
    assert not [key for key in found if key.endswith("replicates")]
    assert "scores" not in keys(numbers["study"]["survey"])


def test_missing_numbers_are_null(uncontrolled_study, small_checkpoint):
    numbers = read(study_json(uncontrolled_study, small_checkpoint, {}))
    for verdict in numbers["verdicts"].values():
        assert (verdict["low"], verdict["high"], verdict["excess"], verdict["p_value"]) == (None,) * 4
        assert verdict["verdict"] == "not applicable"
        assert verdict["reason"] == "there are no untrained networks to compare with"
        assert verdict["controls"] == []
    assert math.isfinite(numbers["verdicts"]["detection"]["value"])


def test_brackets_in_words_stay_as_they_are(small_study, small_checkpoint):
    odd = replace(small_checkpoint, notes=("an open [ bracket", "and ] a closing one", "[both, of them]"))
    assert read(study_json(small_study, odd, {}))["checkpoint"]["notes"] == list(odd.notes)


def test_a_family_says_what_it_changes():
    families = draw_families(LinearRegression(2), shifts=["x_scale=3", "label_noise=1"], n_prompts=4)
    told = plain(families, _names)["by_label"]
    assert {label: family["changes"] for label, family in told.items()} == {
        "in distribution": "nothing",
        "x_scale=3": "inputs",
        "label_noise=1": "labels",
    }
