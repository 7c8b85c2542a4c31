"""Families with queries or more points: errors are measured on them, activations are not."""

import json
import math

import numpy as np
import pytest
import torch

from icl_interp.measure.errors import MODEL, UNSEEN, error_curves
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.study.plan import _default_prompts, _shift_reads, plan_study
from icl_interp.measure.study.result import NO_SHIFT
from icl_interp.measure.study.run import run_study, study
from icl_interp.predictors import least_squares
from icl_interp.report.assemble import build_page
from icl_interp.report.numbers import study_json
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.task_pool import TaskPool

TASK = LinearRegression(n_dims=3)
QUERIES = ["random_quadrants", "orthogonal_train_test", "overlapping_train_test"]


def test_they_stand_apart():
    families = draw_families(TASK, shifts=[*QUERIES, "x_scale=3", "longer_prompts=2"], n_prompts=4)
    assert list(families.by_label) == [IN_DISTRIBUTION, "x_scale=3"]
    assert list(families.errors_only) == [*QUERIES, "longer_prompts=2"]
    assert list(families.all_families) == [IN_DISTRIBUTION, "x_scale=3", *QUERIES, "longer_prompts=2"]
    assert families.errors_only["random_quadrants"].changes == "queries"
    assert families.errors_only["longer_prompts=2"].prompts.n_points == 14


def test_longer_prompts_are_cut_to_the_positions_of_the_model():
    families = draw_families(TASK, shifts=["longer_prompts=2"], n_prompts=4, max_points=9)
    assert families.errors_only["longer_prompts=2"].prompts.n_points == 9
    assert families.notes == ("longer_prompts=2 is cut to 9 of its 14 points, for which the model has positions.",)
    assert draw_families(TASK, shifts=["longer_prompts=2"], n_prompts=4, max_points=14).notes == ()


def test_cut_prompts_of_recurrences_have_the_unit_of_the_points_that_stay():
    # Labels of a recurrence grow with the length, so E[y^2] of 6 of 8 points is not that of 8.
    task = AffineRecurrence(slope_bound=1.1, n_points=4)
    (family,) = draw_families(task, shifts=["longer_prompts=2"], n_prompts=4, max_points=6).errors_only.values()
    assert family.prompts.n_points == 6
    wanted = [task.model_copy(update={"n_points": n}).label_second_moment() for n in (6, 8)]
    assert family.label_second_moment == wanted[0] != wanted[1]


@pytest.mark.parametrize("patterns", [["all"], ["x_scale=3", "*"]], ids=" ".join)
def test_what_has_no_room_is_left_out_and_said(patterns):
    families = draw_families(TASK, shifts=patterns, n_prompts=4, max_points=7)
    assert not [label for label in families.all_families if label.startswith("longer")]
    assert families.notes == (
        "longer_prompts is left out: the model has positions for 7 points only, and prompts take them all.",
    )


def test_points_beyond_training_are_marked():
    report = error_curves(least_squares(), TASK, shifts=["x_scale=3", "longer_prompts=2"], n_prompts=4)
    assert report.in_distribution.first_unseen_point is None
    longer = report.families["longer_prompts=2"]
    assert longer.first_unseen_point == 7
    assert [longer.family.seen(k) for k in (0, 6, 7, 13)] == [True, True, False, False]
    curve = longer.curves["zero"]
    np.testing.assert_allclose(curve.unseen.value, float(curve.mean[7:].mean()), rtol=1e-12)
    assert report.in_distribution.curves["zero"].unseen is None
    frame = report.to_frame()
    unseen = frame[~frame["seen_in_training"]]
    assert set(unseen["family"]) == {"longer_prompts=2"}
    assert set(unseen["examples"]) == set(range(7, 14))


