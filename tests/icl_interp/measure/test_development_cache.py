"""Records on the disk: an analysis that was interrupted goes on, and what was measured otherwise is never read."""

import dataclasses
import json
import math
import shutil

import pytest
import torch
from development_runs import FEW, SHORT, STEPS, make_run

import icl_interp as icl
from icl_interp.measure.development import jobs
from icl_interp.measure.development.cache import RecordStore
from icl_interp.measure.development.run import development


@pytest.fixture
def run(developed_run):
    return developed_run


@pytest.fixture
def found(developed):
    return developed


@pytest.fixture
def counted(monkeypatch):
    """Which steps are really measured."""
    steps: list[int] = []
    measure = jobs.measure_checkpoint

    def counting(checkpoint, material, *, step):
        steps.append(step)
        return measure(checkpoint, material, step=step)

    monkeypatch.setattr(jobs, "measure_checkpoint", counting)
    return steps


def test_a_second_analysis_measures_nothing(run, found, counted):
    again = development(run, settings=FEW, llc=SHORT)
    assert counted == []
    assert again.to_json() == found.to_json()


def test_an_interrupted_analysis_goes_on_and_gives_the_same_file(run, found, tmp_path, counted):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("development"))

    def stop(_done, what):
        if what == "step 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        development(copy, settings=FEW, llc=SHORT, on_checkpoint=stop)
    assert counted == [0, 2]
    assert not (copy / "development" / "development.json").exists()
    development(copy, settings=FEW, llc=SHORT)
    assert counted == [0, 2, 4, 6]
    assert (copy / "development" / "development.json").read_text() == found.to_json()


def test_each_setting_of_the_sampler_has_records_of_its_own(run, found, monkeypatch):
    estimated = []

    def counting(_checkpoint, settings, *, step, **_):
        estimated.append((step, settings))
        return found.runs[0].llc[0]

    monkeypatch.setattr(jobs, "checkpoint_llc", counting)
    names = ("nbeta", "lr", "localization", "num_chains", "num_draws", "num_burnin_steps", "batch_size")
    others = [dataclasses.replace(SHORT, **{name: getattr(SHORT, name) * 2}) for name in names]
    again = dataclasses.replace(others[-1], checkpoints=(6, 0, 2))  # which ones changes no estimate
    for settings in (SHORT, *others, others[-1], again):
        development(run, settings=FEW, llc=settings)
    assert estimated == [*((step, other) for other in others for step in (0, 6)), (2, again)]


def test_heads_that_are_given_have_records_of_their_own(tmp_path, dtsip_folder):
    file = shutil.copy(dtsip_folder / "model_4000.pt", tmp_path)
    first, other, again = (development(file, settings=FEW, llc=None, n_heads=n).runs[0] for n in (2, 4, 2))
    assert first.records == again.records
    assert first.records[0].losses != other.records[0].losses


def test_a_cache_is_found_again_from_anywhere_and_beside_other_runs(run, tmp_path, counted, monkeypatch):
    other = make_run(tmp_path / "other", n_tasks=3)
    cache = tmp_path / "not" / "yet"

    def stop(_done, what):
        if what == "step 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        development(run, settings=FEW, llc=None, cache=cache, on_checkpoint=stop)
    monkeypatch.chdir(tmp_path)
    development(run, settings=FEW, llc=None, cache="not/yet")
    assert counted == [0, 2, 4, 6]
    # Both pools have one root, so the function vectors of `run` are the same beside another.
    both = development([other, run], settings=FEW, llc=None, cache=cache)
    assert counted == [0, 2, 4, 6, *STEPS]
    assert development([run, other], settings=FEW, llc=None, cache=cache).runs[1].records == both.runs[0].records
    assert len(counted) == 8
    assert not (other / "development").exists()


def test_a_damaged_record_and_other_settings_are_measured_again(run, tmp_path, counted):
    copy = shutil.copytree(run, tmp_path / "run")
    for file in (copy / "development").glob("*.pt"):
        file.write_bytes(file.read_bytes()[:100])
    development(copy, settings=FEW, llc=None)
    assert counted == list(STEPS)
    development(copy, settings=icl.DevelopmentSettings(16, None, 8, 16, 0), llc=None)
    assert counted == [*STEPS, *STEPS]


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.usefixtures("found")
def test_a_record_that_was_cut_is_none(run, tmp_path, share):
    store = RecordStore(tmp_path)
    whole = next((run / "development").glob("*.pt"))
    data = whole.read_bytes()
    (tmp_path / "record.pt").write_bytes(data[: int(share * len(data))])
    assert store.read_measured(whole) is not None
    assert store.read_measured(tmp_path / "record.pt") is None


@pytest.mark.parametrize(
    "content", [[1], {}, {"record": "{}"}, {"record": "[]", "outputs": 1, "signature": {}}], ids=repr
)
def test_a_record_of_something_else_is_none(tmp_path, content):
    torch.save(content, tmp_path / "record.pt")
    assert RecordStore(tmp_path).read_measured(tmp_path / "record.pt") is None


@pytest.mark.usefixtures("found")
def test_a_record_is_read_as_it_was_written_before_records_were_validated(run, tmp_path):
    store, content = RecordStore(tmp_path), torch.load(next((run / "development").glob("*.pt")), weights_only=True)
    plain = json.loads(content["record"])
    plain["probe_r2"]["blocks.0.hook_resid_pre"] = {"zero": float("nan"), "ridge": 0.1 + 0.2}
    torch.save({**content, "record": json.dumps(plain)}, tmp_path / "record.pt")
    measured = store.read_measured(tmp_path / "record.pt")
    store.write_measured(tmp_path / "again.pt", measured)
    read, again = (store.read_measured(tmp_path / name).record for name in ("record.pt", "again.pt"))
    assert repr(dataclasses.asdict(again)) == repr(dataclasses.asdict(read))
    r2 = again.probe_r2["blocks.0.hook_resid_pre"]
    assert math.isnan(r2["zero"])
    assert r2["ridge"] == 0.1 + 0.2
    torch.save({**content, "record": json.dumps({**plain, "more": 1})}, tmp_path / "more.pt")
    assert store.read_measured(tmp_path / "more.pt") is None


@pytest.mark.parametrize("content", [b"", b"\0\0", b"{}", b"[]", b'{"step": 1}', b"\xff"], ids=repr)
def test_a_damaged_coefficient_is_none(found, tmp_path, content):
    (tmp_path / "llc.json").write_bytes(content)
    store = RecordStore(tmp_path)
    assert store.read_llc(tmp_path / "llc.json") is None
    store.write_llc(tmp_path / "llc.json", found.runs[0].llc[0])
    assert store.read_llc(tmp_path / "llc.json") == found.runs[0].llc[0]
