"""What hill2025 measures: one model and its untrained networks, kept and read back."""

import math
from dataclasses import replace

import numpy as np
import pytest

from icl_interp.experiments.experiment import Means, TrainedRuns
from icl_interp.experiments.hill2025.measures import Measured, _measure_model, measure
from icl_interp.experiments.hill2025.setting import SIZES, Run, plan
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.models.build import build_model

SMOKE = SIZES["smoke"]


@pytest.fixture(scope="module")
def tiny():
    model = build_model(plan(SMOKE)[Run("weights", 0)].model, seed=0)
    return _measure_model(model, Run("weights", 0), SMOKE)


def test_a_model_is_measured_on_every_family(tiny):
    assert next(iter(tiny.families)) == IN_DISTRIBUTION
    assert "w_rotation=1/3" in tiny.families
    assert tiny.families[IN_DISTRIBUTION].growth == (0.0, 0.0, 0.0)
    assert [reading.site for reading in tiny.readings] == ["read-in", "block 0", "final norm"]
    assert len(tiny.conventions) == 36 + 8
    shifts = [label for label in tiny.families if label != IN_DISTRIBUTION]
    assert [(cell.site, cell.shift) for cell in tiny.cells] == [
        (s, x) for s in ("block 0", "final norm") for x in shifts
    ]
    assert (tiny.judged, tiny.count("more")) == (False, pytest.approx(math.nan, nan_ok=True))


def test_an_untrained_model_fails_in_distribution_and_so_not_by_a_shift(tiny):
    # Its weights were never trained, so that no shift makes it clearly worse: at most a few by chance.
    assert tiny.families[IN_DISTRIBUTION].fails["model"]
    assert sum(family.fails["model"] for family in tiny.families.values()) <= 2
    rotated = tiny.families["w_rotation=1/2"]
    assert rotated.fails["Bayes"]
    assert not rotated.fails["least squares"]


def test_the_default_reading_is_that_of_the_survey(tiny):
    reading, first = tiny.readings[1], tiny.conventions[0]
    assert first.name == ("all", "uncentred", "right", "overlap")
    assert first.last.site == reading.site == "block 0"
    # The prompts are so few that both read the same ones.
    np.testing.assert_allclose(first.last.auroc, reading.auroc, atol=1e-9)
    cells = {cell.shift: cell.auroc for cell in tiny.cells if cell.site == "block 0"}
    np.testing.assert_allclose(reading.auroc[0], np.mean([*cells.values()]), atol=2e-3)  # ties by rounding


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
    runs = TrainedRuns(config, models, tmp_path, Means(), done.append)
    for _ in range(2):
        found = measure(runs, SMOKE)
    assert (calls, done) == ([1], [1, 1])
    assert found[Run("weights", 0)].model_dump_json() == tiny.model_dump_json()
    measure(runs, replace(SMOKE, n_prompts=13))
    assert len(calls) == 2


def test_a_damaged_record_is_one_sentence_with_the_way_on(tmp_path, tiny, monkeypatch):
    run, config = Run("weights", 0), {Run("weights", 0): plan(SMOKE)[Run("weights", 0)]}
    models = {run: build_model(config[run].model, seed=0)}
    monkeypatch.setattr("icl_interp.experiments.hill2025.measures._measure_model", lambda *_, **__: tiny)
    runs = TrainedRuns(config, models, tmp_path, Means(), lambda _: None)
    measure(runs, SMOKE)
    (path,) = (tmp_path / "measured").iterdir()
    whole = path.read_text()
    for text in (whole[: len(whole) // 2], "", "\0" * 40, "{}"):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"a measurement needs .*{path.name}.*; remove it and") as caught:
            measure(runs, SMOKE)
        assert "\n" not in str(caught.value)
