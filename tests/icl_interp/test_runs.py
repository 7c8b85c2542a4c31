import json
from pathlib import Path

import pytest
import torch

from icl_interp import LinearRegression, ModelConfig, build_model, load_checkpoint
from icl_interp.provenance import provenance
from icl_interp.runs import RunFolder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("where", ["run", "deep/inside/run"])
def test_a_new_run_has_its_config_and_room_for_checkpoints(tmp_path: Path, where: str) -> None:
    run = RunFolder(tmp_path / where, config="steps: 1\n")
    assert files(run.path) == ["checkpoints", "config.yaml"]
    assert (tmp_path / where / "config.yaml").read_text() == "steps: 1\n"


def test_an_empty_folder_that_exists_will_do(tmp_path: Path) -> None:
    assert RunFolder(str(tmp_path), config="").path == tmp_path


@pytest.mark.parametrize("content", ["config.yaml", "notes.txt", ".hidden"])
def test_a_folder_with_files_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("mine")
    with pytest.raises(ValueError, match=r"a new run needs an empty folder, .* holds files; choose another --out"):
        RunFolder(tmp_path, config="new")
    assert files(tmp_path) == [content]
    assert (tmp_path / content).read_text() == "mine"


@pytest.mark.parametrize(("where", "reason"), [("file", "File exists"), ("file/run", "Not a directory")])
def test_a_place_that_is_no_folder_is_refused(tmp_path: Path, where: str, reason: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=rf"a run needs a folder that can be written, got .* \({reason}\); choose"):
        RunFolder(tmp_path / where, config="")
    assert (tmp_path / "file").read_text() == "mine"


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, config="")
    records = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-30}]
    for record in records:
        run.log(record)
    assert [json.loads(line) for line in run.metrics_path.read_text().splitlines()] == records
    assert run.metrics_path == tmp_path / "metrics.jsonl"


def test_checkpoints_sort_by_step_and_load(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, config="")
    model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
    task = LinearRegression(2, noise_std=0.5)
    paths = [run.save(model, task, step) for step in (0, 5, 10_000)]
    assert [path.name for path in paths] == ["step_00000000.pt", "step_00000005.pt", "step_00010000.pt"]
    assert paths == sorted(paths) == [run.checkpoint_path(step) for step in (0, 5, 10_000)]
    loaded = load_checkpoint(paths[1])
    assert (loaded.step, loaded.task, loaded.assumptions) == (5, task, ())
    for name, weight in model.named_parameters():
        torch.testing.assert_close(loaded.model.get_parameter(name), weight, rtol=0, atol=0)
    # The folder itself is as good as its newest checkpoint.
    assert load_checkpoint(tmp_path).step == 10_000


def test_the_manifest_is_json(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, config="")
    run.write_manifest({**provenance(), "seed": 3})
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 3


def test_provenance_says_what_a_result_was_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/bin/icl-train", "my run.yaml", "--set", "lr=1"])
    record = provenance()
    assert set(record) == {
        "command", "time", "python", "platform", "threads",
        "icl_interp", "torch", "transformer_lens", "numpy", "scipy", "plotly",
    }  # fmt: skip
    assert record["command"] == "icl-train 'my run.yaml' --set lr=1"
    assert record["threads"] == torch.get_num_threads()
    assert record["torch"] == torch.__version__
    assert "not installed" not in record.values()
    assert not any("/home/me" in str(value) for value in record.values())


def test_provenance_survives_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.provenance._PACKAGES", ("no-such-package",))
    assert provenance()["no_such_package"] == "not installed"
