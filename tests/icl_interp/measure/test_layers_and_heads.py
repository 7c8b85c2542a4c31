"""Read-outs of layers, masked heads and attention: planted answers are found, untrained networks have none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from icl_interp.measure.attention import attention_summary
from icl_interp.measure.heads import _heads_can_be_masked, head_importance
from icl_interp.measure.layer_readouts import layer_readouts
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.prompts import derive_seed
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.sine import SineRegression

LSA = ModelConfig(family="lsa", n_dims=3, n_points=8)


@pytest.fixture(scope="module")
def planted(solving_model, tiny_task):
    return layer_readouts(solving_model, tiny_task, n_prompts=48, n_controls=2)


def test_a_planted_answer_is_read_where_it_is_written(planted):
    errors = [estimate.value for estimate in planted.errors]
    assert errors[2] < 0.5 < errors[1]  # points 1 and 2 of 3 dimensions leave an error to least squares itself
    assert planted.excess().verdict == "evidence"
    nearest = min(planted.distances, key=lambda name: planted.distances[name][2].value)
    assert nearest.startswith("least squares")
    assert planted.steps["Newton"].best_steps[2] > planted.steps["Newton"].best_steps[1]


def test_an_untrained_network_adds_nothing(tiny_model, tiny_task):
    report = layer_readouts(tiny_model, tiny_task, n_prompts=24)
    assert report.excess(n_verdicts=9).verdict in ("negligible", "inconclusive")
    assert report.untrained_errors.shape == (10, 4)


def test_the_excess_is_its_formula(planted):
    errors = planted.errors_by_prompt.mean(2)
    np.testing.assert_allclose(planted.excess().value, float(1 - errors[0, 2] / errors[0, 0]), rtol=1e-12)
    np.testing.assert_allclose(planted.excess().controls, 1 - errors[1:, 2] / errors[1:, 0], rtol=1e-12)


@pytest.mark.slow  # six fits of 500 steps
def test_read_outs_by_descent_find_it_too(solving_model, tiny_task):
    report = layer_readouts(solving_model, tiny_task, method="sgd", n_prompts=32, n_controls=0, layers=[-1])
    assert report.method == "sgd"
    assert report.errors[1].value < report.errors[0].value
    assert report.excess().verdict == "not applicable"


@pytest.mark.parametrize(
    ("config", "task", "limit"),
    [
        (LSA, LinearRegression(n_dims=3, n_points=8), "makes no sense in a network of one layer"),
        (ModelConfig(n_dims=1, n_points=8, n_layers=2, n_heads=1, d_model=8), SineRegression(), "on linear tasks only"),
    ],
    ids=["one layer", "sine"],
)
def test_limits_are_said(config, task, limit):
    report = layer_readouts(build_model(config, seed=0), task, n_prompts=8, n_points=5, n_controls=0)
    assert any(limit in sentence for sentence in report.limits)


def test_one_dimension_is_matched_by_squared_difference():
    model = build_model(ModelConfig(n_dims=1, n_points=8, n_layers=1, n_heads=1, d_model=8), seed=0)
    report = layer_readouts(model, LinearRegression(n_dims=1, n_points=5), n_prompts=8, n_controls=0)
    assert report.steps["Newton"].measure == "spd"  # least squares leaves no error that had a direction


def test_frame_and_figures_of_layers(planted):
    frame = planted.to_frame()
    assert list(frame["site"]) == ["read-in", "block 0", "block 1", "final norm"]
    assert {"error", "error_untrained", "best steps of Newton"} <= set(frame.columns)
    assert planted.plot().data[-1].name == "error"
    assert len(planted.plot_steps("gradient descent").layout.shapes) == 4  # one frame a site
    assert "plotly" in planted._repr_html_()
    assert "LayerReadoutReport(errors=[" in repr(planted)
    with pytest.raises(ValueError, match="plot_steps needs one of gradient descent, Newton, got 'Lasso'"):
        planted.plot_steps("Lasso")


def test_layer_readouts_need_two_points(tiny_model, tiny_task):
    with pytest.raises(ValueError, match="layer_readouts needs prompts of at least 2 points, got 1"):
        layer_readouts(tiny_model, tiny_task, n_points=1)


@pytest.fixture(scope="module")
def one_head():
    """The second head of the first block is far louder than the others."""
    model = build_model(ModelConfig(n_dims=3, n_points=8, n_layers=2, n_heads=2, d_model=16), seed=3)
    task = LinearRegression(n_dims=3, n_points=8)
    with torch.no_grad():
        model.blocks[0].attn.W_V[1] *= 300
    return model, task


def test_a_loud_head_is_what_masking_changes(one_head):
    model, task = one_head
    report = head_importance(model, task, n_prompts=24, n_controls=2)
    changes = report.importance.increase.abs()
    assert divmod(int(changes.argmax()), 2) == (0, 1)
    assert report.pruning.n_kept == (0, 1, 2, 3, 4)
    assert len(report.random_pruning) == 3
    np.testing.assert_allclose(report.pruning.losses.values[-1], report.pruning.full.value, rtol=1e-6)


def test_untrained_heads_are_not_needed(tiny_model, tiny_task):
    report = head_importance(tiny_model, tiny_task, n_prompts=16)
    assert report.needed() == []
    assert report.untrained.shape == (10, 2, 2)
    np.testing.assert_allclose(report.untrained_most, report.untrained.max(), rtol=0)


def with_increases(report, own: float, untrained: list[float]):
    """The same report where head 1.0 has an increase of its own, and head 0.1 of each untrained network has another."""
    low = torch.full_like(report.importance.increase_low, -1.0)
    low[1, 0] = own
    beside = torch.full((len(untrained), 2, 2), -1.0, dtype=torch.float64)
    beside[:, 0, 1] = torch.tensor(untrained, dtype=torch.float64)
    importance = replace(report.importance, increase=low + 0.01, increase_low=low)
    return replace(report, importance=importance, untrained=beside)


def test_a_needed_head_exceeds_the_most_important_one_of_one_more_untrained_network(tiny_model, tiny_task):
    report = head_importance(tiny_model, tiny_task, n_prompts=4, n_orders=0, n_controls=0)
    most = [0.1, 0.14, 0.08, 0.12]
    t = scipy.stats.t.ppf(0.95, df=3)
    bar = np.mean(most) + t * np.std(most, ddof=1) * np.sqrt(1 + 1 / 4)
    assert bar > max(most)
    assert with_increases(report, bar + 1e-6, most).needed() == ["1.0"]
    assert with_increases(report, bar - 1e-6, most).needed() == []
    # A bar below 0 asks for more than 0, one network is a bar by itself, and none at all leaves 0.
    assert with_increases(report, -1e-6, [-0.5, -0.5]).needed() == []
    assert [with_increases(report, own, [0.2]).needed() for own in (0.19, 0.21)] == [[], ["1.0"]]
    assert [with_increases(report, own, []).needed() for own in (-1e-6, 1e-6)] == [[], ["1.0"]]
    assert with_increases(report, 9.0, [0.1, float("nan")]).needed() == []


def test_frame_and_figures_of_heads(tiny_model, tiny_task):
    report = head_importance(tiny_model, tiny_task, n_prompts=4, n_orders=0, n_controls=0)
    frame = report.to_frame()
    assert list(frame.columns) == ["layer", "head", "increase", "low", "high", "share", "increase_untrained"]
    assert len(frame) == 4
    assert np.isnan(report.untrained_most)
    assert report.plot().data[0].type == "heatmap"
    assert [trace.name for trace in report.plot_pruning().data] == ["most important first, band",
                                                                    "most important first"]  # fmt: skip
    assert "plotly" in report._repr_html_()
    assert "HeadReport(top=" in repr(report)


def test_heads_that_cannot_be_masked_are_refused(tiny_model, tiny_task):
    merged = build_model(ModelConfig(family="softmax_layer", n_dims=3, n_points=8), seed=0)
    assert not _heads_can_be_masked(merged)
    with pytest.raises(ValueError, match="head_importance needs heads with a hook of their own"):
        head_importance(merged, tiny_task)
    with pytest.raises(ValueError, match="head_importance needs at least 2 prompts, got 1"):
        head_importance(tiny_model, tiny_task, n_prompts=1)


def test_attention_of_a_fixed_pattern_is_told(tiny_config, tiny_task):
    model = build_model(tiny_config, seed=0)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_Q.zero_()
            block.attn.b_Q.zero_()
    summary = attention_summary(model, tiny_task, n_prompts=8, n_controls=1)
    torch.testing.assert_close(summary.table("entropy"), torch.ones(2, 2), rtol=0, atol=1e-5)  # uniform
    torch.testing.assert_close(summary.table("variability"), torch.zeros(2, 2), rtol=0, atol=1e-6)
    for role in ("self", "previous", "x", "y"):
        torch.testing.assert_close(summary.table(role), torch.full((2, 2), summary.chance(role)), rtol=0, atol=1e-5)
    assert (summary.chance("entropy"), summary.chance("variability")) == (1.0, 0.0)
    assert summary.untrained["x"].shape == (1, 2, 2)


def test_frame_and_figure_of_attention(tiny_model, tiny_task):
    summary = attention_summary(tiny_model, tiny_task, n_prompts=4, n_controls=0)
    frame = summary.to_frame()
    assert list(frame.columns) == ["layer", "head", "quantity", "value", "untrained", "chance"]
    assert len(frame) == 4 * 6
    assert frame["untrained"].isna().all()
    assert "plotly" in summary._repr_html_()
    assert "AttentionSummary(entropy=" in repr(summary)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (SimpleNamespace(cfg=LSA), {}, "needs softmax attention over the tokens, got family 'lsa'"),
        (None, {"n_prompts": 1}, "at least 2 prompts, got 1"),
    ],
    ids=["linear", "one prompt"],
)
def test_attention_that_cannot_be_summarised_is_refused(tiny_model, tiny_task, model, options, message):
    with pytest.raises(ValueError, match=message):
        attention_summary(build_model(LSA, seed=0) if model else tiny_model, tiny_task, **options)


def test_attention_over_joint_tokens_has_a_context():
    config = ModelConfig(n_dims=3, n_points=6, n_layers=1, n_heads=1, d_model=8, tokens="joint", attention="full")
    summary = attention_summary(
        build_model(config, seed=0), LinearRegression(n_dims=3, n_points=6), n_prompts=4, n_controls=0
    )
    assert summary.quantities == ("entropy", "self", "previous", "context", "variability")


def test_pruning_is_tried_on_other_prompts_than_those_that_ranked_the_heads(tiny_model, tiny_task):
    found = head_importance(tiny_model, tiny_task, n_prompts=8, n_orders=1, n_controls=0).pruning
    others = tiny_task.sample(16, seed=derive_seed(0, "evaluation: heads"))[8:]
    with torch.no_grad():
        late = (tiny_model(others.xs, others.ys).double() - others.ys)[:, 3:].square().mean()
    assert found.n_kept[-1] == 4  # all heads
    # float32 answers
    np.testing.assert_allclose(found.losses.values[-1], late / tiny_task.label_second_moment(), rtol=1e-5)
