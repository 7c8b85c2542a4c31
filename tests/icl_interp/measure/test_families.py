"""Prompts of a study: separate streams for fitting and scoring, shared random numbers across families."""

import pytest
import torch

from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.shifts.select import select_shifts

TASK = LinearRegression(n_dims=2)


def test_in_distribution_comes_first_and_the_rest_is_shifted():
    families = draw_families(TASK, shifts=["w_scale=2", "x_scale=3"], n_prompts=4)
    assert list(families.by_label) == [IN_DISTRIBUTION, "x_scale=3", "w_scale=2"]
    assert [family.label for family in families.shifted] == ["x_scale=3", "w_scale=2"]
    assert families.in_distribution is families.by_label[IN_DISTRIBUTION]
    assert [f.changes for f in families.by_label.values()] == ["nothing", "inputs", "weights"]
    assert families.by_label["x_scale=3"].meaning == "inputs multiplied by 3"


def test_by_default_every_shift_that_applies_is_drawn():
    families = draw_families(TASK, n_prompts=2)
    assert [family.label for family in families.shifted] == [entry.label for entry in select_shifts(TASK)]
    assert families.fit.n_points == TASK.default_points


def test_prompt_i_shares_its_random_numbers_across_families():
    families = draw_families(TASK, shifts=["x_scale=3"], n_prompts=4, n_points=3)
    own, shifted = families.in_distribution.prompts, families.by_label["x_scale=3"].prompts
    # one multiplication by 3 in float32
    torch.testing.assert_close(shifted.xs, 3 * own.xs)
    torch.testing.assert_close(shifted.ws, own.ws, rtol=0, atol=0)


def test_no_fit_prompt_is_scored():
    families = draw_families(TASK, shifts=["x_scale=3"], n_prompts=16)
    distances = torch.cdist(families.fit.xs.flatten(1), families.in_distribution.prompts.xs.flatten(1))
    assert float(distances.min()) > 0.1  # equal prompts would have distance 0


def test_the_seed_decides_everything():
    a, b, other = (draw_families(TASK, shifts=["label_noise=1"], n_prompts=3, seed=seed) for seed in (1, 1, 2))
    for label, family in a.by_label.items():
        torch.testing.assert_close(family.prompts.ys, b.by_label[label].prompts.ys, rtol=0, atol=0)
    torch.testing.assert_close(a.fit.ys, b.fit.ys, rtol=0, atol=0)
    assert not torch.equal(a.fit.ys, other.fit.ys)


@pytest.mark.parametrize("label", [IN_DISTRIBUTION, "x_scale=3", "w_scale=1/2", "x_mean=1", "label_noise=1"])
def test_the_unit_of_errors_is_the_second_moment_of_the_labels(label):
    families = draw_families(TASK, shifts=["x_scale=3", "w_scale=1/2", "x_mean", "label_noise"], n_prompts=4000)
    family = families.by_label[label]
    sampled = float(family.prompts.ys.double().square().mean())
    # 20 000 correlated labels: 10 % is about four standard errors
    torch.testing.assert_close(sampled, family.label_second_moment, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (TASK, {"shifts": ["nope"]}, "unknown shift 'nope'"),
        (TASK, {"shifts": ["w_rotation"]}, "needs a task with weights confined to a subspace"),
        (TASK, {"n_prompts": 0}, "at least one prompt"),
        (TASK, {"shifts": ["x_scale=0"]}, r"labels that are not all zero, got E\[y²\] = 0 for 'x_scale=0'"),
        (LinearRegression(n_dims=2, w_cov=0.0), {"shifts": ["x_mean"]}, "labels that are not all zero"),
    ],
    ids=["unknown shift", "shift does not apply", "no prompts", "shift without labels", "task without labels"],
)
def test_what_cannot_be_drawn_is_refused(task, options, message):
    with pytest.raises(ValueError, match=message):
        draw_families(task, **{"n_prompts": 2, **options})
