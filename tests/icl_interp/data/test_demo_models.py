"""Every embedded model loads, is small, is what its preset makes, and does what is said of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.cli import probe_timeline
from icl_interp.cli.probe import _app
from icl_interp.data.models import _MODELS, FOLDER, embedded
from icl_interp.data.pack import pack
from icl_interp.errors import InputError
from icl_interp.experiments.linear_risk import linear_risk, optimal_lsa_risk
from icl_interp.measure.development import run
from icl_interp.prompts import Prompts
from icl_interp.runs.find import find_runs
from icl_interp.tasks.references import bayes_penalty
from icl_interp.training.configs import load_config
from icl_interp.training.loop import Trainer
from icl_interp.training.schedules import KEPT_BY_DEFAULT

NAMES = tuple(model.name for model in _MODELS)
NEW = [name for name in NAMES if name != "demo"]


@pytest.mark.parametrize("name", NEW)
def test_it_is_small_and_its_record_is_complete(name: str) -> None:
    model = icl.demo_models()[name]
    assert model.size < (1_200_000 if len(model.files) > 1 else 300_000)
    recipe, preset = load_config(str(model._beside("config.yaml"))), load_config(model.preset)
    assert recipe == preset
    assert (model.seed, model.task) == (recipe.seed, recipe.task)
    checkpoint = model.load()
    assert (checkpoint.model.cfg, checkpoint.task, checkpoint.step) == (recipe.model, recipe.task, recipe.steps)
    assert checkpoint.assumptions == ()
    assert {"command", "python", "torch", "seed", "seconds", "files"} <= set(model.manifest)
    assert model.manifest["command"] == f"icl-train {model.preset}"
    assert "/" not in json.dumps(dict(model.manifest))  # no machine's folders
    assert set(model.manifest["files"]) == {file.name for file in model.files}


@pytest.mark.parametrize("name", NEW)
def test_weights_are_half_precision_where_that_suffices(name: str) -> None:
    model = icl.demo_models()[name]
    for file in model.files:
        stated = model.manifest["files"][file.name]
        weights = torch.load(file, weights_only=True)["weights"].values()
        assert {str(weight.dtype) for weight in weights} == {f"torch.{stated['dtype']}"}
        assert stated.get("change_rms", 0.0) <= 1e-3
    assert all(weight.dtype == torch.float32 for weight in model.load().model.parameters())


def test_all_together_are_below_four_megabytes() -> None:
    models = icl.demo_models()
    assert tuple(models) == NAMES
    assert sum(model.size for model in models.values()) < 4_000_000
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.suffix != ".py") < 4_000_000
    assert [name for name, model in models.items() if len(model.files) == 12] == ["transience"]
    assert all(f"{name}: {model.description}" in repr(model) for name, model in models.items())
    assert len({model.good_for for model in models.values()}) == len(NAMES)


def test_the_first_steps_of_the_preset_are_the_first_checkpoints() -> None:
    model = icl.demo_models()["transience"]
    trainer = Trainer(load_config(model.preset))
    for file, step in zip(model.files, (5, 11), strict=False):
        while trainer.step < step:
            trainer.advance()
        kept = icl.load_checkpoint(file)
        assert kept.step == step
        for name, weight in kept.model.state_dict().items():
            # Rounded to 11 binary digits on their way into the file.
            torch.testing.assert_close(weight, trainer.model.state_dict()[name], rtol=2**-10, atol=1e-6)


def test_linear_models_are_near_their_exact_optima() -> None:
    block, attention = (icl.demo_models()[name].load() for name in ("ltb", "lsa"))
    mean = block.task.weight_mean.float()
    risks = [linear_risk(one.model.effective_parameters(), mean, 5).item() for one in (block, attention)]
    assert risks == pytest.approx([30 / 11, optimal_lsa_risk(mean, 5)], rel=0.005)  # Zhang et al., theorem 5.2


def distances(name: str, prompts: Prompts) -> tuple[float, float]:
    """Mean squared difference from dMMSE for the pool, and from ridge."""
    checkpoint = icl.demo_models()[name].load()
    task = checkpoint.task
    references = icl.predictors.discrete_mmse(task.weights, task.noise_std), icl.predictors.ridge(bayes_penalty(task))
    with torch.no_grad():
        said = checkpoint.model(prompts.xs, prompts.ys)
    own, ridge = (float((said - f(prompts.xs, prompts.ys)).square().mean()) for f in references)
    return own, ridge


@pytest.mark.parametrize(("name", "memorises"), [("memoriser", True), ("generaliser", False)])
def test_pools_are_memorised_or_not(name: str, memorises: bool) -> None:
    own, ridge = distances(name, icl.demo_models()[name].task.sample(512, seed=1))
    assert (own < 0.5 * ridge) if memorises else (ridge < 0.7 * own)


def test_the_transience_is_one() -> None:
    model = icl.demo_models()["transience"]
    fresh = icl.LinearRegression(4, noise_std=model.task.noise_std, n_points=8).sample(1024, seed=2)
    losses = {}
    for file in model.files:
        checkpoint = icl.load_checkpoint(file)
        with torch.no_grad():
            losses[checkpoint.step] = float((checkpoint.model(fresh.xs, fresh.ys) - fresh.ys).square().mean())
    least = min(losses, key=lambda step: losses[step])
    assert least == 1488
    assert losses[12_000] > losses[least] + 0.2  # E[y^2] is 4.1; the loss has fallen by 0.7 and rises again
    own, ridge = distances("transience", model.task.sample(512, seed=1))
    assert own < 0.2 * ridge


def errors(name: str, rival: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error by point in units of E[y^2]: of the model, and of a predictor."""
    checkpoint = icl.demo_models()[name].load()
    prompts = checkpoint.task.sample(1024, seed=1)
    with torch.no_grad():
        answers = checkpoint.model(prompts.xs, prompts.ys), rival(prompts.xs, prompts.ys)
    model, other = (
        (answer - prompts.ys).square().mean(0) / checkpoint.task.label_second_moment() for answer in answers
    )
    return model, other


