"""carroll2025 end to end at its smallest: measured once, read back afterwards, progress that adds up."""

import json

import pytest
from typer.testing import CliRunner

from icl_interp.cli.reproduce import _app
from icl_interp.experiments.carroll2025.measures import measure
from icl_interp.experiments.carroll2025.setting import INFINITE, SIZES, Run, plan
from icl_interp.experiments.experiment import Means, TrainedRuns, experiment
from icl_interp.experiments.files import read_summary
from icl_interp.measure.development import jobs

SMOKE = SIZES["smoke"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    return CliRunner().invoke(_app, ["carroll2025", "--preset", "smoke", "--out", str(folder)]), folder


@pytest.fixture(scope="module")
def again(smoke):
    """What is measured, and the units that were reported on the way."""
    units = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "measure_checkpoint", None)  # nothing is measured again
        return measure(TrainedRuns(plan(SMOKE), {}, smoke[1], Means(), units.append), SMOKE), units


@pytest.fixture(scope="module")
def found(again):
    return again[0]


def test_smoke_writes_a_report_and_a_summary(smoke):
    result, folder = smoke
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} == {
        "measuring.json",
        "report.html",
        "runs",
        "carroll2025.json",
        "carroll2025-tables.json",
    }
    summary = read_summary(folder / "carroll2025.json")
    assert {claim.verdict for claim in summary.claims} == {"inconclusive"}
    assert str(folder) not in (folder / "carroll2025.json").read_text()
    assert (folder / "report.html").read_text().count('class="figure"') == 6


def test_progress_adds_up(again):
    chosen = experiment("carroll2025")
    assert sum(again[1]) == chosen.n_measurements(chosen.configs("smoke", Means())) == 3 * (4 + 1)


def test_numbers_are_those_of_the_run_folders(found, smoke):
    run = found.runs[Run(4, 0)]
    (path,) = [path for path in smoke[1].glob("runs/*") if "n_tasks: 4\n" in (path / "config.yaml").read_text()]
    kept = json.loads((path / "development" / "development.json").read_text())
    one = next(one for one in kept["runs"] if one["name"] == "M = 4")
    points = [record["losses"]["w_fresh"] for record in one["checkpoints"]]
    assert run.steps == (0, 10, 20, 30)
    assert run.ood == pytest.approx([sum(curve) / len(curve) for curve in points])
    names = {part: name for name in one["checkpoints"][0]["distances"]["w_fresh"] for part in name.split(" = ")}
    assert run.to_dmmse == pytest.approx([
        r["distances"]["in distribution"][names["dMMSE"]] for r in one["checkpoints"]
    ])
    assert run.to_ridge == pytest.approx([
        r["distances"]["in distribution"][names["ridge"]] for r in one["checkpoints"]
    ])
    assert run.ood_of.ridge == pytest.approx(one["reference_losses"]["w_fresh"][names["ridge"]])
    assert run.own_of.dmmse == pytest.approx(one["reference_losses"]["in distribution"][names["dMMSE"]])
    assert run.llc == one["learning_coefficients"][0]["estimate"]


def test_for_infinite_m_ridge_is_the_best_for_its_own_tasks(found):
    run = found.runs[Run(INFINITE, 0)]
    assert run.own_of.dmmse == run.own_of.ridge == run.ood_of.ridge
    assert (run.ood, run.to_dmmse) == (run.own, run.to_ridge)


def test_all_m_are_asked_the_same_fresh_tasks(found):
    # The predictor and its prompts are the same, so the number is.
    assert len({run.ood_of.ridge for run in found.runs.values()}) == 1


def test_landmarks_are_of_every_m(found):
    assert set(found.planes[0].landmarks) == {4, 16, INFINITE}
    assert len(found.runs[Run(16, 0)].place) == 4
