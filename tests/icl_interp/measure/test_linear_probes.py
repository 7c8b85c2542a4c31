"""Linear probes: a model that holds the least-squares prediction, one that holds nothing, and both controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp.measure.linear_probes import LinearProbeReport, _probe_network, linear_probes, probe_targets
from icl_interp.predictors import least_squares, zero
from icl_interp.predictors.references import References
from icl_interp.tasks.linear_regression import LinearRegression
from probes.bootstrap import Estimate

SITES = ["read-in", "block 0", "block 1", "final norm"]
FEWEST = ["read-in", "block 1", "final norm"]


@pytest.fixture(scope="module")
def planted(solving_model, tiny_task):
    return linear_probes(solving_model, tiny_task, n_prompts=48)


@pytest.fixture(scope="module")
def solved(planted):
    """The merged name of least squares on a noiseless task."""
    return next(target for target in planted.targets if target.startswith("least squares"))


def test_a_planted_prediction_is_read_where_it_is_written(planted, solved):
    by_site = dict(zip(SITES, planted.r2(solved).tolist(), strict=True))
    assert by_site["block 1"] > 0.99
    assert by_site["block 0"] < 0.3  # the block before the plant
    assert planted.excess(solved, n_verdicts=9).verdict == "evidence"


def test_both_controls_stay_near_zero(planted, solved):
    shuffled = planted.probes["block 1"].r2_shuffled[planted.targets.index(solved)]
    # held-out R² of noise: about minus a few per cent with 48 prompts
    np.testing.assert_allclose(shuffled, 0, atol=0.2)
    np.testing.assert_allclose(planted.untrained_r2(solved), 0, atol=0.3)  # an untrained mix of x and earlier y
    assert planted.untrained_r2(solved).shape == (10, len(SITES))


def test_an_untrained_model_holds_nothing(tiny_model, tiny_task):
    report = linear_probes(tiny_model, tiny_task, n_prompts=24)
    assert {report.excess(target, len(report.targets)).verdict for target in report.targets} <= {
        "negligible", "inconclusive",
    }  # fmt: skip


def test_the_excess_compares_best_sites(planted, solved):
    excess = planted.excess(solved)
    np.testing.assert_allclose(excess.value, float(planted.r2(solved).max()), rtol=0)
    np.testing.assert_allclose(excess.controls, planted.untrained_r2(solved).amax(1), rtol=0)
    early = planted.excess(solved, site="block 0")  # the block before the plant
    np.testing.assert_allclose(early.value, float(planted.r2(solved)[1]), rtol=0)
    np.testing.assert_allclose(early.controls, planted.untrained_r2(solved)[:, 1], rtol=0)
    assert (excess.verdict, early.verdict) == ("evidence", "negligible")


def test_chance_is_the_nearest_control_or_zero(planted, solved, monkeypatch):
    excess, (_, selective) = planted.excess(solved), planted.selectivity(solved)
    # Both two-sided at 95 %: 1.96 standard errors, each a 3.92th of that interval.
    np.testing.assert_allclose(excess.chance, excess.value - selective.value, rtol=1e-12)
    error = (selective.high - selective.low) / 3.92
    np.testing.assert_allclose(excess.value_low, excess.value - 1.959964 * error, rtol=1e-6)
    below_zero = Estimate(excess.value + 0.05, excess.value, excess.value + 0.1)
    monkeypatch.setattr(LinearProbeReport, "selectivity", lambda *_, site: ("shuffled targets", below_zero))  # noqa: ARG005
    excess = planted.excess(solved)
    np.testing.assert_equal(excess.chance, 0.0)
    best = list(planted.probes.values())[int(planted.r2(solved).argmax())]
    low, high = best.r2_interval[planted.targets.index(solved)].double().tolist()
    np.testing.assert_allclose(excess.value_low, excess.value - 1.959964 * (high - low) / 3.92, rtol=1e-6)


def test_zero_is_left_out_with_its_reason(planted):
    assert list(planted.left_out) == ["zero"]
    assert planted.left_out["zero"] == "zero predicts the same everywhere, so there is nothing to decode"
    assert "zero" not in planted.targets


def test_targets_are_the_predictions_with_examples_before_them():
    prompts = LinearRegression(n_dims=2).sample(6, seed=0)
    answers = References.of({"nothing": zero(), "solution": least_squares()}).answers(prompts)
    targets, left_out = probe_targets(prompts, answers)
    assert list(targets) == ["solution"]
    assert list(left_out) == ["nothing"]
    expected = least_squares()(prompts.xs, prompts.ys)[:, 1:]
    torch.testing.assert_close(targets["solution"], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layers", "sites"),
    [(None, SITES), ([0], SITES), ([-1], FEWEST), ([], FEWEST)],
    ids=["all", "first", "last", "none"],
)
def test_layers_choose_sites(tiny_model, tiny_task, layers, sites):
    report = linear_probes(tiny_model, tiny_task, layers=layers, n_prompts=5, n_points=3, n_controls=0)
    assert list(report.probes) == sites
    assert report.n_prompts == 5
    assert {probe.n_groups for probe in report.probes.values()} == {5}


def test_without_controls_there_are_no_claims(tiny_model, tiny_task):
    report = linear_probes(tiny_model, tiny_task, n_prompts=8, n_controls=0)
    target = report.targets[0]
    assert report.excess(target).verdict == "not applicable"
    assert report.untrained_r2(target).shape == (0, len(SITES))
    assert report.to_frame()["r2_untrained"].isna().all()
    assert [trace.name for trace in report.plot().data] == ["shuffled targets", "this model, band", "this model"]


def test_to_frame_has_a_row_a_site_and_target(planted, solved):
    frame = planted.to_frame()
    assert list(frame.columns) == ["site", "target", "r2", "low", "high", "r2_shuffled", "r2_untrained"]
    assert len(frame) == len(SITES) * len(planted.targets)
    own = frame[frame["target"] == solved]
    assert list(own["site"]) == SITES
    np.testing.assert_allclose(own["r2"], planted.r2(solved), rtol=0)
    np.testing.assert_allclose(own["r2_untrained"], planted.untrained_r2(solved).mean(0), rtol=1e-6)  # float32 means


def test_plot_names_its_target(planted, solved):
    figure = planted.plot(solved)
    assert solved in figure.layout.yaxis.title.text
    assert planted.targets[0] in planted.plot().layout.yaxis.title.text
    names = [trace.name for trace in figure.data]
    assert names == [
        "untrained networks, band",
        "untrained networks",
        "shuffled targets",
        "this model, band",
        "this model",
    ]
    assert list(figure.data[-1].x) == SITES
    assert "plotly" in planted._repr_html_()


def test_the_seed_decides_everything(tiny_model, tiny_task):
    a, b, other = (
        linear_probes(tiny_model, tiny_task, n_prompts=8, n_controls=1, seed=s).to_frame() for s in (1, 1, 2)
    )
    assert a.equals(b)
    assert not a.equals(other)


def test_the_batch_size_does_not_matter(tiny_model, tiny_task):
    prompts = tiny_task.sample(7, seed=0)
    targets, _ = probe_targets(prompts, References.of({"solution": least_squares()}).answers(prompts))
    sites = tiny_model.cfg.residual_sites()[-1:]
    a, b = (_probe_network(tiny_model, prompts, targets, sites, batch_size=size) for size in (2, 64))
    # the float32 forward pass rounds by batch; a ridge fit on few prompts amplifies that
    torch.testing.assert_close(a["final norm"].r2, b["final norm"].r2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (LinearRegression(n_dims=3, n_points=8), {"n_prompts": 4}, "groups of at least 5, got 4"),
        (LinearRegression(n_dims=3, n_points=8), {"layers": [2]}, "in a model of 2 layers, got 2"),
        (LinearRegression(n_dims=3, n_points=8, w_cov=0.0), {}, "need a reference whose predictions vary, got none"),
    ],
    ids=["too few prompts", "no such layer", "labels of zero"],
)
def test_what_cannot_be_probed_is_refused(tiny_model, task, options, message):
    with pytest.raises(ValueError, match=message):
        linear_probes(tiny_model, task, **{"n_prompts": 8, "n_controls": 0, **options})


# Selectivity (low, high) over the nearest control of a read-out with R² near 1: whether it is still a finding.
SELECTIVE = {
    "far beyond": ((0.7, 0.9), "evidence"),
    "just beyond": ((0.02, 0.04), "evidence"),
    "touching": ((-0.001, 0.03), "inconclusive"),
    "none at all": ((-0.03, 0.01), "inconclusive"),
    "undefined": ((float("nan"), float("nan")), "evidence"),
}


@pytest.mark.parametrize(("ends", "verdict"), SELECTIVE.values(), ids=SELECTIVE)
def test_a_read_out_has_to_beat_its_own_controls(planted, solved, monkeypatch, ends, verdict):
    selective = Estimate(sum(ends) / 2, *ends)
    monkeypatch.setattr(LinearProbeReport, "selectivity", lambda *_, site: ("control task", selective))  # noqa: ARG005
    excess = planted.excess(solved, n_verdicts=17)
    assert excess.low > 0  # untrained networks are beaten in any case
    assert excess.verdict == verdict
    assert (excess.p_value < 0.05) is (verdict == "evidence")


def test_a_lookup_of_the_query_is_no_read_out(planted, solved):
    """Exchange a target with its control task: what a table of the query holds is not called readable."""
    exchanged = {
        site: replace(
            probe,
            r2_replicates=torch.stack([probe.r2_replicates[:, i] for i in order(planted, solved)], dim=1),
            r2=probe.r2[order(planted, solved)],
        )
        for site, probe in planted.probes.items()
    }
    swapped = replace(planted, probes=exchanged)
    assert swapped.selectivity(solved)[1].low < 0
    assert swapped.excess(solved, n_verdicts=17).verdict == "inconclusive"
    assert planted.selectivity(solved)[1].low > 0
    assert planted.excess(solved, n_verdicts=17).verdict == "evidence"


def order(report, target) -> list[int]:
    """Columns with those of one target and its control task exchanged."""
    total, own = sum(report.widths), sum(report.widths[: report.targets.index(target)])
    columns = list(range(2 * total))
    columns[own], columns[own + total] = own + total, own
    return columns
