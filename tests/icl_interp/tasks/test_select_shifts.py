import re
from functools import partial

import pytest

from icl_interp import (
    SHIFTS,
    LinearRegression,
    QuadraticRegression,
    ReluNetworkRegression,
    SineRegression,
    shifted,
)
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts.select import (
    ALIASES,
    _check_strength,
    left_out_for_length,
    select_shifts,
)
from icl_interp.tasks.shifts.suite import DTSIP_EVALUATIONS

ISOTROPIC = LinearRegression(4)
SUBSPACE = LinearRegression(4, w_cov=[2.0, 2.0, 0.0, 0.0])
SCALES = ["=1/3", "=1/2", "=2", "=3"]
ALWAYS = [
    *[f"x_scale{s}" for s in SCALES],
    *[f"w_scale{s}" for s in SCALES],
    "x_skewed",
    "x_half_subspace",
    "x_mean=1",
    "label_noise=1",
    "random_orthants",
]
ALL_SCALES = ["=1/4", "=1/3", "=1/2", "=2", "=3", "=4"]
SHARES = ["=1/4", "=1/3", "=1/2", "=2/3", "=3/4"]
X_SCALES, W_SCALES = ([f"{name}{s}" for s in ALL_SCALES] for name in ("x_scale", "w_scale"))
EVERYTHING = [
    *X_SCALES,
    *W_SCALES,
    "x_skewed",
    "x_half_subspace",
    "x_mean=1",
    "label_noise=1",
    "random_orthants",
    *[f"w_rotation{s}" for s in [*SHARES, "=1"]],
    "w_mean=1",
    "x_heavy_tails=3",
    "noise_heavy_tails=1",
    *[f"x_mixed{s}" for s in SHARES],
    *[f"w_mixed{s}" for s in SHARES],
    "random_quadrants",
    "orthogonal_train_test",
    "overlapping_train_test",
    "longer_prompts=3/2",
    "longer_prompts=2",
]
TURNS = ["w_rotation=1/4", "w_rotation=1/2", "w_rotation=1"]


def labels(task: Task, patterns: list[str] | None = None) -> list[str]:
    return [entry.label for entry in select_shifts(task, patterns)]


def test_the_whole_suite() -> None:
    assert labels(ISOTROPIC) == ALWAYS
    assert labels(SUBSPACE) == ALWAYS + TURNS
    assert labels(LinearRegression(1)) == [name for name in ALWAYS if name not in ("x_skewed", "x_half_subspace")]


PATTERNS = [
    (["x_scale"], X_SCALES),
    (["x_scale=3"], ["x_scale=3"]),
    (["x_scale=1/3"], ["x_scale=1/3"]),
    (["x_scale=0.5"], ["x_scale=1/2"]),
    (["x_scale=0.3"], ["x_scale=0.3"]),
    (["w_rotation=3/4"], ["w_rotation=3/4"]),
    (["x_mean=-1"], ["x_mean=-1"]),
    (["x_s*"], [*X_SCALES, "x_skewed"]),
    (["?_scale"], [*X_SCALES, *W_SCALES]),
    (["*"], EVERYTHING),
    (["all"], EVERYTHING),
    (["half_subspace", "skewed"], ["x_skewed", "x_half_subspace"]),
    (["scale-x"], X_SCALES),
    (["scale-x=0.333", "scale-y=2"], ["x_scale=1/3", "w_scale=2"]),
    (["x_scale=0.333", "x_scale=1/3"], ["x_scale=1/3"]),
    (["w_rotation=0.667", "w_rotation=.6666"], ["w_rotation=2/3"]),
    (["x_scale=0.33", "x_scale=0.335"], ["x_scale=0.33", "x_scale=0.335"]),
    (["w_complement=1"], ["w_rotation=1"]),
    (["longer_prompts=64"], ["longer_prompts=64"]),
    (["noisyLR"], ["label_noise=1"]),
    (["noisyLR=2"], ["label_noise=2"]),
    (["w_complement"], ["w_rotation=1"]),
    (["standard"], []),
    (["scale-*"], [*X_SCALES, *W_SCALES]),
    (["half_*", "noisy*"], ["x_half_subspace", "label_noise=1"]),
    (["w_comp*"], ["w_rotation=1"]),
    (["x_heavy_tails=5"], ["x_heavy_tails=5"]),
    (["longer_prompts=5/4"], ["longer_prompts=5/4"]),
    (["random_orthants", "x_scale=2"], ["x_scale=2", "random_orthants"]),
    (["x_scale=3", "x_scale=1/3", "x_scale=2"], ["x_scale=1/3", "x_scale=2", "x_scale=3"]),
    (["x_scale=2", "x_scale", "x_scale=2.0", "x_scale=4/2"], X_SCALES),
    ([" x_skewed "], ["x_skewed"]),
    ([], []),
]


@pytest.mark.parametrize(("patterns", "expected"), PATTERNS, ids=[" ".join(row[0]) for row in PATTERNS])
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    assert labels(SUBSPACE, patterns) == expected


