"""Several models on the same prompts: differences are paired, figures have one colour per model, unlike is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp.measure.comparison import check_same_task, compare_studies
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.run import study
from icl_interp.models.build import build_model
from icl_interp.tasks.linear_regression import LinearRegression


@pytest.fixture(scope="module")
def silent_study(tiny_config, tiny_task):
    """Of a network that answers 0 to everything, on the prompts of `uncontrolled_study`."""
    model = build_model(tiny_config, seed=11)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.startswith("unembed"):
                weights.zero_()
    how = {"n_prompts": 16, "n_points": 10, "shifts": ["x_scale=3", "label_noise=1"], "layers": [-1], "n_controls": 0}
    return study(model, tiny_task, **how)


@pytest.fixture(scope="module")
def compared(uncontrolled_study, silent_study):
    return compare_studies({"this": uncontrolled_study, "silent": silent_study})


def test_a_network_without_answers_differs_by_what_the_other_says(compared, uncontrolled_study):
    by = {(d.quantity, d.family): d for d in compared.differences}
    for label, family in uncontrolled_study.families.by_label.items():
        late = by["late error", label]
        own = uncontrolled_study.errors.families[label].curves
        np.testing.assert_allclose(late.first, own["model"].late.value)
        np.testing.assert_allclose(late.value, own["zero"].late.value)
        np.testing.assert_allclose(late.difference.value, late.value - late.first, atol=1e-12)
        assert late.difference.low < late.difference.value < late.difference.high
        said = uncontrolled_study.survey.families[label].predictions.double()
        expected = float(said.square().mean() / family.label_second_moment)
        np.testing.assert_allclose(by["distance of predictions", label].value, expected)


def test_a_model_does_not_differ_from_itself(uncontrolled_study, uncontrolled_study_again):
    same = compare_studies({"one": uncontrolled_study, "two": uncontrolled_study_again})
    measured = [d for d in same.differences if d.family]
    assert len(measured) == 6
    assert {(d.difference.low, d.difference.value, d.difference.high) for d in measured} == {(0.0, 0.0, 0.0)}


def test_the_frame_holds_every_difference(compared):
    frame = compared.to_frame()
    assert len(frame) == len(compared.differences)
    assert set(frame["model"]) == {"silent"}
    told = compared.to_dict()
    assert told["models"] == ["this", "silent"]
    assert told["differences"][0]["difference"]["value"] == frame["difference"][0]


@pytest.mark.parametrize("name", ["plot", "plot_layers", "plot_agreement"])
def test_each_model_has_one_colour_everywhere(compared, name):
    drawn = {trace.name: trace for trace in getattr(compared, name)().data}
    for model, style in compared.styles.items():
        assert drawn[model].marker.color == style.colour
    assert len({style.colour for style in compared.styles.values()}) == 2


def test_the_overlaid_curves_are_those_of_the_studies(compared, silent_study):
    drawn = {trace.name: trace for trace in compared.plot().data}
    np.testing.assert_allclose(drawn["silent"].y, silent_study.errors.in_distribution.curves["model"].mean)
    assert "least squares" in " ".join(drawn)


def test_unlike_tasks_are_refused():
    task = LinearRegression(3, n_points=8)
    check_same_task({"a": task, "b": LinearRegression(3, n_points=20)})
    with pytest.raises(ValueError, match="got 3 dimensions for a and 4 for b; compare models of one size"):
        check_same_task({"a": task, "b": LinearRegression(4, n_points=8)})
    with pytest.raises(ValueError, match=r"got linear .* for a and .* for b; name one distribution for both by --task"):
        check_same_task({"a": task, "b": LinearRegression(3, n_points=8, noise_std=0.5)})


def test_one_study_or_other_prompts_are_refused(uncontrolled_study, silent_study):
    with pytest.raises(ValueError, match="compare_studies needs at least two studies, got 1"):
        compare_studies({"a": silent_study})
    families = silent_study.families
    other = replace(silent_study, families=replace(families, fit=families.by_label[IN_DISTRIBUTION].prompts))
    with pytest.raises(ValueError, match="needs studies of the same prompts, got others for a than for b"):
        compare_studies({"a": uncontrolled_study, "b": other})
