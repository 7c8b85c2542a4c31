"""What only the timeline of icl-probe takes: its sampler, where its records are kept, and who refuses it."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
from development_runs import make_run, overflow
from typer.testing import CliRunner

from icl_interp.cli import probe_job, probe_timeline
from icl_interp.cli.probe import _app
from icl_interp.cli.probe_checks import read_sampler
from icl_interp.cli.probe_job import _load_probed
from icl_interp.cli.probe_timeline import _records_folder
from icl_interp.measure.development import jobs, record
from icl_interp.measure.development.settings import LlcSettings
from icl_interp.runs.find import find_runs

SAMPLER = {
    "nbeta": "10", "lr": "1e-5", "localization": "0", "num_chains": "2", "num_draws": "4", "num_burnin_steps": "0",
    "batch_size": "8",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("records") / "run")


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def timelines(monkeypatch):
    """The timelines of the commands to come; the study of the newest checkpoint is left out, which takes longer."""
    found = []
    monkeypatch.setattr("icl_interp.measure.study.run.run_study", lambda *_: None)
    monkeypatch.setattr(probe_job, "_write", lambda _options, _checkpoint, _study, timeline: found.append(timeline))
    return found


@pytest.fixture
def read_only(run, tmp_path, monkeypatch):
    """A run folder that may not be written, and a cache folder of the user; root may write everywhere."""
    real = probe_timeline.os.access
    monkeypatch.setattr(probe_timeline.os, "access", lambda path, mode: Path(path) != run and real(path, mode))
    monkeypatch.setattr(probe_timeline, "user_cache_path", lambda name: tmp_path / "home" / name)
    return run


def probe(*arguments, code=0):
    result = CliRunner().invoke(_app, ["--prompts", "8", "--no-controls", *map(str, arguments)])
    assert result.exit_code == code, result.stderr
    return result.stdout


def test_every_setting_of_the_sampler_can_be_typed(run, timelines):
    words = [word for key, value in SAMPLER.items() for word in ("--llc-set", f"{key}={value}")]
    said = probe(run, "--llc", 2, *words)
    (timeline,) = timelines
    assert timeline.llc_settings == LlcSettings(2, 10.0, 1e-5, 0.0, 2, 4, 0, 8)
    assert [record.step for record in timeline.runs[0].llc] == [0, 6]
    assert "records" not in said  # they are where they always are


def test_the_newest_checkpoint_is_loaded_once(run, timelines, monkeypatch):
    real, loaded = record.load_checkpoint, []

    def load(path, **how):
        loaded.append(path)
        return real(path, **how)

    for home in (probe_job, record):  # the records of a timeline load what they measure by themselves
        monkeypatch.setattr(home, "load_checkpoint", load)
    probe(run, "--llc", 0)
    assert loaded == [run]
    assert timelines[0].runs[0].steps[-1] == 6


def test_help_names_every_setting_of_the_sampler():
    said = CliRunner().invoke(_app, ["--help"]).stdout
    assert [key for key in SAMPLER if key not in said] == []


def test_of_two_settings_with_one_key_the_last_counts():
    assert read_sampler(("lr=1", "nbeta=3", "lr=2e-3")) == LlcSettings(1, nbeta=3.0, lr=2e-3)
    assert read_sampler((), checkpoints=4) == LlcSettings(4)
    assert set(SAMPLER) | {"checkpoints"} == set(LlcSettings.__slots__)


KEYS = "nbeta, lr, localization, num_chains, num_draws, num_burnin_steps, batch_size"
REFUSED = {
    "unknown key": (["--llc-set", "chains=2"], f"key=value with a key out of {KEYS}, got 'chains=2'."),
    "checkpoints": (["--llc-set", "checkpoints=2"], f"out of {KEYS}, got 'checkpoints=2'."),
    "no value": (["--llc-set", "lr"], f"out of {KEYS}, got 'lr'."),
    "word": (["--llc-set", "lr=small"], "--llc-set needs a number for lr, got 'small'."),
    "fraction": (["--llc-set", "num_draws=2.5"], "--llc-set needs a whole number for num_draws, got '2.5'."),
    "out of range": (["--llc-set", "lr=-1"], "--llc-set: LlcSettings needs a positive finite lr, got -1.0; see"),
    "no chain": (["--llc-set", "num_chains=0"], "--llc-set: LlcSettings needs num_chains of at least 1, got 0."),
    "two kinds of workers": (
        ["--workers", "2", "--scheduler", "tcp://x:1"],
        "--scheduler brings its own workers, so it takes no --workers; leave out one of them.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_words_are_refused_before_anything_is_read(refuses, options, message):
    assert message in refuses(_app, "nowhere", "--llc", "2", *options)


def test_a_sampler_without_coefficients_is_refused(refuses):
    for few, got in (((), "none"), (("--llc", "0"), "0")):
        said = refuses(_app, "nowhere", "--llc-set", "lr=1", *few)
        assert said == f"--llc-set needs --llc N, the number of checkpoints that it is meant for, got {got}; add it."


USELESS = {
    "--llc": ["--llc", "2"],
    "--llc, --llc-set": ["--llc", "2", "--llc-set", "lr=1"],
    "--scheduler": ["--scheduler", "tcp://127.0.0.1:1"],
    "--cache": ["--cache", "records"],
}


@pytest.mark.parametrize(("names", "options"), USELESS.items(), ids=USELESS)
def test_what_only_a_timeline_uses_is_refused_without_one(refuses, run, names, options):
    without = refuses(_app, run, "--no-timeline", *options)
    assert without == f"--no-timeline leaves nothing to do for {names}; leave out one or the other."
    demo = refuses(_app, *options)
    assert demo == f"the embedded demo is one checkpoint without a timeline, so it takes no {names}; name a run."


@pytest.mark.parametrize("options", USELESS.values(), ids=USELESS)
def test_where_the_files_have_no_timeline_it_is_said(run, timelines, options):
    file = run / "checkpoints" / "step_00000002.pt"
    names = ", ".join(word for word in options if word.startswith("--"))
    assert f"note: one checkpoint has no timeline, so {names} had no effect.\n" in probe(file, *options)
    assert "note: one checkpoint" not in probe(file)
    assert probe(file, *options, "--quiet") == ""
    assert timelines == [None] * 3


def test_without_a_timeline_a_run_has_none(run, timelines):
    probe(run, "--no-timeline", "--quiet")
    assert timelines == [None]


@contextlib.contextmanager
def stopped_at(monkeypatch, stop, steps):
    """Measuring stops as by Ctrl-C before one step; `steps` tells what was measured."""
    measure = jobs.measure_checkpoint

    def stopping(checkpoint, material, *, step):
        if step == stop:
            raise KeyboardInterrupt
        steps.append(step)
        return measure(checkpoint, material, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "measure_checkpoint", stopping)
        yield


@pytest.mark.parametrize("asked", [False, True], ids=["user's cache", "--cache"])
def test_a_timeline_of_a_read_only_folder_goes_on_where_it_stopped(read_only, tmp_path, monkeypatch, timelines, asked):
    options, kept, steps = (), tmp_path / "home" / "icl-interp", []
    if asked:
        options, kept = ("--cache", tmp_path / "mine"), tmp_path / "mine"
    with stopped_at(monkeypatch, 4, steps):
        probe(read_only, "--llc", 0, *options, code=130)
    assert steps == [0, 2]
    with stopped_at(monkeypatch, None, steps):
        said = probe(read_only, "--llc", 0, *options)
    assert steps == [0, 2, 4, 6]
    assert len([line for line in said.splitlines() if str(kept) in line]) == 1
    assert not (read_only / "development").exists()
    (folder,) = kept.iterdir()
    assert len(list(folder.glob("*.pt"))) == 4
    assert timelines[0].runs[0].steps == (0, 2, 4, 6)


def test_where_nothing_can_be_written_records_are_lost_and_that_is_said(read_only, tmp_path):
    (tmp_path / "home").touch()  # a file, so that no folder can be made in it
    with _records_folder(None, find_runs([read_only])) as (folder, said):
        assert folder.is_dir()
        assert re.fullmatch("neither run nor cache .* are lost at the end; --cache FOLDER keeps them", said)
    assert not folder.exists()


def test_run_folders_that_can_be_written_keep_their_own_records(run):
    with _records_folder(None, find_runs([run])) as found:
        assert found == (None, "")


def test_a_cache_that_cannot_be_made_is_refused(refuses, run, tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        said = refuses(_app, run, "--cache", tmp_path / place)
        assert said == f"--cache needs a folder that can be written or made, got {tmp_path / place}."


def test_a_newest_checkpoint_without_finite_answers_is_passed_over(run):
    assert _load_probed(run).step == 6
    for step in (4, 6):
        overflow(run, step)
    found = _load_probed(run)
    assert found.step == 2
    for step, words in zip((6, 4), found.assumptions, strict=True):
        assert words.startswith(f"Step {step} could not be measured (measuring a network needs finite answers, got ")
        assert words.endswith("); step 2 is the newest that can.")
    assert _load_probed(run / "checkpoints" / "step_00000006.pt").step == 6  # what is named as a file is meant
