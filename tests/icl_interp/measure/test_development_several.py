"""Several runs side by side: names, shared prompts, stages, threshold, crossover, figures."""

import dataclasses
import json
import math
from typing import get_args

import numpy as np
import pytest
import torch
from development_runs import FEW, SHORT, make_run

import icl_interp as icl
from icl_interp.measure.development import assemble
from icl_interp.measure.development.llc import llc_steps
from icl_interp.measure.development.material import fresh_weights_family, ood_label, pca_task
from icl_interp.measure.development.one_run import LEAST_LLC, stages_of
from icl_interp.measure.development.record import LlcRecord
from icl_interp.measure.development.result import Panel
from icl_interp.measure.development.run import development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.runs.find import find_runs
from icl_interp.tasks.quadratic import QuadraticRegression
from probes.learning_coefficient.exact import free_energy_crossover


@pytest.fixture(scope="module")
def runs(tmp_path_factory, developed_run, endless_run):
    folder = tmp_path_factory.mktemp("several")
    pools = [make_run(folder / "b", n_tasks=3), make_run(folder / "c", n_tasks=3, seed=1)]
    return [developed_run, *pools, endless_run]


@pytest.fixture(scope="module")
def found(runs):
    return development(runs, settings=FEW, llc=SHORT)


def curve(values, record, **changes):
    """Checkpoints whose loss in distribution follows a curve."""
    return tuple(
        dataclasses.replace(record, step=step, losses={IN_DISTRIBUTION: (value,)}, **changes)
        for step, value in values.items()
    )


def coefficient(step, estimate, loss=1.0, error=0.1):
    return LlcRecord(step, "0", estimate, error, loss, 1.0, {})


def test_runs_are_named_by_pool_and_seed(found):
    assert [run.name for run in found.runs] == ["M = 2, seed 0", "M = 3, seed 0", "M = 3, seed 1", "M = ∞, seed 0"]
    assert set(found.trajectory.landmarks) == {"zero", "least squares", "ridge", "dMMSE, M = 2", "dMMSE, M = 3"}


def test_function_vectors_of_all_runs_are_of_the_shared_root_task(found):
    assert "1 " in found.trajectory_task or "one" in found.trajectory_task
    assert set(found.trajectory.scores) == {run.name for run in found.runs}


def test_function_vectors_too_large_for_memory_are_read_in_passes(runs, found, monkeypatch):
    monkeypatch.setattr(assemble, "_MOST_HELD", 0)
    monkeypatch.setattr(assemble, "_BLOCK", 3)
    again = development(runs, settings=FEW, llc=SHORT)
    for name, scores in found.trajectory.scores.items():  # sums in another order
        torch.testing.assert_close(again.trajectory.scores[name], scores, rtol=1e-9, atol=1e-9)


def test_fresh_weights_are_out_of_distribution_for_pools_and_in_it_for_the_gaussian_task(found):
    assert [run.ood_family for run in found.runs] == ["w_fresh", "w_fresh", "w_fresh", "x_scale=3"]
    assert found.runs[3].fresh_family == IN_DISTRIBUTION
    assert fresh_weights_family(icl.LinearRegression(2, w_mean=1.0)) is None
    assert ood_label(icl.AffineRecurrence()) == "x_scale=3"


def test_tasks_without_prompts_in_common_have_no_joint_trajectory():
    one, other = icl.LinearRegression(2), QuadraticRegression(2)
    assert pca_task([one, other]) is None
    assert pca_task([one, one]) == one


