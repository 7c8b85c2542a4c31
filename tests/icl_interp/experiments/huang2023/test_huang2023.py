"""huang2023: what it trains, what its rules read from curves, what its claims say of the exact updates, and a run."""

import math
from dataclasses import replace
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from icl_interp.cli.reproduce import _app
from icl_interp.experiments.experiment import Means, experiment
from icl_interp.experiments.files import read_summary
from icl_interp.experiments.huang2023.measures import PHASES, Curves, Measures, layer
from icl_interp.experiments.huang2023.setting import SIZES, Run, Sizes, plan, settings_of, task_of
from icl_interp.models.softmax.feature_dynamics import feature_dynamics

EXPERIMENT = experiment("huang2023")
THREE: Sizes = Sizes(
    (0, 1, 2), MappingProxyType({5: 600, 8: 1200, 12: 2200}), 8, 2200, 200, 8, 32, SIZES["smoke"].checkpoints
)


@pytest.fixture(scope="module")
def ideal():
    """Three seeds that all follow the exact updates."""
    exact = {
        (kind, k): layer(
            feature_dynamics(
                task_of(kind, k, THREE).shares, n_examples=200, steps=range(0, steps + 1, 4), n_contexts=32, seed=0
            )
        )
        for (kind, k), steps in settings_of(THREE).items()
    }
    return Measures({run: exact[run[:2]] for run in plan(THREE)}, exact)


def claims(found):
    return {claim.key: claim for claim in EXPERIMENT.judged(found, THREE)}


def with_curves(found, kind, which, change):
    """The same, but the curves of a class of features are others."""
    changed = {
        run: replace(one, **{which: change(getattr(one, which))}) if run.kind == kind else one
        for run, one in found.runs.items()
    }
    return replace(found, runs=changed)


def test_training_does_the_papers_updates():
    config = plan(SIZES["laptop"])[Run("imbalanced", 10, 3)]
    assert (config.optimizer, config.lr, config.schedule, config.grad_clip) == ("sgd", 0.5, "constant", None)
    assert (config.loss_points, config.model.init, config.seed) == ("last", "zeros", 3)
    assert float(config.task.shares[0]) == 0.5


@pytest.mark.parametrize("preset", SIZES)
def test_each_preset_has_three_sizes_for_the_scaling_of_times(preset):
    sizes = SIZES[preset]
    assert len(sizes.steps) == 3
    assert sizes.imbalanced in sizes.steps
    assert len(plan(sizes)) == 4 * len(sizes.seeds)


def test_the_exact_updates_do_what_the_paper_says(ideal):
    found = claims(ideal)
    assert {key: claim.verdict for key, claim in found.items()} == dict.fromkeys(found, "reproduced")


def test_phases_are_read_from_the_curves():
    steps = tuple(range(0, 80, 10))
    curves = Curves(
        steps,
        attention=(0.1, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0),
        own=(0.0, 1.0, 2.0, 5.0, 8.0, 12.0, 13.0, 14.0),
        first=(0.0, -2.0, -4.0, -5.0, -6.0, -7.0, -7.0, -7.0),
        others=(0.0,) * 8,
        least=1.0,
    )
    # Growth leads from the third interval on, -1 to 2 between 15 and 25; A_k = |B_k1| at step 30 rises above 0 there.
    assert curves.ends == pytest.approx((15 + 10 / 3, 30.0, 45.0, 65.0))
    assert curves.acceleration == pytest.approx((4 / 10) / 0.1)
    never = replace(curves, attention=(0.1,) * 8)
    assert all(math.isnan(end) for end in never.ends[2:])


def test_layers_that_learn_otherwise_contradict(ideal):
    def slower(curves):
        return replace(curves, attention=tuple(a * 0.8 for a in curves.attention), least=curves.least * 0.8)

    found = claims(with_curves(ideal, "balanced", "rare", slower))
    assert found["balanced"].counts == (3, 3, 0)  # attention stays below 0.9; A_k still grows faster
    assert found["exact-updates"].counts == (2, 3, 0)

    def leading(curves):
        return replace(curves, first=tuple(-own / 2 for own in curves.own))

    found = claims(with_curves(ideal, "imbalanced", "rare", leading))
    checks = {check.key: check.verdict for check in found["phases"].checks}
    assert checks["first-step"] == "contradicts"
    assert checks["phase-2"] == "contradicts"  # A_k leads from the start, before it grows faster


def test_figures_draw_trained_curves_beside_exact_ones(ideal):
    panels = {panel.id: panel for panel in EXPERIMENT.drawn(ideal, THREE)}
    assert list(panels) == ["balanced", "imbalanced", "phases", "times"]
    trained, exact = [trace for trace in panels["balanced"].figure.data if trace.name and "K = 5" in trace.name][-2:]
    assert list(trained.y) == pytest.approx(list(exact.y))
    assert trained.y[0] < 0.4 < 0.9 < trained.y[-1]
    lines = [shape.x0 for shape in panels["phases"].figure.layout.shapes]
    assert lines == sorted(lines)
    assert len(lines) == len(PHASES)


def test_smoke_runs_and_judges_nothing(tmp_path):
    result = CliRunner().invoke(_app, ["huang2023", "--preset", "smoke", "--out", str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
    summary = read_summary(tmp_path / "o" / "huang2023.json")
    assert {claim.verdict for claim in summary.claims} == {"inconclusive"}
    assert EXPERIMENT.n_measurements(EXPERIMENT.configs("smoke", Means())) == 4