def test_a_glob_leaves_out_what_does_not_apply() -> None:
    assert labels(ISOTROPIC, ["w_*"]) == [*W_SCALES, "w_mean=1"]


def test_an_entry_knows_its_strength_and_says_what_it_does() -> None:
    (third,) = select_shifts(ISOTROPIC, ["x_scale=1/3"])
    assert third.meaning == "inputs multiplied by 1/3"
    assert third.value == 1 / 3
    assert third.shift is SHIFTS["x_scale"]
    assert third.source == shifted(ISOTROPIC, "x_scale", 1 / 3)
    (orthants,) = select_shifts(ISOTROPIC, ["random_orthants"])
    assert orthants.meaning == "all inputs of a prompt in one random orthant"
    assert orthants.value is None


REFUSED = [
    (ISOTROPIC, "x_scal", "unknown shift 'x_scal'; there are: x_scale, w_scale, .*w_rotation"),
    (ISOTROPIC, "z_*", r"unknown shift 'z_\*'; there are: x_scale"),
    (ISOTROPIC, "x_*=3", r"the glob 'x_\*' takes no strength, got '3'; name one shift"),
    (ISOTROPIC, "standard=2", "standard is the task itself and takes no strength, got '2'; leave it out"),
    (
        SUBSPACE,
        "w_complement=0.5",
        "w_complement is w_rotation=1 and takes no other strength, got 0.5; type w_rotation=",
    ),
    (ISOTROPIC, "half_subspace=2", r"the shift half_subspace \(x_half_subspace\) takes no strength, got 2.0"),
    (ISOTROPIC, "scale-x=big", "the strength of scale-x needs a number .*, got 'big'"),
    (ISOTROPIC, "x_scale=-2", "x_scale takes a factor of at least 0, got -2.0"),
    (ISOTROPIC, "scale-y=-1", r"scale-y \(w_scale\) takes a factor of at least 0, got -1.0"),
    (ISOTROPIC, "longer_prompts=65", "longer_prompts takes a factor above 1, at most 64, got 65.0"),
    (ISOTROPIC, "x_scale=nan", "the shift x_scale takes a number as strength, got nan"),
    (ISOTROPIC, "x_scale=", "the strength of x_scale needs a number such as 3 or 1/3, got ''"),
    (ISOTROPIC, "x_scale=big", "the strength of x_scale needs a number .*, got 'big'"),
    (ISOTROPIC, "x_scale=1/0", "the strength of x_scale needs a number .*, got '1/0'"),
    (ISOTROPIC, "x_scale=1/2/3", "the strength of x_scale needs a number .*, got '1/2/3'"),
    (ISOTROPIC, "x_skewed=2", r"the shift x_skewed takes no strength, got 2.0; see SHIFTS\['x_skewed'\]"),
    (ISOTROPIC, "label_noise=-1", "label_noise takes a standard deviation of at least 0, got -1.0"),
    (SUBSPACE, "w_rotation=2", "w_rotation takes a share of energy from 0 to 1, got 2.0"),
    (SUBSPACE, "w_rotation=-1/4", "w_rotation takes a share of energy from 0 to 1, got -0.25"),
    (ISOTROPIC, "w_rotation=1", "the shift w_rotation needs a task with weights confined to a subspace; leave"),
    (ISOTROPIC, "w_rotation", "the shift w_rotation needs a task with weights confined to a subspace"),
    (LinearRegression(4, w_cov=0.0), "w_rot*", "the shift w_rotation needs a task with weights confined"),
    (LinearRegression(1), "x_skewed", "the shift x_skewed needs a task with more than one dimension"),
    (LinearRegression(1), "x_half_subspace", "the shift x_half_subspace needs a task with more than one dimension"),
]


