"""Classes of the user's own: kept as what they are where they are registered, refused in one sentence elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import icl_interp as icl
from icl_interp.measure.development.settings import DevelopmentSettings, settings_key
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.tasks.base import Labels
from icl_interp.tasks.registry import TASKS, changed_task, task_from_config, task_to_config
from icl_interp.training.configs import load_config

MODEL = icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)


class Ones(icl.LinearRegression):
    def draw_labels(self, xs: torch.Tensor, *, seed: int) -> Labels:  # noqa: ARG002
        return Labels(xs.sum(-1), torch.ones(len(xs), self.n_dims))


class Named(Ones):
    family: str = "ones"
    height: float = 1.0


class OtherNamed(Ones):
    family: str = "ones"


@pytest.fixture
def named() -> Iterator[type[Named]]:
    yield icl.register_task(Named)
    del TASKS["ones"]


def config(task: icl.Task, **fields: Any) -> icl.TrainConfig:
    return icl.TrainConfig(model=MODEL, task=task, steps=2, batch_size=4, **{"eval_every": None, **fields})


def test_a_class_that_is_not_registered_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    model = icl.build_model(MODEL, seed=0)
    sentence = r"got Ones, which would be read back as LinearRegression; .* call icl_interp.register_task\(Ones\)"
    with pytest.raises(icl.InputError, match=sentence):
        icl.save_checkpoint(tmp_path / "model.pt", model, task=Ones(2))
    with pytest.raises(icl.InputError, match=sentence):
        icl.train(config(Ones(2)), out=tmp_path / "run")
    with pytest.raises(icl.InputError, match="got Named, which would be read back as nothing"):
        task_to_config(Named(2))
    assert not list(tmp_path.iterdir())
    assert len(icl.train(config(Ones(2))).history) == 2  # nothing is kept, so nothing is lost


def test_a_registered_class_is_kept(tmp_path: Path, named: type[Named]) -> None:
    task, path = named(2, height=3.0, noise_std=0.5), tmp_path / "run"
    icl.train(config(task, checkpoints={"every": 1}, eval_every=1, eval_prompts=8), out=path)
    checkpoint = icl.load_checkpoint(path)
    assert (checkpoint.task, type(checkpoint.task)) == (task, named)
    assert checkpoint.assumptions == ()
    stored = load_config(str(path / "config.yaml"))
    assert (stored.task, type(stored.task)) == (task, named)
    assert icl.train(stored, out=path, resume=True).history[-1].step == 2
    assert type(changed_task(task, {"noise_std": 0.0})) is named
    assert type(icl.shifted(task, "x_scale", 3.0)) is named


def test_a_file_says_which_class_it_needs(tmp_path: Path, named: type[Named]) -> None:
    icl.train(config(named(2)), out=tmp_path / "run")
    icl.save_checkpoint(tmp_path / "model.pt", icl.build_model(MODEL, seed=0), task=named(2))
    del TASKS["ones"]
    sentence = rf"needs its class Named, .* import {__name__} first, and call icl_interp.register_task\(Named\)"
    with pytest.raises(icl.InputError, match=rf"model.pt: .*{sentence}"):
        icl.load_checkpoint(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=rf"config.yaml: task: .*{sentence}"):
        load_config(str(tmp_path / "run" / "config.yaml"))
    TASKS["ones"] = named


def test_names_are_unique_and_ours_stay_ours(named: type[Named]) -> None:
    assert icl.register_task(named) is named
    with pytest.raises(icl.InputError, match=r"got 'ones' in .*\.OtherNamed, which is .*\.Named's"):
        icl.register_task(OtherNamed)
    with pytest.raises(icl.InputError, match=r"got 'linear_regression' in .*Ones, which is .*LinearRegression's"):
        icl.register_task(Ones)
    assert task_from_config({"n_dims": 2}) == icl.LinearRegression(2)
    assert "defined_in" not in task_to_config(icl.LinearRegression(2))


def test_a_cell_that_runs_again_replaces_its_class(named: type[Named]) -> None:
    again = type("Named", (Ones,), {"__annotations__": {"family": str}, "family": "ones", "__module__": __name__})
    assert icl.register_task(again) is again is TASKS[named(2).family]


@pytest.mark.parametrize("kind", [int, icl.Task, Ones(2)], ids=["another class", "abstract", "an instance"])
def test_what_is_no_task_class_is_no_family(kind: Any) -> None:
    with pytest.raises(icl.InputError, match="needs a subclass of Task that defines all its methods, got"):
        icl.register_task(kind)


def test_a_class_without_a_name_is_told_how_to_get_one() -> None:
    class Nameless(icl.Task):
        def sample(self, *_: Any, **__: Any) -> Any: ...
        def label_second_moment(self) -> float: ...  # type: ignore[empty-body]
        def describe(self) -> str: ...  # type: ignore[empty-body]

    with pytest.raises(icl.InputError, match="got none in Nameless; write family: str = 'nameless' in the class"):
        icl.register_task(Nameless)


class OwnModelConfig(icl.ModelConfig):
    temperature: float = 1.0


class OwnTrainConfig(icl.TrainConfig):
    note: str = ""


class OwnTransformer(HookedICLTransformer):
    pass


def test_configs_and_models_of_ones_own_are_refused_where_they_would_come_back_as_ours(tmp_path: Path) -> None:
    own = OwnModelConfig(**MODEL.model_dump())
    with pytest.raises(icl.InputError, match="holds a ModelConfig exactly, got OwnModelConfig"):
        icl.train(config(icl.LinearRegression(2)).model_copy(update={"model": own}), out=tmp_path / "run")
    with pytest.raises(icl.InputError, match="holds a TrainConfig exactly, got OwnTrainConfig"):
        icl.train(OwnTrainConfig(model=MODEL, task=icl.LinearRegression(2), steps=1), out=tmp_path / "run")
    for model, name in ((icl.build_model(own, seed=0), "OwnModelConfig"), (OwnTransformer(MODEL), "OwnTransformer")):
        with pytest.raises(icl.InputError, match=f"exactly, got {name}, which would be read back as"):
            icl.save_checkpoint(tmp_path / "model.pt", model)
    assert not list(tmp_path.iterdir())


def test_records_of_another_task_class_are_not_read(named: type[Named]) -> None:
    keys = {settings_key(DevelopmentSettings(), task_to_config(task)) for task in (named(2), icl.LinearRegression(2))}
    assert len(keys) == 2
