import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training import configs as config_module
from icl_interp.training.configs import _describe_problems, _preset_names, load_config
from icl_interp.training.schedules import CheckpointSteps

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(model=MODEL, task=LinearRegression(2, w_cov=[[1.0, 0.5], [0.5, 1.0]]), steps=3)


def test_presets() -> None:
    assert {"demo", "dtsip-small", "dtsip-standard", "dtsip-tiny"} < set(_preset_names())
    assert _preset_names() == sorted(_preset_names())


@pytest.mark.parametrize(("name", "sizes"), [("tiny", (3, 2, 64)), ("small", (6, 4, 128)), ("standard", (12, 8, 256))])
def test_the_presets_of_garg_et_al(name: str, sizes: tuple[int, int, int]) -> None:
    config = load_config(f"dtsip-{name}")
    assert (config.model.n_layers, config.model.n_heads, config.model.d_model) == sizes
    assert (config.lr, config.batch_size, config.steps, config.model.n_points) == (1e-4, 64, 500_000, 101)
    # From their config: five dimensions and 11 points, one and two more every 2000 steps, until 20 and 41.
    reached = [(config.n_dims_at(step), config.n_points_at(step)) for step in (1, 2001, 30_000, 30_001, 500_000)]
    assert reached == [(5, 11), (6, 13), (19, 39), (20, 41), (20, 41)]
    assert config.checkpoint_steps == (0, 100_000, 200_000, 300_000, 400_000, 500_000)


@pytest.mark.parametrize("name", _preset_names())
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
    with pytest.raises(ValueError, match=r"the value of --set 'steps=\[' is not YAML: ") as caught:
        load_config("demo", ["steps=["])
    assert "\n" not in str(caught.value)


def test_a_setting_makes_a_folder_that_the_file_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("task: {n_dims: 2}\nsteps: 1\n")
    sizes = ["n_dims=2", "n_points=5", "n_layers=1", "n_heads=1", "d_model=8"]
    assert load_config(str(path), [f"model.{size}" for size in sizes]).model == MODEL


WRONG_SETTINGS = {
    "no step": ("steps=0", "demo: steps: .*greater than or equal to 1"),
    "unknown key": ("learning_rate=1", "demo: learning_rate is no setting; there are model, task, steps, .*, seed"),
    "misspelt key": ("stepss=3", r"demo: stepss is no setting; did you mean steps\?"),
    "misspelt key of the model": ("model.n_layer=3", r"demo: model.n_layer is no setting; did you mean model.n_layers"),
    "unknown key of the model": (
        "model.dropout=1",
        "model.dropout is no setting; there are model.family, ",
    ),
    "a number for checkpoints": ("checkpoints=5", r"demo: checkpoints needs a mapping such as \{every: 100\}, got 5"),
    "one name for a list": ("eval_shifts=w_fresh", r"eval_shifts needs a list of names such as \[x_skewed.*got 'w_fr"),
    "one beta": ("betas=1", r"betas needs a list of two numbers such as \[0.9, 0.999\], got 1"),
    "a model in a word": ("model=gpt2", "model needs a mapping such as {n_dims: 5, .*got 'gpt2'"),
    "unknown key of the task": (
        "task.noise=1",
        "demo: task: .*LinearRegression needs fields among n_dims, .*, got noise",
    ),
    "empty batch": ("batch_size=0", "demo: batch_size: "),
    "lr of 0": ("lr=0", "demo: lr: .*greater than 0"),
    "infinite lr": ("lr=.inf", "demo: lr: .*finite"),
    "unknown schedule": ("schedule=linear", "demo: schedule: .*'constant', 'cosine', 'triangle'"),
    "negative warmup": ("warmup=-1", "demo: warmup: "),
    "grad_clip of 0": ("grad_clip=0", "demo: grad_clip: "),
    "checkpoint_every of 0": ("checkpoint_every=0", "demo: checkpoints.every: .*greater than or equal to 1"),
    "unknown schedule of checkpoints": (
        "checkpoints.evry=2",
        r"demo: checkpoints.evry is no setting; did you mean checkpoints.every\?",
    ),
    "unknown key of the curriculum": (
        "curriculum.dim=2",
        r"curriculum.dim is no setting; did you mean curriculum.dims\?",
    ),
    "parts that do not divide": ("accumulate=3", "accumulate needs to divide batch_size, got 3 and 64; change one"),
    "momentum of Adam": ("momentum=0.9", "momentum needs optimizer sgd, got 0.9 with adam; Adam's is betas"),
    "beta of 1": ("betas=[0.9, 1.0]", r"betas need two numbers from 0 to below 1, got \(0.9, 1.0\)"),
    "unknown optimiser": ("optimizer=lion", "demo: optimizer: .*'adam', 'adamw' or 'sgd'"),
    "unknown precision": ("precision=float16", "demo: precision: .*'float32', 'bfloat16' or 'float64'"),
    "unknown points": ("loss_points=first", "demo: loss_points: .*'all' or 'last'"),
    "one prompt in evaluations": ("eval_prompts=1", "demo: eval_prompts: "),
    "eval_every of 0": ("eval_every=0", "demo: eval_every: "),
    "log_every of 0": ("log_every=0", "demo: log_every: "),
    "unknown key of a ramp": (
        "curriculum={points: {start: 2, end: 6, interval: 9, steep: 1}}",
        "curriculum.points.steep is no setting; there are curriculum.points.start, ",
    ),
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
    "no task": ("task=null", "demo: task needs a mapping such as {family: "),
}


