from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.errors import CheckpointError
from icl_interp.tasks.linear_regression import LinearRegression


def _edit_config(run: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    edit(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


WRONG_CONFIGS: dict[str, tuple[str, str]] = {
    "no yaml": ("model: [", r"config\.yaml needs to be readable YAML, got .*; mend it or move it away"),
    "no date": ("when: 2025-13-01", r"config\.yaml \(month must be in 1\.\.12\)"),
    "binary": ("\x00", "needs to be readable YAML"),
    "python object": ("!!python/object/apply:os.getcwd []", "needs to be readable YAML"),
    "empty": (
        "",
        r"where model\.n_dims is missing; model\.n_embd is missing; .*n_positions is missing; mend it",
    ),
    "a list": ("[1, 2]", r"model\.n_dims is missing"),
    "several": (
        "model: {family: lstm, n_dims: 0, n_embd: 64, n_head: two, n_layer: 3, n_positions: true}",
        r"n_dims is 0; model\.n_head is 'two'; model\.n_positions is True; model\.family is 'lstm'; mend it",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG_CONFIGS.values(), ids=WRONG_CONFIGS.keys())
def test_wrong_config_is_one_sentence(run: Path, text: str, message: str) -> None:
    (run / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(run)
    assert "\n" not in str(caught.value)


def _training(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["training"].update(changes)


NOISY = {"task": "noisy_linear_regression", "task_kwargs": {"noise_std": 0.5}}
RENORMALISED = {
    "task": "noisy_linear_regression",
    "task_kwargs": {"noise_std": 2.0, "scale": 2.0, "renormalize_ys": True},
}
KNOWN_TASKS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "noise": (NOISY, {"noise_std": 0.5}, []),
    "noise not asked for": ({"task": "noisy_linear_regression", "task_kwargs": None}, {}, []),
    "scale": ({"task_kwargs": {"scale": 3}}, {"w_cov": 9.0}, []),
    # E[y^2] = 5 * 2^2 + 2^2 = 24 is brought to n_dims = 5: weights and noise shrink by sqrt(5 / 24).
    "renormalised": (
        RENORMALISED,
        {"w_cov": 4 * 5 / 24, "noise_std": 2 * (5 / 24) ** 0.5},
        ["expected factor 0.4564"],
    ),
    "noise is no setting of the plain task": (
        {"task_kwargs": {"noise_std": 1}},
        {},
        ["settings noise_std are not"],
    ),
    "other task": (
        {"task": "relu_2nn_regression"},
        {},
        ["trained on relu_2nn_regression: linear regression with"],
    ),
    "no task": ({"task": None}, {}, ["does not say what the model was trained on"]),
    "pool": ({"num_tasks": 8}, {}, ["a fixed pool of 8 weight vectors"]),
    "examples": ({"num_training_examples": 100}, {}, ["drew from 100 fixed prompts"]),
    "inputs": ({"data": "uniform"}, {}, ["Inputs of training came from 'uniform'"]),
    "two at once": ({"data": "uniform", "num_tasks": 1}, {}, ["'uniform'", "fixed pool of 1 "]),
}


@pytest.mark.parametrize(("changes", "fields", "assumed"), KNOWN_TASKS.values(), ids=KNOWN_TASKS.keys())
def test_task_of_the_config(run: Path, changes: dict[str, Any], fields: dict[str, Any], assumed: list[str]) -> None:
    _edit_config(run, _training(**changes))
    checkpoint = load_checkpoint(run)
    expected = LinearRegression(5, n_points=11, **fields)
    torch.testing.assert_close(checkpoint.task.weight_cov, expected.weight_cov)
    assert checkpoint.task.noise_std == pytest.approx(expected.noise_std)
    assert len(checkpoint.assumptions) == len(assumed)
    for sentence, part in zip(checkpoint.assumptions, assumed, strict=True):
        assert part in sentence
        assert "`--task " in sentence


def test_renormalised_labels_have_variance_n_dims(run: Path) -> None:
    _edit_config(run, _training(**RENORMALISED))
    assert load_checkpoint(run).task.label_second_moment() == pytest.approx(5.0)


@pytest.mark.parametrize("value", ["big", -1, float("nan"), True])
def test_impossible_scale(run: Path, value: object) -> None:
    _edit_config(run, _training(task_kwargs={"scale": value}))
    with pytest.raises(CheckpointError, match=r"config\.yaml: .*at least 0 under training\.task_kwargs\.scale, got "):
        load_checkpoint(run)
    _edit_config(run, _training(task_kwargs={"scale": 0}))
    with pytest.raises(CheckpointError, match=r"scale above 0, got 0; mend it"):
        load_checkpoint(run)


def test_no_training_block_is_assumed(run: Path) -> None:
    _edit_config(run, lambda config: config.pop("training"))
    checkpoint = load_checkpoint(run)
    assert len(checkpoint.assumptions) == 2
    assert checkpoint.n_points_trained == 11


def _curriculum(part: str, **changes: int) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["training"]["curriculum"][part].update(changes)


def test_points_beyond_the_curriculum_are_untrained(run: Path) -> None:
    _edit_config(run, _curriculum("points", end=7))
    checkpoint = load_checkpoint(run)
    assert (checkpoint.n_points_trained, checkpoint.task.default_points) == (7, 7)
    _edit_config(run, _curriculum("points", end=99))
    assert load_checkpoint(run).n_points_trained == 11  # the table's


def test_inputs_cut_off_by_the_curriculum(run: Path) -> None:
    _edit_config(run, _curriculum("dims", end=3))
    checkpoint = load_checkpoint(run)
    assert checkpoint.task.input_cov.diagonal().tolist() == [1, 1, 1, 0, 0]
    assert any("3 non-zero coordinates of 5" in note for note in checkpoint.notes)


def test_checkpoint_from_the_middle_of_the_curriculum(run: Path) -> None:
    weights = torch.load(run / "state.pt", weights_only=True)["model_state_dict"]
    torch.save(weights, run / "model_1000.pt")
    checkpoint = load_checkpoint(run / "model_1000.pt")
    # Two intervals of 500 steps: 5 + 2 * 2 points and 2 + 2 * 1 dimensions.
    assert (checkpoint.step, checkpoint.n_points_trained) == (1000, 9)
    assert any("on its way to 11 points" in note for note in checkpoint.notes)
    assert len(checkpoint.assumptions) == 1
    assert "reached 4 of 5 coordinates of x" in checkpoint.assumptions[0]
    assert "`--task x_cov=[1,1,1,1,0]`" in checkpoint.assumptions[0]


def test_a_file_of_another_name_has_no_step_and_a_finished_curriculum(run: Path) -> None:
    torch.save(torch.load(run / "state.pt", weights_only=True)["model_state_dict"], run / "final.pt")
    checkpoint = load_checkpoint(run / "final.pt")
    assert (checkpoint.step, checkpoint.n_points_trained, checkpoint.assumptions) == (None, 11, ())
    assert "unknown step" in repr(checkpoint)