@pytest.mark.parametrize(("task", "pattern", "message"), REFUSED, ids=[row[1] for row in REFUSED])
def test_patterns_that_are_refused(task: Task, pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_shifts(task, [pattern])


@pytest.mark.parametrize("value", ["inf", "-inf", "1e+200", "-1e+200", "1000000.5"])
@pytest.mark.parametrize("name", [name for name, shift in SHIFTS.items() if shift.values])
def test_strengths_that_are_no_number_or_beyond_float32_are_refused(name: str, value: str) -> None:
    with pytest.raises(
        ValueError, match=rf"the shift {name} takes a strength of at most 1e\+06, got {re.escape(value)}"
    ):
        select_shifts(SUBSPACE, [f"{name}={value}"])


@pytest.mark.parametrize(("name", "value"), [("x_scale", 1e6), ("w_scale", 1e6), ("x_mean", 1e6), ("x_mean", -1e6)])
def test_the_largest_strengths_give_finite_squares(name: str, value: float) -> None:
    prompts = shifted(ISOTROPIC, name, value).sample(5, seed=0)
    assert bool(prompts.xs.square().isfinite().all())
    assert bool(prompts.ys.square().isfinite().all())


def test_shifted_needs_its_strength_and_takes_no_other() -> None:
    with pytest.raises(ValueError, match=r"the shift x_scale takes a strength, got None; see SHIFTS\['x_scale'\]"):
        shifted(ISOTROPIC, "x_scale")
    with pytest.raises(ValueError, match=r"the shift random_orthants takes no strength, got 1.0"):
        shifted(ISOTROPIC, "random_orthants", 1.0)
    with pytest.raises(ValueError, match="unknown shift 'X_scale'"):
        shifted(ISOTROPIC, "X_scale", 1.0)
    with pytest.raises(TypeError, match=r"the shift x_scale needs a number as strength, got '3'; pass 3.0"):
        _check_strength("x_scale", "3")
    with pytest.raises(TypeError, match="the shift x_scale needs a number as strength, got True"):
        _check_strength("x_scale", True)
    with pytest.raises(ValueError, match=r"the shift x_scale=3 has its strength already, got 2.0 as well"):
        shifted(ISOTROPIC, "x_scale=3", 2.0)
    with pytest.raises(ValueError, match=r"standard is the task itself and takes no strength, got 2.0"):
        shifted(ISOTROPIC, "standard", 2.0)
    with pytest.raises(ValueError, match=r"w_complement is w_rotation=1 and takes no other strength, got 0.5"):
        shifted(SUBSPACE, "w_complement", 0.5)
    with pytest.raises(ValueError, match="the shift x_scale takes a number as strength, got nan"):
        shifted(ISOTROPIC, "x_scale", float("nan"))


def test_the_core_suite_is_named_in_the_registry() -> None:
    core = {name for name, shift in SHIFTS.items() if shift.core}
    assert {label.partition("=")[0] for label in ALWAYS + TURNS} == core - {"w_fresh"}
    assert all(set(shift.default_values) <= set(shift.values) for shift in SHIFTS.values())


def test_all_15_evaluations_of_dtsip_are_there() -> None:
    assert len(set(DTSIP_EVALUATIONS)) == 15
    named = [label for name in DTSIP_EVALUATIONS for label in labels(ISOTROPIC, [name])]
    assert len(named) == len(set(named)) == 14  # "standard" is in distribution, which is always there
    assert shifted(ISOTROPIC, "standard") is ISOTROPIC
    assert all(target in SHIFTS for target, _ in ALIASES.values())


def test_other_names_say_the_same() -> None:
    assert shifted(ISOTROPIC, "noisyLR") == shifted(ISOTROPIC, "label_noise", 1.0)
    assert shifted(ISOTROPIC, "scale-x=0.333") == shifted(ISOTROPIC, "x_scale", 1 / 3)
    assert shifted(ISOTROPIC, "scale-x", 2.0) == shifted(ISOTROPIC, "x_scale", 2.0)
    assert shifted(SUBSPACE, "w_complement") == shifted(SUBSPACE, "w_rotation", 1.0)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (LinearRegression(2), ("weights", "weights multiplied by 3")),
        (SineRegression(), ("labels", "labels multiplied by 3, before noise")),
        (ReluNetworkRegression(n_dims=2), ("labels", "labels multiplied by 3, before noise")),
    ],
    ids=["linear", "sine", "network"],
)
def test_scaling_weights_says_what_it_does_where_there_are_none(task: Task, words: tuple[str, str]) -> None:
    (entry,) = select_shifts(task, ["w_scale=3"])
    assert (entry.changes, entry.meaning) == words


def test_heavy_tails_are_not_for_quadratic_functions_whose_labels_would_have_no_variance() -> None:
    assert "x_heavy_tails=3" not in labels(QuadraticRegression(n_dims=2), ["x_*"])
    assert "x_heavy_tails=3" in labels(ReluNetworkRegression(n_dims=2), ["x_*"])
    with pytest.raises(ValueError, match="x_heavy_tails needs a task with labels that grow no faster than inputs"):
        select_shifts(QuadraticRegression(n_dims=2), ["x_heavy_tails"])


def test_what_is_left_out_for_want_of_positions_is_named() -> None:
    left_out = partial(left_out_for_length, ISOTROPIC, max_points=9)
    (sentence,) = left_out(["all", "long*"])
    assert (
        sentence == "longer_prompts is left out: the model has positions for 9 points only, and prompts take them all."
    )
    assert left_out(["x_*"]) == left_out(None) == left_out(["all"], n_points=8) == ()
    assert left_out_for_length(ISOTROPIC, ["all"], max_points=None) == ()


def test_longer_prompts_need_room_in_the_position_table() -> None:
    assert [e.label for e in select_shifts(ISOTROPIC, ["longer_prompts"], max_points=10)] == [
        "longer_prompts=3/2",
        "longer_prompts=2",
    ]
    assert [e.label for e in select_shifts(ISOTROPIC, ["all"], max_points=9)] == [
        label for label in labels(ISOTROPIC, ["all"]) if not label.startswith("longer")
    ]
    assert [e.label for e in select_shifts(ISOTROPIC, ["longer_prompts=2"], n_points=5, max_points=9)] == [
        "longer_prompts=2"
    ]
    with pytest.raises(ValueError, match="longer_prompts needs a model with positions for more than 9 points, got 9"):
        select_shifts(ISOTROPIC, ["longer_prompts"], max_points=9)