def test_the_threshold_is_the_largest_pool_that_ends_nearer_to_its_own_mean(found):
    def moved(run, dmmse, ridge):
        names = run.records[-1].distances[IN_DISTRIBUTION]
        changed = {n: dmmse if "dMMSE" in n else ridge if "ridge" in n else v for n, v in names.items()}
        last = dataclasses.replace(run.records[-1], distances={IN_DISTRIBUTION: changed})
        return dataclasses.replace(run, records=(*run.records[:-1], last))

    small, middle, other, gaussian = found.runs
    near = [moved(small, 0.1, 0.5), moved(middle, 0.1, 0.5), moved(other, 0.1, 0.5), gaussian]
    assert dataclasses.replace(found, runs=tuple(near)).diversity_threshold == 3
    one_seed = [near[0], near[1], moved(other, 0.5, 0.1), gaussian]
    assert dataclasses.replace(found, runs=tuple(one_seed)).diversity_threshold == 2
    none = [moved(run, 0.5, 0.1) for run in found.runs[:3]]
    assert dataclasses.replace(found, runs=tuple(none)).diversity_threshold is None


def test_free_energies_cross_where_the_formula_says(found):
    only = found.runs[0]
    records = [
        dataclasses.replace(record, losses={**record.losses, "w_fresh": (level,)})
        for record, level in zip(only.records, (3.0, 1.0, 2.0, 2.5), strict=True)
    ]
    llc = (coefficient(0, 1.0, 9.0), coefficient(2, 5.0, 0.51), coefficient(6, 15.0, 0.5))
    changed = dataclasses.replace(only, records=tuple(records), llc=llc)
    assert changed.t_crit == 2
    np.testing.assert_allclose(changed.crossover.n, free_energy_crossover(0.51 - 0.5, 10.0).n)
    assert dataclasses.replace(changed, llc=llc[:2]).crossover is None  # no coefficient at the end


def test_a_pool_crosses_ridge_by_the_gaussian_run_s_coefficient(found):
    pool, gaussian = found.runs[0], found.runs[3]
    ridge = pool.reference_losses[IN_DISTRIBUTION]["ridge"]
    better = pool.records[-1]
    better = dataclasses.replace(better, losses={IN_DISTRIBUTION: (ridge - 0.01,)})
    pool = dataclasses.replace(pool, records=(*pool.records[:-1], better), llc=(coefficient(6, 30.0),))
    gaussian = dataclasses.replace(gaussian, llc=(coefficient(6, 20.0),))
    crossing = dataclasses.replace(found, runs=(pool, gaussian)).crossovers
    np.testing.assert_allclose(crossing[pool.name].n, free_energy_crossover(0.01, 10.0).n, rtol=1e-6)
    assert dataclasses.replace(found, runs=(pool,)).crossovers == {}


def test_stages_come_from_the_coefficients_where_they_are_a_curve(found):
    record = found.runs[0].records[0]
    steps = [int(math.expm1(u)) for u in np.linspace(0, 9, 24)]
    steps = sorted(set(steps))
    values = {step: float(torch.sigmoid(torch.tensor(4 * (math.log1p(step) - 2.5)))) for step in steps}
    losses = curve(values, record)
    twice = tuple(
        coefficient(s, 10 * values[s] + 10 * float(torch.sigmoid(torch.tensor(4 * (math.log1p(s) - 7.0)))))
        for s in steps
    )
    assert len(twice) >= LEAST_LLC
    by_llc, source = stages_of(losses, twice)
    assert source == "learning coefficient"
    assert by_llc.boundaries.log1p().round().tolist() == [5]  # the plateau between the two rises
    # Early checkpoints are no minima: a negative estimate is no coefficient and draws no boundary.
    never = dataclasses.replace(coefficient(0, -500.0), flags={"negative": "below zero"})
    assert stages_of(losses, (never, *twice[1:]))[0].boundaries.log1p().round().tolist() == [5]
    by_loss, source = stages_of(losses, twice[: LEAST_LLC - 1])
    assert source == "loss"
    assert by_loss.stages[0].change > 0
    assert stages_of(losses[:3], ()) == (None, "loss")


@pytest.mark.parametrize("panel", get_args(Panel))
def test_every_panel_is_drawn_for_one_run_and_for_several(found, panel):
    for shown in (found, dataclasses.replace(found, runs=found.runs[:1])):
        figure = json.loads(shown.plot(panel).to_json())
        assert any(trace.get("x") for trace in figure["data"])