def test_the_recurrent_model_solves_for_slope_and_offset() -> None:
    model, last = errors("recurrence", icl.predictors.copy_last())
    assert (model[2:] < 0.25 * last[2:]).all()  # two steps determine both; copying knows neither


def test_the_sparse_model_gains_from_sparsity_where_examples_are_few() -> None:
    model, least_squares = errors("sparse", icl.predictors.least_squares())
    assert model[1:3].sum() < 0.95 * least_squares[1:3].sum()
    assert model[-1] < 0.05  # it is trained for minutes only: least squares is exact from the fifth point on


def test_the_command_line_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded(Path("demo:ltb")) == FOLDER / "ltb.pt"
    assert embedded(Path("demo:transience")) == FOLDER / "transience"
    assert embedded(Path("other.pt")) == Path("other.pt")
    with pytest.raises(InputError, match=rf"the embedded models are {', '.join(NAMES)}, got 'demo:ltp'"):
        embedded(Path("demo:ltp"))
    refused = CliRunner().invoke(_app, ["demo:ltp"])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "name one of them, as in demo:ltb" in refused.stderr
    monkeypatch.chdir(tmp_path)
    Path("demo:mine").write_text("")
    assert embedded(Path("demo:mine")) == Path("demo:mine")


def test_nothing_is_written_into_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = find_runs([FOLDER / "transience"])
    for module in (probe_timeline, run):
        monkeypatch.setattr(module, "user_cache_path", lambda _: tmp_path / "cache")
    with probe_timeline._records_folder(None, runs) as (cache, said):
        assert cache == tmp_path / "cache"
        assert "a run folder is part of the package" in said
    (planned,) = run._plan(runs, None, {"n_heads": None, "layout": None, "loader": None}, None, "cpu", None)
    assert planned.store.folder.is_relative_to(tmp_path / "cache")


def test_packing_a_run_keeps_what_was_trained(tmp_path: Path) -> None:
    config = load_config("sparse", ["steps=3", "batch_size=2", "model.d_model=8", "model.n_layers=1", "warmup=0"])
    icl.train(config.model_copy(update={"checkpoints": KEPT_BY_DEFAULT}), out=tmp_path / "run")
    path = pack(tmp_path / "run", "sparse", folder=tmp_path)
    assert path == tmp_path / "sparse.pt"
    assert icl.load_checkpoint(path).step == 3
    manifest = json.loads((tmp_path / "sparse_manifest.json").read_text())
    assert manifest["files"]["sparse.pt"]["dtype"] == "float16"
    whole = pack(tmp_path / "run", "sparse", whole=True, folder=tmp_path)
    assert len(list((whole / "checkpoints").iterdir())) == 3
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(InputError, match="needs a finished run and a name among demo, transience"):
        pack(tmp_path / "run", "sparse", folder=tmp_path)
