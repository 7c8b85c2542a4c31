"""icl-train: a tiny run, the folder it leaves, and one-sentence refusals."""

import json
import re

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.cli import probe_job
from icl_interp.cli.probe import _app as probe_app
from icl_interp.cli.train import _app

TINY = [
    "steps=4", "log_every=2", "batch_size=4", "warmup=0", "model.d_model=8", "model.n_layers=1", "model.n_heads=1",
    "checkpoints=null",
]  # fmt: skip


def arguments(*extra: object, settings=TINY) -> list[str]:
    return ["demo", *(word for setting in settings for word in ("--set", setting)), *map(str, extra)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    result = CliRunner().invoke(_app, arguments("--out", folder))
    assert result.exit_code == 0, result.stderr
    return folder, result


def test_a_run_leaves_config_manifest_metrics_and_checkpoint(run):
    folder, result = run
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "manifest.json", "metrics.jsonl", "resume.pt",
    ]  # fmt: skip
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["steps"], config["model"]["d_model"], config["schedule"]) == (4, 8, "cosine")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics][-1] == 4
    assert "loss" in json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert json.loads((folder / "manifest.json").read_text())
    assert result.stdout.startswith(f"{folder / 'checkpoints' / 'step_00000004.pt'}: loss ")
    assert result.stdout.endswith(" after 4 steps\n")


def test_a_warm_up_longer_than_the_run_is_told(tmp_path):
    long = [setting for setting in TINY if not setting.startswith("warmup")]
    result = CliRunner().invoke(_app, arguments("--out", tmp_path / "a", settings=[*long, "warmup=9", "lr=0.003"]))
    assert result.exit_code == 0
    note = "note: a warm-up of 9 steps is longer than the run of 4, so lr never reaches 0.003; set warmup as well.\n"
    assert note in result.stderr
    options = ("--out", tmp_path / "b", "--quiet")
    quiet = CliRunner().invoke(_app, arguments(*options, settings=[*long, "warmup=9"]))
    assert quiet.output == ""
    exact = CliRunner().invoke(_app, arguments("--out", tmp_path / "c", settings=[*long, "warmup=4"]))
    assert "note" not in exact.stderr


def test_the_checkpoint_knows_its_task(run):
    checkpoint = load_checkpoint(run[0])
    assert checkpoint.step == 4
    assert checkpoint.assumptions == ()
    assert checkpoint.task.weight_rank == 3


def test_what_was_trained_can_be_probed(run, monkeypatch):
    """Up to the measures, which other tests of icl-probe run on other runs."""
    probed = []
    monkeypatch.setattr(
        "icl_interp.measure.study.run.run_study", lambda plan, _: probed.append((plan.model, plan.task))
    )
    monkeypatch.setattr(probe_job, "_write", lambda *_: None)
    result = CliRunner().invoke(probe_app, [str(run[0]), "--prompts", "8", "--shifts", "w_rotation=1", "--no-controls"])
    assert result.exit_code == 0, result.stderr
    assert "note: there is no timeline, since this run kept one checkpoint" in result.stdout
    ((model, task),) = probed
    assert (model.cfg.d_model, task.weight_rank) == (8, 3)


def test_equal_seeds_give_equal_losses_and_quiet_prints_nothing(run, tmp_path):
    result = CliRunner().invoke(_app, arguments("--quiet", "--out", tmp_path / "again"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run[0], tmp_path / "again")
    ]
    np.testing.assert_allclose(*losses, rtol=0)  # the same operations on one thread


