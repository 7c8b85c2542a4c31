import sys
import types
from pathlib import Path

import pytest
from training_cases import TINY

from icl_interp import train

CONFIG = TINY.model_copy(update={"steps": 2, "eval_every": 2, "eval_prompts": 4, "eval_shifts": ()})


class FakeRun:
    """Stands for a wandb run and for a SummaryWriter."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, set[str]]] = []
        self.closed = False

    def log(self, record: dict[str, float], step: int) -> None:
        self.logged.append((step, set(record)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert isinstance(value, float)
        self.logged.append((step, {name}))

    def add_text(self, name: str, text: str) -> None:
        assert (name, "steps: 2" in text) == ("config", True)

    def close(self) -> None:
        self.closed = True

    finish = close


@pytest.mark.parametrize(("key", "mode"), [(None, "offline"), ("secret", "online")])
def test_wandb_never_asks_for_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None, mode: str
) -> None:
    run, started = FakeRun(), []
    for name, value in {"WANDB_MODE": "", "WANDB_API_KEY": key or ""}.items():
        monkeypatch.setenv(name, value)
    fake = types.SimpleNamespace(init=lambda **settings: started.append(settings) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    train(CONFIG, out=tmp_path / "run", log_to=["wandb"])
    assert (started[0]["mode"], started[0]["dir"]) == (mode, str(tmp_path / "run"))
    assert (started[0]["reinit"], started[0]["settings"]) == ("finish_previous", {"quiet": True})
    assert [step for step, _ in run.logged] == [1, 2]
    assert run.logged[0][1] == {"loss", "lr"}
    assert {"loss", "loss_per_point/4", "errors/in distribution"} < run.logged[1][1]
    assert run.closed


def test_tensorboard_gets_a_scalar_for_each_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, places = FakeRun(), []
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda place: places.append(place) or writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    train(CONFIG, out=tmp_path / "run", log_to=["tensorboard"])
    assert places == [str(tmp_path / "run/tensorboard")]
    assert writer.logged[:2] == [(1, {"loss"}), (1, {"lr"})]
    assert (2, {"distances/in distribution/zero"}) in writer.logged
    assert writer.closed


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("wandb", "wandb", "logging to wandb needs a package that is not there; pip install wandb"),
        ("tensorboard", "torch.utils.tensorboard", "tensorboard needs a package that is not there; pip install tens"),
        ("csv", "csv", "metrics can go to wandb, tensorboard, got 'csv'; metrics.jsonl is always written"),
    ],
)
def test_a_logger_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=message):
        train(CONFIG, out=tmp_path / "run", log_to=[name])
    assert not (tmp_path / "run").exists()  # nothing is in the way of the corrected command


def test_nobody_imports_a_logger_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("icl_interp.training.sinks._import", lambda module, _: asked.append(module))
    train(CONFIG, out=tmp_path / "run")
    assert asked == []