def test_a_panel_says_what_it_lacks(found):
    bare = dataclasses.replace(found, runs=tuple(dataclasses.replace(run, llc=()) for run in found.runs[3:]))
    with pytest.raises(ValueError, match="'complexity' needs learning coefficients"):
        bare.plot("complexity")
    linear = tuple(
        dataclasses.replace(run, records=tuple(dataclasses.replace(r, attention_entropy=()) for r in run.records))
        for run in found.runs
    )
    with pytest.raises(ValueError, match="'attention' needs attention that sums to one"):
        dataclasses.replace(found, runs=linear).plot("attention")
    with pytest.raises(ValueError, match="'diversity' needs a run on a task pool"):
        bare.plot("diversity")
    with pytest.raises(ValueError, match="'trajectory' needs four checkpoints"):
        dataclasses.replace(found, trajectory=None).plot("trajectory")


def test_files_of_a_folder_are_one_run_and_other_files_runs_of_their_own(runs, tmp_path):
    files = [runs[0] / "checkpoints" / f"step_{step:08d}.pt" for step in (6, 2)]
    (together,) = find_runs(files)
    assert (list(together.files), together.folder, together.seed) == ([2, 6], runs[0], 0)
    lone = tmp_path / "best.pt"
    lone.write_bytes(files[0].read_bytes())
    assert [list(each.files) for each in find_runs([runs[1], lone])] == [[0, 2, 4, 6], [0]]


@pytest.mark.parametrize(
    ("wanted", "steps"), [(0, ()), (1, (100,)), (3, (0, 10, 100)), ((10, 0), (0, 10))], ids=["0", "1", "3", "named"]
)
def test_coefficients_are_spread_over_the_logarithm_of_the_step(wanted, steps):
    assert llc_steps([0, 1, 3, 10, 30, 100], icl.LlcSettings(checkpoints=wanted)) == steps


def test_as_many_learning_coefficients_as_were_asked_for():
    # On a log scale most of four places are nearest to the first two of these.
    assert llc_steps([0, 1000, 2000, 3000], icl.LlcSettings(checkpoints=4)) == (0, 1000, 2000, 3000)
    assert len(llc_steps(range(0, 10_001, 500), icl.LlcSettings(checkpoints=7))) == 7
    assert llc_steps([0, 5], icl.LlcSettings(checkpoints=9)) == (0, 5)


def test_the_inside_panels_show_each_run_s_own_numbers(found):
    only = found.runs[1]
    alone = dataclasses.replace(found, runs=(only,))
    (score,) = alone.plot("icl").data
    np.testing.assert_allclose(score.y, only.icl_scores())
    best = {line.name: line.y for line in alone.plot("probes").data}
    np.testing.assert_allclose(best["block 0"], [max(r.probe_r2["block 0"].values()) for r in only.records])
    heads = {line.name: line.y for line in alone.plot("attention").data}
    assert list(heads) == ["head 0.0", "head 0.1"]
    np.testing.assert_allclose(heads["head 0.1"], [r.attention_entropy[0][1] for r in only.records])
    weights = {line.name: line.y for line in alone.plot("weights").data}
    norms = [r.weights["weight norm"] for r in only.records]
    np.testing.assert_allclose(weights["weight norm"], np.divide(norms, norms[0]))
    assert "effective bias" not in weights  # of either sign
    assert any(line.name.startswith("M = 3, seed 0: head") for line in found.plot("attention").data)


def test_with_several_runs_solid_is_in_distribution_and_dotted_out_of_it(found):
    dashes = {line.name: line.line.dash for line in found.plot("loss").data if line.mode == "lines+markers"}
    assert {dash for name, dash in dashes.items() if name.endswith(": in distribution")} == {"solid"}
    assert {dash for name, dash in dashes.items() if not name.endswith(": in distribution")} == {"dot"}
