"""A run's development against single measures, and checkpoints whose files are damaged."""

import shutil

import numpy as np
import pytest
import torch
from development_runs import FEW, SHORT, STEPS

import icl_interp as icl
from icl_interp.measure.development.material import Material, pca_task
from icl_interp.measure.development.run import count_records, development
from icl_interp.measure.families import IN_DISTRIBUTION
from probes.spectra import leading_directions


@pytest.fixture
def run(developed_run):
    return developed_run


@pytest.fixture
def found(developed):
    return developed


def test_each_checkpoint_is_measured_as_it_would_be_alone(run, found):
    checkpoint = icl.load_checkpoint(run / "checkpoints" / "step_00000004.pt")
    held = Material(checkpoint.task, pca_task([checkpoint.task]), FEW, 4)
    record = found.runs[0].records[STEPS.index(4)]
    for label in (IN_DISTRIBUTION, "w_fresh"):
        prompts = held.families.by_label[label].prompts
        with torch.no_grad():
            said = checkpoint.model(prompts.xs, prompts.ys).double()
        np.testing.assert_allclose(record.losses[label], (said - prompts.ys).square().mean(0), rtol=1e-6)
        for name, reference in held.references.items():
            wanted = (said - reference(prompts.xs, prompts.ys)).square().mean()
            np.testing.assert_allclose(record.distances[label][name], wanted, rtol=1e-6)
    assert record.sha256 == checkpoint.sha256


def test_stages_can_be_left_out(run, found):
    without = development(run, settings=FEW, llc=SHORT, stages=False).runs[0]
    assert found.runs[0].stages is not None
    assert without.stages is None
    assert without.records == found.runs[0].records


def test_function_vectors_are_predictions_on_root_task_prompts(run, found):
    checkpoint = icl.load_checkpoint(run)
    held = Material(checkpoint.task, pca_task([checkpoint.task]), FEW, 4)
    prompts = held.shared_prompts
    torch.testing.assert_close(prompts.ws, checkpoint.task.root.expand_as(prompts.ws))
    with torch.no_grad():
        row = checkpoint.model(prompts.xs, prompts.ys).double().flatten()
    pca = found.trajectory
    # stored in float32, predictions of about 1
    torch.testing.assert_close((row - pca.mean) @ pca.components.T, pca.scores["run"][-1], rtol=0, atol=1e-5)
    assert set(pca.landmarks) == {"zero", "least squares", "ridge", "dMMSE, M = 2"}


def test_the_signature_is_that_of_the_last_block(run, found):
    checkpoint = icl.load_checkpoint(run / "checkpoints" / "step_00000002.pt")
    held = Material(checkpoint.task, None, FEW, 4)
    name = "blocks.0.hook_resid_post"
    directions = leading_directions(icl.collect(checkpoint.model, held.probe_prompts, name)[name], 2).directions
    pairs = torch.einsum("ikd,jld->ijkl", directions, directions).square().sum((2, 3)) / 2
    n = len(pairs)
    wanted = (pairs.sum() - pairs.trace()) / (n * (n - 1))
    torch.testing.assert_close(found.runs[0].emergence.within[1], wanted.float(), rtol=1e-4, atol=0)
    assert len(found.runs[0].untrained_overlaps) == 2
    assert float(found.runs[0].emergence.overlap_with_final[-1]) == pytest.approx(1)


def test_steps_scores_and_critical_step_follow_from_the_losses(found):
    only = found.runs[0]
    assert only.steps == STEPS
    curve = [np.mean(record.losses["w_fresh"]) for record in only.records]
    assert only.t_crit == STEPS[int(np.argmin(curve))]
    np.testing.assert_allclose(only.transience, curve[-1] - min(curve), atol=1e-12)
    first = only.records[0].losses[IN_DISTRIBUTION]
    np.testing.assert_allclose(only.icl_scores()[0], first[0] - first[-1])
    np.testing.assert_allclose(only.icl_scores(1, 2)[0], first[1] - first[2])


def test_distances_come_in_three_units(found):
    only = found.runs[0]
    plain, per_dim = only.distances("ridge"), only.distances("ridge", unit="per_dim")
    torch.testing.assert_close(per_dim, plain / 2)
    moment = only.label_second_moments[IN_DISTRIBUTION]
    torch.testing.assert_close(only.distances("ridge", unit="per_label"), plain / moment)


def test_probes_attention_and_weights_are_there_for_every_checkpoint(found):
    for record in found.runs[0].records:
        assert set(record.probe_r2) == {"read-in", "block 0", "final norm"}
        assert np.shape(record.attention_entropy) == np.shape(record.attention_variability) == (1, 2)
        assert 0 < np.min(record.attention_entropy) <= np.max(record.attention_entropy) <= 1
        assert record.weights["weight norm"] > 0
    frame = found.to_frame()
    assert list(frame["step"]) == list(STEPS)
    assert frame["llc"].notna().sum() == 2


def test_learning_coefficients_are_estimated_where_they_were_asked_for(found):
    records = found.runs[0].llc
    assert [record.step for record in records] == [0, 6]
    assert all("few_effective_draws" in record.flags for record in records)  # 12 draws
    assert found.llc_settings == SHORT


@pytest.mark.slow  # each process imports torch and TransformerLens
def test_workers_give_the_same_file(run, found, tmp_path):
    spread = development(run, settings=FEW, llc=None, workers=2, cache=tmp_path)
    alone = found.to_dict()["runs"][0]
    for key in ("checkpoints", "signature"):
        assert spread.to_dict()["runs"][0][key] == alone[key]


