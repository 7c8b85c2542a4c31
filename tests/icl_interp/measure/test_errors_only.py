"""Families with queries or more points: errors are measured on them, activations are not."""

import pytest
import torch

from icl_interp.measure.cost import default_prompts, shift_reads, study_reads
from icl_interp.measure.errors import MODEL, error_curves
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.study import study
from icl_interp.predictors import least_squares
from icl_interp.tasks.linear_regression import LinearRegression
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
    result = study(
        tiny_model, tiny_task, n_prompts=8, shifts=shifts, n_controls=1, tick=lambda done, _: ticks.append(done)
    )
    n_shifts, extra = shift_reads(tiny_task, shifts, max_points=tiny_model.cfg.n_points)
    assert (n_shifts, extra) == (1, 3 + 8 + 1)
    assert sum(ticks) == study_reads(8, n_shifts, 1, extra=extra)
    assert list(result.survey.families) == [IN_DISTRIBUTION, "x_scale=3"]
    assert list(result.errors.families)[2:] == shifts[1:]


def test_a_study_needs_a_shift_that_is_read_in_full(tiny_model, tiny_task):
    with pytest.raises(ValueError, match="got no shift whose activations are read; add one, such as x_scale=3"):
        study(tiny_model, tiny_task, n_prompts=8, shifts=["overlapping_train_test"], n_controls=0)


def test_the_default_number_of_prompts_falls_with_the_shifts(tiny_config):
    large = tiny_config.model_copy(update={"n_layers": 4, "d_model": 256, "n_heads": 8})
    task = LinearRegression(20)
    reads = [shift_reads(task, shifts, n_points=41, max_points=41) for shifts in (None, ["all"])]
    core, everything = (default_prompts(large, n_shifts, 41, extra=extra) for n_shifts, extra in reads)
    assert everything < core


def test_a_study_of_another_family(tiny_model):
    result = study(tiny_model, TaskPool(3, 4, noise_std=0.5, n_points=8), n_prompts=8, shifts=["w_fresh"], n_controls=0)
    assert "Bayes = dMMSE" in result.errors.in_distribution.curves
    assert torch.equal(result.families.by_label["w_fresh"].prompts.xs, result.families.in_distribution.prompts.xs)
