import json
import math
import threading
from pathlib import Path

import pytest
import torch

from icl_interp import LinearRegression, ModelConfig, build_model, load_checkpoint
from icl_interp.provenance import provenance
from icl_interp.runs.folder import RunBusyError, RunFolder, is_busy, read_manifest, read_metrics


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("where", ["run", "deep/inside/run"])
def test_a_new_run_has_its_config_and_room_for_checkpoints(tmp_path: Path, where: str) -> None:
    run = RunFolder(tmp_path / where, config="steps: 1\n")
    assert files(run.path) == [".lock", "checkpoints", "config.yaml"]
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


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config="steps: 3") as run:
        run.log({"step": 1, "loss": math.nan, "errors": {"a": math.inf, "b": [-math.inf, 2.0]}})
        expected = {"step": 1, "loss": None, "errors": {"a": None, "b": [None, 2.0]}}
        assert json.loads(run.metrics_path.read_text(), parse_constant=pytest.fail) == expected
        run.metrics_path.write_text('{"step": 1, "loss": NaN}\n')  # of an older version
        run.forget_metrics_after(1)
        assert run.metrics_path.read_text() == '{"step": 1, "loss": null}\n'


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


@pytest.mark.parametrize("text", ["config", "manifest"])
def test_config_and_manifest_are_there_completely_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    def write() -> None:
        if text == "config":
            RunFolder(tmp_path / "run", config="steps: 1\n")
        else:
            run.write_manifest({"seed": 3})

    run = RunFolder(tmp_path / "other", config="")
    before = files(tmp_path / "other")
    monkeypatch.setattr("icl_interp.files.os.fsync", full)
    with pytest.raises((ValueError, OSError), match="No space left on device") as caught:
        write()
    assert "None" not in str(caught.value)
    assert files(tmp_path / "other") == before
    assert not (tmp_path / "run").exists() or files(tmp_path / "run") == [".lock"]


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config="steps: 1") as run:
        with pytest.raises(ValueError, match=r"a run has one writer, and another process writes .*; wait for it or"):
            RunFolder(tmp_path, config="steps: 1", resume=True)
        run.log({"step": 1})
    with RunFolder(tmp_path, config="steps: 1", resume=True) as again:
        assert again.read_metrics() == [{"step": 1}]


def test_asking_never_keeps_a_writer_out(tmp_path: Path) -> None:
    answers, stop = [[], []], threading.Event()

    def hammer(mine: list[bool]) -> None:
        while not stop.is_set():
            mine.append(is_busy(tmp_path))

    askers = [threading.Thread(target=hammer, args=(mine,)) for mine in answers]
    with RunFolder(tmp_path, config="steps: 1"):
        pass
    for asker in askers:
        asker.start()
    try:
        for _ in range(100):
            with RunFolder(tmp_path, config="steps: 1", resume=True):
                assert is_busy(tmp_path)
            assert not is_busy(tmp_path)
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert {answer for mine in answers for answer in mine} == {False, True}


def test_whoever_is_refused_leaves_the_writer_visible(tmp_path: Path) -> None:
    assert not is_busy(tmp_path / "nowhere")
    with RunFolder(tmp_path, config="steps: 1"):
        with pytest.raises(RunBusyError):
            RunFolder(tmp_path, config="steps: 1", resume=True)
        assert is_busy(tmp_path)
        (tmp_path / ".lock").chmod(0o444)  # who may only read may ask
        assert is_busy(tmp_path)
    assert not is_busy(tmp_path)


def test_a_run_is_found_again_without_what_a_killed_process_left(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config="steps: 1") as run:
        for step in (1, 2, 3):
            run.log({"step": step})
    for leftover in (".config.yaml.12345678.tmp", "checkpoints/.step_00000001.pt.12345678.tmp"):
        (tmp_path / leftover).write_text("half")
    with run.metrics_path.open("a") as file:
        file.write('{"step": 4, "lo')
    with RunFolder(tmp_path, config="ignored, the run has its own", resume=True) as again:
        assert [line["step"] for line in again.read_metrics()] == [1, 2, 3]
        assert [line["step"] for line in again.forget_metrics_after(2)] == [1, 2]
        assert again.metrics_path.read_text() == '{"step": 1}\n{"step": 2}\n'
        assert (tmp_path / "config.yaml").read_text() == "steps: 1"
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_process_that_was_killed_before_its_config_can_start_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.yaml.12345678.tmp").write_text("st")
    with RunFolder(tmp_path, config="steps: 1", resume=True):
        assert files(tmp_path) == [".lock", "checkpoints", "config.yaml"]


def test_a_folder_of_something_else_is_no_run_to_resume(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"a new run needs an empty folder, .* holds files"):
        RunFolder(tmp_path, config="steps: 1", resume=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_not_there_yet_reads_as_empty(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config="") as run:
        run.sync_metrics()
        assert (run.read_metrics(), run.forget_metrics_after(0), run.read_manifest()) == ([], [], {})


def test_the_manifest_is_json(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, config="")
    run.write_manifest({**provenance(), "seed": 3})
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 3


LINE = b'{"step": 1}\n'
LOGS = {
    "nothing": (b"", 0),
    "torn at the end": (LINE + b'{"step": 2, "lo', 1),
    "torn line": (LINE + b'{"step": 2, "lo\n', 1),
    "torn in a character": (LINE + '{"é'.encode()[:3] + b"\n", 1),
    "NULs at the end": (LINE + b"\0" * 100, 1),
    "lines of NULs": (LINE + b"\0" * 100 + b"\n" + b"\0\n", 1),
    "NULs before a line": (LINE + b"\0" * 100 + LINE, 2),
    "nothing but NULs": (b"\0" * 100 + b"\n", 0),
}


@pytest.mark.parametrize(("content", "count"), LOGS.values(), ids=LOGS)
def test_what_a_power_loss_leaves_of_metrics_is_passed_over(tmp_path: Path, content: bytes, count: int) -> None:
    with RunFolder(tmp_path, config="") as run:
        run.metrics_path.write_bytes(content)
        assert run.read_metrics() == read_metrics(tmp_path) == [{"step": 1}] * count
        run.forget_metrics_after(1)
        assert run.metrics_path.read_bytes() == LINE * count


@pytest.mark.parametrize("line", [b"\0\0\n", b'{"st\n', b"[1]\n", b'{"loss": 1}\n', b'{"step": "1"}\n'], ids=repr)
def test_a_damaged_line_in_the_midst_is_one_sentence(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(LINE + line + LINE)
    with pytest.raises(ValueError, match=r"got a damaged line 2: .*metrics\.jsonl; remove that line\."):
        read_metrics(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 9, b'{"finished": tr', b"[]", b'{"finished": 1}', b"\xff"], ids=repr)
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"got a damaged one: .*manifest\.json; remove it, and a resumed run writes"):
        read_manifest(tmp_path)


def test_temporary_files_of_others_stay(tmp_path: Path) -> None:
    RunFolder(tmp_path, config="").close()
    for name in (".notes.tmp", ".mine.pt.12345678.tmp", ".manifest.json.12345678.tmp"):
        (tmp_path / name).touch()
    RunFolder(tmp_path, config="", resume=True).close()
    assert sorted(path.name for path in tmp_path.glob(".*.tmp")) == [".mine.pt.12345678.tmp", ".notes.tmp"]