def test_progress_counts_every_record(run):
    counts = []
    development(run, settings=FEW, llc=SHORT, on_checkpoint=lambda done, _: counts.append(done))
    assert sum(counts) == count_records(run, SHORT) == 6


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda _: development([]), "at least one run, got none"),
        (lambda run: development([run, run]), "every run once"),
        (lambda run: development([run, run / "nowhere.pt"]), r"paths that are there, got .*nowhere.pt; check"),
        (
            lambda run: development(run, settings=FEW, llc=icl.LlcSettings(checkpoints=(3,))),
            r"got \[3\]; there are 0, 2",
        ),
        (lambda run: development(run, settings=FEW, llc=None, workers=0), "at least one worker, got 0"),
        (lambda _: icl.LlcSettings(checkpoints=-1), "number of checkpoints from 0"),
        (lambda _: icl.LlcSettings(num_chains=0), "num_chains of at least 1, got 0"),
        (lambda _: icl.LlcSettings(num_draws=0), "num_draws of at least 1, got 0"),
        (lambda _: icl.LlcSettings(num_burnin_steps=-1), "num_burnin_steps of at least 0, got -1"),
        (lambda _: icl.LlcSettings(batch_size=0), "batch_size of at least 1, got 0"),
        (lambda _: icl.LlcSettings(nbeta=0.0), "positive finite nbeta, got 0.0; see calibrate_llc"),
        (lambda _: icl.LlcSettings(lr=float("nan")), "positive finite lr, got nan"),
        (lambda _: icl.LlcSettings(localization=-1), "finite localization from 0, got -1; 0 means none"),
        (lambda _: icl.DevelopmentSettings(n_prompts=1), "n_prompts of at least 2, got 1"),
        (lambda _: icl.DevelopmentSettings(n_points=1), "at least 2 points, got 1"),
    ],
    ids=[
        "no run",
        "twice",
        "nowhere",
        "lost step",
        "no worker",
        "llc",
        "chains",
        "draws",
        "burn-in",
        "batch",
        "nbeta",
        "lr",
        "localization",
        "prompts",
        "points",
    ],
)
def test_what_cannot_be_done_is_refused(run, call, match):
    with pytest.raises(ValueError, match=match):
        call(run)


def test_unknown_names_list_the_valid_ones(found):
    only = found.runs[0]
    with pytest.raises(ValueError, match="there are the runs run, got 'x'"):
        found.run("x")
    with pytest.raises(ValueError, match="family out of in distribution, w_fresh, got 'x'"):
        only.losses("x")
    with pytest.raises(ValueError, match=r"reference out of zero, .*, got 'x'"):
        only.distances("x")
    with pytest.raises(ValueError, match="unit out of squared, per_dim, per_label, got 'x'"):
        only.distances("ridge", unit="x")
    with pytest.raises(ValueError, match=r"plot needs one of loss, .*, got 'x'"):
        found.plot("x")


def test_a_damaged_checkpoint_is_left_out_and_named(run, found, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("development"))
    file = copy / "checkpoints" / "step_00000002.pt"
    file.write_bytes(file.read_bytes()[:500])
    others = development(copy, settings=FEW, llc=SHORT)
    (left,) = others.runs
    assert left.steps == (0, 4, 6)
    assert list(left.unreadable) == [2]
    assert left.records == tuple(record for record in found.runs[0].records if record.step != 2)
    (note,) = others.notes
    assert note.startswith("Step 2 could not be read: ")
    assert note.endswith(".")
    assert "step_00000002.pt" in note
    assert str(tmp_path) not in others.to_json()
    assert others.to_dict()["runs"][0]["unreadable"] == {"2": left.unreadable[2]}
    assert development(copy, settings=FEW, llc=SHORT).to_json() == others.to_json()
    assert found.notes == ()


def test_where_the_newest_is_damaged_the_newest_that_can_be_read_ends_the_run(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("development"))
    for step in (4, 6):
        (copy / "checkpoints" / f"step_{step:08d}.pt").write_bytes(b"")
    (left,) = development(copy, settings=FEW, llc=SHORT).runs
    assert (left.steps, list(left.unreadable)) == ((0, 2), [4, 6])
    assert [record.step for record in left.llc] == [0, 2]  # chosen among those that can be read
    for step in (0, 2):
        (copy / "checkpoints" / f"step_{step:08d}.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"got an empty file.*step_00000006"):
        development(copy, settings=FEW, llc=None)


def test_runs_whose_files_share_a_folder_stay_apart(run, tmp_path):
    shutil.copyfile(run / "checkpoints" / "step_00000002.pt", tmp_path / "one.pt")
    shutil.copyfile(run / "checkpoints" / "step_00000006.pt", tmp_path / "two.pt")
    both = development([tmp_path / "one.pt", tmp_path / "two.pt"], settings=FEW, llc=None)
    assert [len(each.records) for each in both.runs] == [1, 1]
    assert both.runs[0].records[0].sha256 != both.runs[1].records[0].sha256


def test_what_foreign_files_do_not_say_holds_for_all_of_them(tmp_path):
    for step in (1, 2):
        torch.save({"W": torch.eye(3) / step}, tmp_path / f"model_{step}.pt")
    how = {"settings": FEW, "llc": None, "stages": False, "task": {"n_points": 4}}
    plain, minus = (development(tmp_path, layout=layout, **how) for layout in (None, {"sign": -1}))
    assert [found.runs[0].steps for found in (plain, minus)] == [(1, 2), (1, 2)]
    losses = [found.runs[0].records[-1].losses[IN_DISTRIBUTION] for found in (plain, minus)]
    assert float(np.abs(np.subtract(*losses)).max()) > 0.1  # and no record of the one was taken for the other
