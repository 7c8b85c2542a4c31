from pathlib import Path

import pytest
from pydantic import ValidationError

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.config import describe_problems, load_config, preset_names

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(model=MODEL, task=LinearRegression(2, w_cov=[[1.0, 0.5], [0.5, 1.0]]), steps=3)


def test_presets() -> None:
    assert preset_names() == ["demo"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(str(tmp_path / "config.yaml")) == config


def test_a_config_survives_yaml(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TINY.to_yaml())
    assert load_config(str(path)) == TINY
    # The resolved config: defaults are written out.
    assert "batch_size: 64" in TINY.to_yaml()
    assert "act_fn: gelu_new" in TINY.to_yaml()


SETTINGS = [
    (["steps=7"], lambda c: c.steps, 7),
    (["lr=1e-4"], lambda c: c.lr, 1e-4),
    ([f"seed={2**63 - 1}"], lambda c: c.seed, 2**63 - 1),
    (["grad_clip=null"], lambda c: c.grad_clip, None),
    (["grad_clip="], lambda c: c.grad_clip, None),
    (["schedule=constant"], lambda c: c.schedule, "constant"),
    (["model.n_layers=2"], lambda c: c.model.n_layers, 2),
    (["task.w_cov=[1, 1, 1, 1, 1, 0]"], lambda c: c.task.weight_rank, 5),
    (["task.noise_std=0.5", "task.noise_std=0.25"], lambda c: c.task.noise_std, 0.25),
    (["model={n_dims: 6, n_points: 13, n_layers: 1, n_heads: 1, d_model: 8}"], lambda c: c.model.d_model, 8),
]


@pytest.mark.parametrize(("settings", "read", "expected"), SETTINGS, ids=[" ".join(row[0]) for row in SETTINGS])
def test_settings_overrule_the_file(settings: list[str], read, expected: object) -> None:
    assert read(load_config("demo", settings)) == expected


@pytest.mark.parametrize(
    "setting", ["steps", "=3", "", "steps.more=1", "steps.more.yet=1", "task.w_cov.0=1", "model."], ids=repr
)
def test_settings_of_the_wrong_form_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"--set needs key=value such as steps=100 or model.n_layers=2, got '"):
        load_config("demo", [setting])


def test_a_setting_that_is_not_yaml_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"--set needs a YAML value, got 'steps=\[': ") as caught:
        load_config("demo", ["steps=["])
    assert "\n" not in str(caught.value)


def test_a_setting_makes_a_folder_that_the_file_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("task: {n_dims: 2}\nsteps: 1\n")
    sizes = ["n_dims=2", "n_points=5", "n_layers=1", "n_heads=1", "d_model=8"]
    assert load_config(str(path), [f"model.{size}" for size in sizes]).model == MODEL


WRONG_SETTINGS = {
    "no step": ("steps=0", "demo: steps: .*greater than or equal to 1"),
    "unknown key": ("learning_rate=1", "demo: learning_rate: Extra inputs are not permitted"),
    "unknown key of the model": ("model.dropout=1", "demo: model.dropout: Extra inputs are not permitted"),
    "unknown key of the task": (
        "task.noise=1",
        "demo: task: .*LinearRegression needs fields among n_dims, .*, got noise",
    ),
    "empty batch": ("batch_size=0", "demo: batch_size: "),
    "lr of 0": ("lr=0", "demo: lr: .*greater than 0"),
    "infinite lr": ("lr=.inf", "demo: lr: .*finite"),
    "unknown schedule": ("schedule=linear", "demo: schedule: .*'constant' or 'cosine'"),
    "negative warmup": ("warmup=-1", "demo: warmup: "),
    "grad_clip of 0": ("grad_clip=0", "demo: grad_clip: "),
    "checkpoint_every of 0": ("checkpoint_every=0", "demo: checkpoint_every: "),
    "log_every of 0": ("log_every=0", "demo: log_every: "),
    "seed in words": ("seed=zero", "demo: seed: .*valid integer"),
    "negative seed": ("seed=-1", "demo: seed: .*greater than or equal to 0"),
    "seed of 23 digits": (f"seed={10**22}", "demo: seed: .*less than 9223372036854775808"),
    "seed of 2**63": (f"seed={2**63}", "demo: seed: .*less than 9223372036854775808"),
    "other dimensions": ("model.n_dims=5", "model and task need the same n_dims, got 5 and 6; change one"),
    "long prompts": ("task.n_points=14", "prompts of 14 points do not fit a model with positions for 13; raise"),
    "heads": ("model.n_heads=3", "demo: model: .*d_model=64 and n_heads=3 .d_model needs to be a multiple"),
    "covariance": ("task.w_cov=[1, 2]", "demo: task: .*w_cov needs None"),
    "task without n_dims": ("task={}", "demo: .*n_dims"),
    "model without sizes": ("model={}", "demo: model.n_dims: Field required; model.n_points: Field required"),
    "no task": ("task=null", "demo: task: "),
}


@pytest.mark.parametrize(("setting", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_wrong_values_are_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_config("demo", [setting])
    assert "\n" not in str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ValueError, match=r"model.n_layers: .*; task.noise_std: .*; steps: "):
        load_config("demo", ["steps=0", "model.n_layers=0", "task.noise_std=-1"])
    with pytest.raises(ValueError, match=r"the same n_dims, got 2 and 3; .* prompts of 7 points do not fit"):
        TrainConfig(model=MODEL, task=LinearRegression(3), steps=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a mapping of settings at its top level, got NoneType"),
        ("- steps", "needs a mapping of settings at its top level, got list"),
        ("steps: [", "is not YAML: "),
        ("1: 2", "config.yaml: "),
        ("!!python/object/apply:os.system [true]", "is not YAML: could not determine a constructor"),
        ("steps: 1", "config.yaml: model: Field required; task: Field required"),
    ],
    ids=["empty", "list", "broken", "number as key", "code", "incomplete"],
)
def test_files_that_are_no_config_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_lists_the_presets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no config file or preset 'dmeo'; presets: demo"):
        load_config("dmeo")
    with pytest.raises(ValueError, match="no config file or preset"):
        load_config(str(tmp_path))


def test_describe_problems_passes_other_errors_on() -> None:
    assert describe_problems(TypeError("what")) == "what"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        TINY.steps = 4  # type: ignore[misc]  # that is the point
