"""Checkpoints that can be read and not measured: left out and named; errors of another kind end the analysis."""

import re
import shutil

import numpy as np
import pytest
import torch
from development_runs import FEW, SHORT, STEPS, enlarge, overflow

import icl_interp as icl
from icl_interp.measure.development import jobs
from icl_interp.measure.development.jobs import CheckpointJob
from icl_interp.measure.development.record import LeftOut, MeasurementError, demand_finite, load_newest
from icl_interp.measure.development.run import development
from probes.learning_coefficient import NonFiniteLossError


@pytest.fixture
def run(developed_run):
    return developed_run


@pytest.fixture
def found(developed):
    return developed


@pytest.fixture
def copy(run, found, tmp_path):  # noqa: ARG001  # its records are copied as well
    return shutil.copytree(run, tmp_path / "run")


def test_a_diverged_checkpoint_is_left_out_and_the_others_are_as_they_were(copy, found):
    overflow(copy, 2)
    (left,) = (others := development(copy, settings=FEW, llc=SHORT)).runs
    assert left.steps == (0, 4, 6)
    assert left.records == tuple(record for record in found.runs[0].records if record.step != 2)
    assert left.llc == found.runs[0].llc
    assert (left.unreadable, left.without_llc) == ({}, {})
    (note,) = others.notes
    wanted = (
        r"Step 2 could not be measured: measuring a network needs finite answers \(in distribution\), got \d+ NaN or "
        r"infinite of 128; training may have diverged before this checkpoint\."
    )
    assert re.fullmatch(wanted, note)
    assert others.to_dict()["runs"][0]["unmeasured"] == {"2": left.unmeasured[2]}
    assert development(copy, settings=FEW, llc=SHORT).to_json() == others.to_json()
    assert found.notes == ()


def test_with_its_checkpoint_a_coefficient_goes_too(copy):
    overflow(copy, 6)  # one of the two with a coefficient, and the newest
    (left,) = development(copy, settings=FEW, llc=SHORT).runs
    assert (left.steps, list(left.unmeasured), left.without_llc) == ((0, 2, 4), [6], {})
    assert [record.step for record in left.llc] == [0]


LLC_ONLY = {
    # Answers of 1e21 can be measured in float64; their squares overflow in the training loss, which is float32.
    "loss": ("unembed.W_U", 1e22, "estimate_learning_coefficient needs a finite loss at w\\*, got inf"),
    "Hessian": ("embed", 1e18, "needs finite eigenvalues of the loss's Hessian, got 1 NaN or infinite of 1"),
}


@pytest.mark.parametrize(("pattern", "factor", "reason"), LLC_ONLY.values(), ids=LLC_ONLY)
def test_where_only_the_coefficient_fails_the_checkpoint_stays(copy, pattern, factor, reason):
    enlarge(copy, 6, pattern, factor)
    (left,) = (others := development(copy, settings=FEW, llc=SHORT)).runs
    assert left.steps == STEPS
    assert left.losses().isfinite().all()
    assert [record.step for record in left.llc] == [0]
    (note,) = others.notes
    assert note.startswith("Step 6 has no learning coefficient: ")
    assert re.search(reason, note)
    assert others.to_dict()["runs"][0]["without_llc"] == {"6": left.without_llc[6]}


def test_where_every_checkpoint_fails_there_is_one_sentence(copy):
    for step in STEPS:
        overflow(copy, step)
    with pytest.raises(
        ValueError, match=r"a checkpoint that can be measured, got none in run: step 6: measuring .*\.$"
    ):
        development(copy, settings=FEW, llc=SHORT)


def test_damaged_and_diverged_are_told_apart_in_several_runs(run, copy):
    overflow(copy, 2)
    (copy / "checkpoints" / "step_00000004.pt").write_bytes(b"")
    both = development([run, copy], settings=FEW, llc=None)
    assert [each.steps for each in both.runs] == [STEPS, (0, 6)]
    told = [note.partition(": ")[2].partition(": ")[0] for note in both.notes]
    assert told == ["step 4 could not be read", "step 2 could not be measured"]


@pytest.fixture
def failing(run, tmp_path, monkeypatch):
    """A job whose measurement raises what it is given."""

    def job(error):
        def measure(*_, **__):
            raise error

        monkeypatch.setattr(jobs, "measure_checkpoint", measure)
        file, task = run / "checkpoints" / "step_00000002.pt", icl.LinearRegression(2, n_points=4)
        return CheckpointJob(file, 2, task, None, FEW, "0", tmp_path, tmp_path / "record.pt")

    return job


@pytest.mark.parametrize(
    "error",
    [
        MeasurementError("NaN"),
        NonFiniteLossError("NaN"),
        torch.linalg.LinAlgError("NaN"),
        np.linalg.LinAlgError("NaN"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failed_measurements_are_reasons(failing, error):
    assert failing(error).run() == LeftOut("checkpoint", "NaN")


@pytest.mark.parametrize(
    "error",
    [
        TypeError,
        KeyError,
        IndexError,
        ValueError,
        RuntimeError,
        AssertionError,
        OSError,
        MemoryError,
        KeyboardInterrupt,
    ],
)
def test_errors_of_programs_machines_and_settings_are_not(failing, error):
    with pytest.raises(error, match="wrong"):
        failing(error("wrong")).run()


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_counted(number):
    good = torch.arange(4.0)
    assert demand_finite("answers", good) is good
    with pytest.raises(MeasurementError, match="needs finite answers, got 1 NaN or infinite of 5; training may"):
        demand_finite("answers", torch.cat([good, torch.tensor([number])]))


def test_a_newest_checkpoint_that_fails_its_trial_is_passed_over(copy):
    files = {step: copy / "checkpoints" / f"step_{step:08d}.pt" for step in STEPS}
    files[6].write_bytes(b"")

    def trial(checkpoint):
        demand_finite("answers", torch.tensor(torch.nan if checkpoint.step == 4 else 0.0))

    checkpoint, passed = load_newest(files, try_out=trial)
    assert (checkpoint.step, list(passed)) == (2, [6, 4])
    assert checkpoint.assumptions[0].startswith("Step 6 could not be read (")
    assert checkpoint.assumptions[1].startswith("Step 4 could not be measured (")
    assert all(words.endswith("step 2 is the newest that can.") for words in checkpoint.assumptions[:2])
    with pytest.raises(MeasurementError, match="needs finite answers"):
        load_newest({4: files[4]}, try_out=trial)