def test_points_beyond_training_are_shaded_and_labelled():
    report = error_curves(least_squares(), TASK, shifts=["longer_prompts=2"], n_prompts=4)
    assert not report.plot().layout.shapes
    figure = report.plot("longer_prompts=2")
    (area,) = (shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (area.x0, area.x1) == (6.5, 13.5)
    (border,) = (shape for shape in figure.layout.shapes if shape.type == "line")
    assert (border.x0, border.line.dash) == (6.5, "dash")
    assert [note.text for note in figure.layout.annotations] == [UNSEEN]


@pytest.mark.parametrize(("trained", "first"), [(5, 5), (7, None), (20, None)])
def test_training_may_have_been_shorter_than_the_prompts(trained, first):
    report = error_curves(least_squares(), TASK, shifts=["x_scale=3"], n_prompts=4, n_points_trained=trained)
    assert {errors.first_unseen_point for errors in report.families.values()} == {first}


def test_each_family_has_its_own_first_late_point():
    report = error_curves(least_squares(), TASK, shifts=["orthogonal_train_test"], n_prompts=4)
    points = {label: errors.first_point for label, errors in report.families.items()}
    assert points == {IN_DISTRIBUTION: 3, "orthogonal_train_test": 2}  # which ends at d points


def test_least_squares_on_queries():
    report = error_curves(least_squares(), TASK, shifts=QUERIES, n_prompts=64)
    late = {label: errors.curves[MODEL].late.value for label, errors in report.families.items()}
    assert late["random_quadrants"] < 1e-6
    assert late["overlapping_train_test"] < 1e-6
    # It predicts 0; 64 squares leave a third.
    assert 0.5 < late["orthogonal_train_test"] < 1.7
    assert len(report.families["orthogonal_train_test"].curves[MODEL].mean) == 3
    own = report.families["random_quadrants"]
    assert own.distances["least squares = ridge = Bayes"].value == 0


def test_a_model_is_asked_at_queries(tiny_model, tiny_task):
    report = error_curves(tiny_model, tiny_task, shifts=["overlapping_train_test", "longer_prompts"], n_prompts=8)
    assert list(report.families) == [
        IN_DISTRIBUTION,
        "overlapping_train_test",
        "longer_prompts=3/2",
        "longer_prompts=2",
    ]
    assert len(report.families["longer_prompts=2"].curves[MODEL].mean) == tiny_model.cfg.n_points


def test_a_study_reads_them_for_errors_alone_and_counts_them(tiny_model, tiny_task):
    ticks: list[int] = []
    shifts = ["x_scale=3", "orthogonal_train_test", "overlapping_train_test", "longer_prompts=2"]
    plan = plan_study(tiny_model, tiny_task, n_prompts=8, shifts=shifts, layers=[], n_controls=1)
    result = run_study(plan, tick=lambda done, _: ticks.append(done))
    assert _shift_reads(tiny_task, shifts, n_points=8, max_points=tiny_model.cfg.n_points) == (1, 3 + 8 + 1)
    # Three families and twice 8 prompts for the probes, by two networks; the queries by the model alone.
    own = 2 * (plan.probe_reads - 8 * 2) + plan.afterwards
    efforts = sum(effort.reads for effort in plan.efforts.values())
    assert plan.reads == 8 * (3 + 2) * 2 + 8 * (3 + 8 + 1) + efforts + own
    assert sum(ticks) == plan.reads
    assert list(result.survey.families) == [IN_DISTRIBUTION, "x_scale=3"]
    assert list(result.errors.families)[2:] == shifts[1:]


@pytest.fixture(scope="module")
def errors_alone(small_checkpoint):
    return study(
        small_checkpoint.model,
        small_checkpoint.task,
        n_prompts=8,
        shifts=["overlapping_train_test", "longer_prompts=2"],
        n_controls=2,
        n_points_trained=small_checkpoint.n_points_trained,
    )


def test_a_study_of_such_families_alone_makes_no_claims_over_shifts(errors_alone):
    claims = ["in-context learning", "score and error"]
    assert list(errors_alone.verdicts)[:2] == claims
    further = ["algorithm", "layers", "use", "erasure", *(f"probe: {target}" for target in errors_alone.probes.targets)]
    assert sorted(errors_alone.verdicts) == sorted([*claims, *further])
    assert errors_alone.n_verdicts == len(errors_alone.verdicts)
    assert errors_alone.ood.shifts == {}
    assert math.isnan(errors_alone.ood.mean_auroc)
    with pytest.raises(ValueError, match="detection_excess needs a shift whose activations were read, got none; add"):
        errors_alone.ood.detection_excess()


def test_the_report_of_such_a_study_says_why_it_has_no_detection(errors_alone, small_checkpoint):
    page = build_page(errors_alone, small_checkpoint, {})
    sections = {part.id: part for section in page.sections for part in (section, *section.parts)}
    assert sections["familiar"].lead.count(NO_SHIFT) == 1
    assert [figure.id for figure in sections["familiar"].figures] == ["score-error"]
    assert [NO_SHIFT in figure.sentence for figure in sections["signature"].figures] == [True, True]
    tones = {card.title: card.tone for card in page.verdicts}
    assert tones["Does the signature detect shifts?"] == tones["Does it learn under shifts too?"] == "unknown"
    (late,) = sections["errors"].tables
    assert late.columns[:3] == ("family", "late from", "first unseen point")
    assert [row[:3] for row in late.rows] == [
        (IN_DISTRIBUTION, 3, None),
        ("overlapping_train_test", 3, None),
        ("longer_prompts=2", 3, 8),
    ]
    note = "longer_prompts=2 is cut to 10 of its 16 points, for which the model has positions."
    assert note in late.notes
    assert note in [fact.value for fact in page.facts]
    assert UNSEEN in sections["errors"].lead
    (grid,) = (figure for part in sections.values() for figure in part.figures if figure.id == "error-shifts")
    assert [UNSEEN in cell.sentence for cell in grid.figures] == [False, True]
    record = json.loads(study_json(errors_alone, small_checkpoint, {}))["study"]
    assert record["errors"]["families"]["longer_prompts=2"]["family"]["first_unseen_point"] == 8
    assert record["families"]["notes"] == [note]


def test_a_study_needs_a_shift(tiny_model, tiny_task):
    with pytest.raises(ValueError, match="got no shift; add one, such as x_scale=3, to --shifts"):
        study(tiny_model, tiny_task, n_prompts=8, shifts=["standard"], n_controls=0)


def test_the_default_number_of_prompts_falls_with_the_shifts(tiny_config):
    large = tiny_config.model_copy(update={"n_layers": 4, "d_model": 256, "n_heads": 8})
    task = LinearRegression(20)
    reads = [_shift_reads(task, shifts, n_points=41, max_points=41) for shifts in (None, ["all"])]
    core, everything = (_default_prompts(large, n_shifts, 41, once=once) for n_shifts, once in reads)
    assert everything < core


def test_a_study_of_another_family(tiny_model):
    pool = TaskPool(3, 4, noise_std=0.5, n_points=8)
    result = study(tiny_model, pool, n_prompts=8, shifts=["w_fresh"], layers=[], n_controls=0)
    assert "Bayes = dMMSE" in result.errors.in_distribution.curves
    assert torch.equal(result.families.by_label["w_fresh"].prompts.xs, result.families.in_distribution.prompts.xs)
