"""Runs that an older version named, by a config with fewer settings, are found again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from training_cases import TINY as LONGER
from training_cases import assert_same_tensors

from icl_interp import TrainConfig, train
from icl_interp.training import resume as module
from icl_interp.training.loop import StepRecord
from icl_interp.training.resume import config_hash, run_folders
from icl_interp.training.sweep import expand_grid, sweep

TINY = LONGER.model_copy(update={"checkpoints": None, "eval_every": None})


class Crash(Exception):
    """The end of a session."""


def with_seed(seed: int) -> TrainConfig:
    return TINY.model_copy(update={"seed": seed})


def older_run(parent: Path, config: TrainConfig, *, until: int, name: str = "0123456789ab") -> Path:
    """A run as a version without `scale_loss` would have left it after so many steps: fewer keys, other hashes."""

    def on_step(record: StepRecord) -> None:
        if record.step == until:
            raise Crash

    folder = parent / name
    to_yaml = TrainConfig.to_yaml
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainConfig, "to_yaml", lambda config: _without(to_yaml(config), "scale_loss"))
        if until < config.steps:
            with pytest.raises(Crash):
                train(config, out=folder, resume_seconds=0, on_step=on_step)
        else:
            train(config, out=folder)
    assert "scale_loss" not in (folder / "config.yaml").read_text()
    return folder


def _without(text: str, key: str) -> str:
    return yaml.safe_dump({name: value for name, value in yaml.safe_load(text).items() if name != key}, sort_keys=False)


def test_a_run_without_a_folder_is_named_by_its_hash(tmp_path: Path) -> None:
    configs = [with_seed(0), with_seed(1)]
    expected = [tmp_path / config_hash(config)[:12] for config in configs]
    assert run_folders(tmp_path / "nothing here", configs) == [tmp_path / "nothing here" / p.name for p in expected]
    older_run(tmp_path, with_seed(2), until=2)  # the control: another config is not taken for one of these
    assert run_folders(tmp_path, configs) == expected


def test_an_older_run_is_found_and_goes_on_from_its_state(tmp_path: Path) -> None:
    folder = older_run(tmp_path, TINY, until=7)
    assert run_folders(tmp_path, [with_seed(1), TINY]) == [tmp_path / config_hash(with_seed(1))[:12], folder]
    steps: list[int] = []
    resumed = train(TINY, out=folder, resume=True, on_step=lambda record: steps.append(record.step))
    assert steps == list(range(8, 13))
    assert_same_tensors(dict(resumed.model.state_dict()), dict(train(TINY).model.state_dict()))
    assert "scale_loss" not in (folder / "config.yaml").read_text()


def go_on_until(folder: Path, until: int) -> None:
    def on_step(record: StepRecord) -> None:
        if record.step == until:
            raise Crash

    with pytest.raises(Crash):
        train(TINY, out=folder, resume=True, resume_seconds=0, on_step=on_step)


def test_a_comment_in_the_config_harms_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    older_run(tmp_path, TINY, until=7, name="run")
    for step in (9, 10):
        (folder / "config.yaml").write_text(f"# stopped before step {step}\n" + TINY.to_yaml())
        go_on_until(folder, step)
    assert train(TINY, out=folder, resume=True).history[-1].step == 12


@pytest.mark.parametrize("text", ["unchanged", "written again"])
def test_states_of_older_versions_hold_a_hash_only(tmp_path: Path, text: str) -> None:
    folder = older_run(tmp_path, TINY, until=7)
    state = torch.load(folder / "resume.pt", weights_only=True)
    del state["config"]
    if_unchanged = {"unchanged": state, "written again": state | {"config_sha256": config_hash(TINY)}}
    torch.save(if_unchanged[text], folder / "resume.pt")
    assert train(TINY, out=folder, resume=True).history[-1].step == 12
    torch.save(state | {"config_sha256": config_hash(with_seed(1))}, folder / "resume.pt")
    with pytest.raises(ValueError, match=r"resume.pt does not belong to the config beside it"):
        train(TINY, out=folder, resume=True)


def test_a_state_that_is_not_of_the_config_beside_it_is_still_refused(tmp_path: Path) -> None:
    folder = older_run(tmp_path, TINY, until=7)
    other = older_run(tmp_path, with_seed(1), until=7, name="other")
    (other / "resume.pt").replace(folder / "resume.pt")
    with pytest.raises(ValueError, match=r"resume.pt does not belong to the config beside it"):
        train(TINY, out=folder, resume=True)


def test_the_folder_of_the_hash_comes_first_and_then_the_finished_one(tmp_path: Path) -> None:
    begun = older_run(tmp_path, TINY, until=3, name="a")
    assert run_folders(tmp_path, [TINY]) == [begun]
    finished = older_run(tmp_path, TINY, until=12, name="b")
    older_run(tmp_path, TINY, until=3, name="c")
    assert run_folders(tmp_path, [TINY]) == [finished]
    (tmp_path / config_hash(TINY)[:12]).mkdir()
    assert run_folders(tmp_path, [TINY]) == [tmp_path / config_hash(TINY)[:12]]


UNREADABLE = {
    "no YAML": b"steps: [",
    "no mapping": b"- 1",
    "nothing": b"",
    "unknown setting": TINY.to_yaml().encode() + b"stepz: 3\n",
    "no text": b"\xff\xfe\x00",
    "impossible": TINY.to_yaml().replace("steps: 12", "steps: 0").encode(),
}


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    for name, content in UNREADABLE.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_bytes(content)
    (tmp_path / "a folder" / "config.yaml").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    folder = older_run(tmp_path, TINY, until=3)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    assert run_folders(tmp_path, [TINY]) == [folder]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were looked through."""
    seen: list[Path] = []
    look = module._runs_by_hash
    monkeypatch.setattr(module, "_runs_by_hash", lambda parent: (seen.append(parent), look(parent))[1])
    return seen


def test_a_folder_is_looked_through_once_and_only_for_want_of_a_name(tmp_path: Path, looks: list[Path]) -> None:
    configs: Sequence[TrainConfig] = [with_seed(seed) for seed in range(3)]
    run_folders(tmp_path, configs)
    assert looks == [tmp_path]
    for config in configs:
        (tmp_path / config_hash(config)[:12]).mkdir()
    run_folders(tmp_path, configs)
    assert looks == [tmp_path]


def test_a_sweep_goes_on_with_older_runs(tmp_path: Path, looks: list[Path]) -> None:
    out = tmp_path / "out"
    finished = older_run(out, with_seed(0), until=12, name="older0")
    begun = older_run(out, with_seed(1), until=7, name="older1")
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.pt")}
    (tmp_path / "config.yaml").write_text(TINY.to_yaml())
    runs = expand_grid(str(tmp_path / "config.yaml"), {"seed": [0, 1, 2]}, out)
    assert [run.folder for run in runs] == [finished, begun, out / config_hash(with_seed(2))[:12]]
    assert len(looks) == 1
    assert list(sweep(runs, out).table["run"]) == ["older0", "older1", runs[2].folder.name]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((begun / "manifest.json").read_text())["resumed_after_steps"] == [7]