@pytest.mark.parametrize(("setting", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_wrong_values_are_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_config("demo", [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("steps", "warmup"), [(3, 0), (9, 9), (9, 1)])
@pytest.mark.parametrize("schedule", ["triangle", "one_cycle"])
def test_a_peak_needs_room_on_both_sides(schedule: str, steps: int, warmup: int) -> None:
    with pytest.raises(ValueError, match=f"{schedule} needs its peak after step 1 and before the last step, got step"):
        TrainConfig(model=MODEL, task=LinearRegression(2), steps=steps, warmup=warmup, schedule=schedule)


def test_older_files_say_checkpoint_every() -> None:
    assert load_config("demo", ["checkpoint_every=5"]).checkpoints == CheckpointSteps(every=5)
    assert load_config("demo", ["checkpoint_every=null"]).checkpoints is None
    assert load_config("demo", ["checkpoints=null"]).checkpoint_steps == (10_000,)
    with pytest.raises(ValueError, match="say checkpoints or checkpoint_every, not both"):
        load_config("demo", ["checkpoint_every=5", "checkpoints={log: 5}"])


def test_a_config_that_says_nothing_of_checkpoints_keeps_twelve() -> None:
    steps = load_config("demo").checkpoint_steps
    assert (len(steps), steps[0], steps[-1]) == (12, 10, 10_000)
    ratios = [later / earlier for earlier, later in itertools.pairwise(steps)]
    assert max(ratios) < 1.15 * min(ratios)  # equal up to whole steps
    assert len(load_config("demo", ["steps=3"]).checkpoint_steps) == 3
    assert TrainConfig(model=MODEL, task=TINY.task, steps=5).checkpoint_steps == (5,)


EVERYTHING = [
    "accumulate=2", "optimizer=adamw", "betas=[0.5, 0.25]", "adam_eps=0.1", "weight_decay=0.2", "schedule=one_cycle",
    "loss_points=last", "scale_loss=true", "precision=bfloat16", "compile=true", "eval_every=3", "eval_prompts=7",
    "eval_shifts=[x_scale=2]", "checkpoints={every: 2, linear: 3, log: 4, horizon: 5}",
    "curriculum={dims: {start: 2, end: 3, interval: 4}, points: {start: 2, end: 6, inc: 2, interval: 9}}",
]  # fmt: skip


def test_every_option_survives_yaml(tmp_path: Path) -> None:
    config = load_config("demo", EVERYTHING)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(str(tmp_path / "config.yaml")) == config
    plain = load_config("demo").model_dump()
    changed = {name for name, value in config.model_dump().items() if value != plain[name]}
    assert changed == {setting.partition("=")[0] for setting in EVERYTHING}


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
    with pytest.raises(ValueError, match=r"no config file or preset 'dmeo'; presets: carroll, .*demo, "):
        load_config("dmeo")
    with pytest.raises(ValueError, match="no config file or preset"):
        load_config(str(tmp_path))


def test_describe_problems_passes_other_errors_on() -> None:
    assert _describe_problems(TypeError("what")) == "what"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        TINY.steps = 4  # type: ignore[misc]  # that is the point


def test_shifts_are_checked_before_the_run() -> None:
    wrong = {"eval_shifts": ["x_scale=2", "x_scael", "w_fresh", "x_scale=many", "longer_prompts"], "accumulate": 3}
    values = TINY.model_dump() | wrong | {"eval_every": 100}
    with pytest.raises(ValueError, match="accumulate needs to divide batch_size") as caught:
        TrainConfig(**values)
    for problem in (
        "eval_shifts: unknown shift 'x_scael'; there are: ",
        "eval_shifts: the shift w_fresh needs a task with ",
        "'many'",
        "eval_shifts: the shift longer_prompts needs a model with positions for more than 5 points",
    ):
        assert problem in str(caught.value)
    with pytest.raises(ValueError, match="demo: eval_shifts: unknown shift 'x_scael'"):
        load_config("demo", ["eval_shifts=[x_scael]"])


def test_shifts_do_not_matter_where_nothing_is_evaluated() -> None:
    config = TrainConfig(**(TINY.model_dump() | {"eval_every": None, "eval_shifts": ["x_scael"]}))
    assert config.eval_shifts == ("x_scael",)


@pytest.mark.parametrize(("name", "example"), config_module._KINDS.items(), ids=config_module._KINDS)
def test_examples_in_messages_are_settings(name: str, example: str) -> None:
    load_config("demo", _fitting(name, example[example.index(" such as ") + 9 :]))


def _fitting(name: str, example: str) -> list[str]:
    return [f"{name}={example}", "task.n_dims=5", "model.n_dims=5", "task.w_cov=null"]