def test_a_config_may_be_a_file(run, tmp_path):
    result = CliRunner().invoke(_app, [str(run[0] / "config.yaml"), "--set", "steps=1", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.stderr
    assert load_checkpoint(tmp_path / "run").step == 1


BAD = {
    "unknown preset": (["nope"], [], "no config file or preset 'nope'; presets: carroll"),
    "unknown key": (["demo"], ["stepz=3"], r"demo: stepz is no setting; did you mean steps\?"),
    "impossible value": (["demo"], ["steps=0"], "steps: Input should be greater than or equal to 1"),
    "negative seed": (["demo"], ["seed=-1"], "seed: Input should be greater than or equal to 0"),
    "seed of 23 digits": (["demo"], [f"seed={10**22}"], "seed: Input should be less than 9223372036854775808"),
    "two problems": (["demo"], ["steps=0", "lr=-1"], "steps: .*; lr: "),
    "model and task differ": (["demo"], ["model.n_dims=2"], "the same n_dims, got 2 and 6"),
    "no value": (["demo"], ["steps"], "--set needs key=value"),
    "no key": (["demo"], ["=3"], "--set needs key=value"),
    "a key inside a number": (["demo"], ["steps.x.y=1"], "--set needs key=value"),
    "no YAML": (["demo"], ["steps=["], "the value of --set .* is not YAML"),
}


@pytest.mark.parametrize(("config", "settings", "message"), BAD.values(), ids=BAD)
def test_bad_configs_leave_no_run(refuses, tmp_path, config, settings, message):
    words = [word for setting in settings for word in ("--set", setting)]
    assert re.search(message, refuses(_app, *config, *words, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


CONFIG_FILES = {
    "a list": ("- 1\n", "needs a mapping of settings at its top level, got list"),
    "no YAML": ("steps: [\n", "is not YAML"),
    "nothing in it": ("{}\n", "model: Field required"),
}


@pytest.mark.parametrize(("text", "message"), CONFIG_FILES.values(), ids=CONFIG_FILES)
def test_bad_config_files(refuses, tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    assert message in refuses(_app, tmp_path / "config.yaml", "--out", tmp_path / "run")


def test_a_run_is_never_overwritten(refuses, run):
    assert "holds files; choose another --out" in refuses(_app, *arguments("--out", run[0]))


def test_a_file_is_no_run_folder(refuses, tmp_path):
    (tmp_path / "run").write_text("a file")
    assert "needs a folder that can be written" in refuses(_app, *arguments("--out", tmp_path / "run"))


def test_a_loss_that_diverges_is_one_sentence(tmp_path):
    result = CliRunner().invoke(
        _app, arguments("--set", "lr=1e30", "--set", "grad_clip=null", "--quiet", "--out", tmp_path / "run")
    )
    assert result.exit_code == 2
    assert re.fullmatch(r"error: the loss was (nan|inf) at step \d+; lower lr .*\n", result.stderr)
    assert f"{tmp_path / 'run'} keeps what was logged, so remove it or choose another --out" in result.stderr


def test_a_device_that_is_not_there(refuses, tmp_path):
    message = "the model needs a device that this machine has, got 'nonsense'"
    assert message in refuses(_app, *arguments("--device", "nonsense", "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_sweep_does_not_go_into_a_single_run(refuses, run):
    grid = run[0].parent / "grid.yaml"
    grid.write_text("seed: [0, 1]\n")
    said = refuses(_app, *arguments("--sweep", grid, "--out", run[0]))
    assert said == f"a sweep needs a folder for many runs, {run[0]} holds a single one; choose another --out."


def test_a_wrong_grid_is_blamed_itself(refuses, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("seed: [0]\nlearning: [1]\n")
    said = refuses(_app, *arguments("--sweep", grid, "--out", tmp_path / "runs"))
    assert said.startswith(f"{grid}, at seed=0, learning=1: learning is no setting; ")
    said = refuses(_app, *arguments("--sweep", grid, "--set", "stepz=3", "--out", tmp_path / "runs"))
    assert said == "demo: stepz is no setting; did you mean steps?"


@pytest.mark.parametrize("option", [["--resume"], ["--log-to", "wandb"], ["--device", "cuda"], ["--threads", "2"]])
def test_what_a_sweep_does_not_take(refuses, tmp_path, option):
    grid = tmp_path / "grid.yaml"
    grid.write_text("seed: [0, 1]\n")
    said = refuses(_app, *arguments("--sweep", grid, *option, "--out", tmp_path / "runs"))
    assert f"so it takes no {option[0]}" in said
    assert not (tmp_path / "runs").exists()
