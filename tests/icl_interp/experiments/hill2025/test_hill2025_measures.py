"""What hill2025 measures: a planted signature is found by its convention alone, noise by none; models are kept."""

from dataclasses import replace

import pytest
import torch

from icl_interp.activations import Batch
from icl_interp.experiments.hill2025.measures import NORMS, _measure_model, measure
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import SIZES, Run, plan
from icl_interp.experiments.hill2025.watch import ConventionWatch, _all_conventions, correlate, read_conventions
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.study.survey import FIT
from icl_interp.models.build import build_model
from icl_interp.prompts import Prompts

SITE = ResidualSite("block 0", "hook")
N, ROWS, WIDTH = 64, 8, 16
SMOKE = SIZES["smoke"]


def planted(tokens, strength, seed):
    """Noise, with two shared directions of given strengths, a prompt each, at the positions of one kind of token."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(N, ROWS, WIDTH, generator=generator)
    coefficients = torch.randn(N, len(range(ROWS)[tokens]), 2, generator=generator) * strength[:, None, None]
    values[:, tokens, :2] += coefficients
    return values


def watched(tokens, strength):
    """A watch that has read fit prompts and two families, in the second of which the strength varies."""
    watch, default = ConventionWatch([SITE], "interleaved"), _all_conventions("interleaved")[0]
    full = torch.full((N,), 6.0)
    for number, (label, how_strong) in enumerate([(FIT, full), (IN_DISTRIBUTION, full), ("shifted", strength)]):
        values = planted(tokens, how_strong, number)
        prompts = Prompts(xs=torch.zeros(N, 4, 2), ys=torch.zeros(N, 4))
        batch = Batch(prompts, torch.zeros(N, 4), {SITE.hook: values})
        watch(label, batch, {SITE.label: default.directions(values)})
    return watch


@pytest.fixture(scope="module")
def readings():
    strength = torch.linspace(0.0, 3.0, N)
    random = torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {IN_DISTRIBUTION: random, "shifted": (5 - strength).double()}
    watches = [watched(slice(0, None, 2), strength), *[watched(slice(0, 0), strength)] * 2]
    found = read_conventions(watches, errors)
    return {(r.tokens, r.centred, r.side, r.variant): r for r in found}


def test_every_convention_and_variant_is_read(readings):
    assert len(readings) == 3 * 2 * 2 * 3
    assert all(len(reading.contrast) == 3 for reading in readings.values())


@pytest.mark.parametrize(
    ("variant", "least", "auroc"), [("overlap", 0.2, 0.2), ("directions", 0.1, 0.05), ("pairs", 0.1, 0.2)]
)
def test_a_planted_signature_is_found_at_its_tokens(readings, variant, least, auroc):
    # Both planted directions have the same strength and so no order: less is left to variants that take one by one.
    found = readings["x", False, "right", variant]
    assert found.beyond("contrast") > least
    assert found.beyond("auroc", 0.5) > auroc
    assert found.within[0] > 0.2  # one family of two tells the error, the other has random errors


@pytest.mark.parametrize(
    "where", [("y", False, "right", "overlap"), ("y", False, "right", "pairs"), ("x", False, "left", "overlap")]
)
def test_elsewhere_it_is_not(readings, where):
    assert abs(readings[where].contrast[0]) < 0.1
    assert abs(readings[where].auroc[0] - 0.5) < 0.15


def test_networks_without_it_show_nothing(readings):
    found = readings["x", False, "right", "overlap"]
    assert abs(found.control("contrast")) < 0.1
    assert abs(found.control("auroc") - 0.5) < 0.15


def test_correlations_inside_families_are_not_those_between():
    up = torch.arange(10.0)
    within, pooled, each = correlate({"a": up, "b": up + 20}, {"a": 9 - up, "b": 29 - up})
    assert within == pytest.approx(-1.0)
    assert pooled > 0.4
    assert each == pytest.approx({"a": -1.0, "b": -1.0})


def test_a_constant_score_has_no_correlation():
    within, pooled, each = correlate(
        {"a": torch.zeros(5), "b": torch.arange(5.0)},
        {"a": torch.tensor([3.0, 1.0, 4.0, 0.0, 2.0]), "b": torch.arange(5.0)},
    )
    assert within == pytest.approx(1.0)
    assert each["a"] != each["a"]
    assert pooled == pooled


@pytest.fixture(scope="module")
def tiny():
    model = build_model(plan(SMOKE)[Run("weights", 0)].model, seed=0)
    return _measure_model(model, "weights", SMOKE, seed=0)


def test_a_model_is_measured_on_every_family(tiny):
    assert next(iter(tiny.families)) == IN_DISTRIBUTION
    assert "w_rotation=1/3" in tiny.families
    assert tiny.families[IN_DISTRIBUTION].growth == (0.0, 0.0, 0.0)
    assert {layer.site for layer in tiny.layers} == {"read-in", "block 0", "final norm"}
    assert len(tiny.readings) == 3 * (36 + 8)
    assert {NORMS, "Mahalanobis", "‖X‖"} <= set(tiny.detectors)


def test_an_untrained_model_fails_in_distribution_and_so_not_by_a_shift(tiny):
    # Its weights were never trained, so that no shift makes it clearly worse: at most a few by chance.
    assert tiny.families[IN_DISTRIBUTION].fails["model"]
    assert sum(family.fails["model"] for family in tiny.families.values()) <= 2
    rotated = tiny.families["w_rotation=1/2"]
    assert rotated.fails["Bayes"]
    assert not rotated.fails["least squares"]


def test_the_default_reading_is_that_of_the_survey(tiny):
    reading = tiny.reading("block 0")
    assert (reading.tokens, reading.centred, reading.side, reading.variant) == ("all", False, "right", "overlap")
    assert reading.auroc[0] == pytest.approx(tiny.detectors["signature C (overlap)"].auroc, abs=1e-6)


def test_records_survive_the_file(tiny):
    again = Measured.model_validate_json(tiny.model_dump_json())
    assert again.model_dump_json() == tiny.model_dump_json()  # NaN is not equal to itself


def test_what_is_measured_is_kept_and_read_back(tmp_path, tiny, monkeypatch):
    config = {Run("weights", 0): plan(SMOKE)[Run("weights", 0)]}
    calls = []
    monkeypatch.setattr(
        "icl_interp.experiments.hill2025.measures._measure_model", lambda *_, **__: calls.append(1) or tiny
    )
    done, models = [], {run: build_model(c.model, seed=0) for run, c in config.items()}
    for _ in range(2):
        found = measure(config, models, tmp_path, SMOKE, done.append)
    assert (calls, done) == ([1], [1, 1])
    assert found[Run("weights", 0)].model_dump_json() == tiny.model_dump_json()
    measure(config, models, tmp_path, replace(SMOKE, n_prompts=13), done.append)
    assert len(calls) == 2
    for file in (tmp_path / "measured").iterdir():
        file.write_bytes(b"\0" * 9)
    measure(config, models, tmp_path, SMOKE, done.append)
    assert len(calls) == 3
