"""Shifts of the user's own: given as objects, registered, refused, and what their code may do wrong."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import icl_interp as icl
from icl_interp.errors import UserCodeError
from icl_interp.measure.families import draw_families

TASK = icl.LinearRegression(2, n_points=5)


class Moved:
    """Inputs moved by a number; the labels follow."""

    def __init__(self, task: Any, by: float) -> None:
        self.task, self.by = task, by

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> icl.Prompts:
        xs = self.task.sample(n_prompts, n_points, seed=seed).xs
        return self.task.prompts_at(xs + self.by, seed=seed)

    def label_second_moment(self) -> float:
        return self.task.n_dims * (1 + self.by**2)


def shift(**changes: Any) -> icl.Shift:
    return icl.Shift(**{
        "name": "moved", "values": (1.0, 2.0), "changes": "inputs", "meaning": "inputs moved by {value}",
        "apply": Moved, **changes,
    })  # fmt: skip


@pytest.fixture
def registered() -> Iterator[icl.Shift]:
    yield icl.register_shift(shift())
    del icl.SHIFTS["moved"]


def test_an_own_shift_is_what_the_same_one_of_ours_is() -> None:
    families = draw_families(TASK, shifts=["x_mean=1", shift(values=(1.0,))], n_prompts=8)
    ours, own = families.by_label["x_mean=1"], families.by_label["moved=1"]
    torch.testing.assert_close(own.prompts.xs, ours.prompts.xs)
    torch.testing.assert_close(own.prompts.ys, ours.prompts.ys)
    assert own.label_second_moment == pytest.approx(ours.label_second_moment)
    assert (own.changes, own.meaning) == ("inputs", "inputs moved by 1")


def test_every_measure_takes_it_beside_names(tiny_model: Any, tiny_task: icl.Task) -> None:
    shifts, few = ["x_scale=3", shift()], {"n_prompts": 8, "n_controls": 0}
    labels = ["x_scale=3", "moved=1", "moved=2"]
    found = icl.study(tiny_model, tiny_task, shifts=shifts, layers=[], **few)
    assert list(found.families.by_label) == ["in distribution", *labels]
    assert found.answers["moved=2"]["least squares"].shape == (8, 8)
    assert found.detectors.shifts == labels == list(found.ood.shifts)
    assert list(icl.error_curves(tiny_model, tiny_task, shifts=shifts, n_prompts=8).families)[1:] == labels
    assert list(icl.ood_report(tiny_model, tiny_task, shifts=shifts, **few).shifts) == labels
    assert icl.detector_report(tiny_model, tiny_task, shifts=shifts, **few).shifts == labels


@pytest.mark.usefixtures("registered")
def test_a_registered_one_is_named_like_ours_and_runs_by_default() -> None:
    assert [s.label for s in icl.select_shifts(TASK, ["mov*"])] == ["moved=1", "moved=2"]
    assert [s.label for s in icl.select_shifts(TASK, ["moved=1/2", "x_scale=3"])] == ["x_scale=3", "moved=1/2"]
    assert "moved=2" in [s.label for s in icl.select_shifts(TASK)]
    torch.testing.assert_close(icl.shifted(TASK, "moved", 3.0).sample(2, seed=0).xs, TASK.sample(2, seed=0).xs + 3)


def test_names_are_unique(registered: icl.Shift) -> None:
    assert icl.register_shift(shift(meaning="a cell that ran again")) is icl.SHIFTS["moved"]
    assert [s.label for s in icl.select_shifts(TASK, [icl.SHIFTS["moved"], "moved=1"])] == ["moved=1", "moved=2"]
    with pytest.raises(icl.InputError, match=r"a name that no other shift has, got 'moved' in .*<lambda>, which is .*"):
        icl.register_shift(replace(registered, apply=lambda task, _: task))
    with pytest.raises(icl.InputError, match="a name that no other shift has, got 'x_scale'"):
        icl.register_shift(shift(name="x_scale"))
    with pytest.raises(icl.InputError, match="a name without another meaning, got 'scale-x'"):
        icl.register_shift(shift(name="scale-x"))
    for own in ([shift(name="x_scale")], [shift(name="all")], [shift(name="a"), shift(name="a", values=())]):
        with pytest.raises(icl.InputError, match="shifts needs a name that no other shift has, got"):
            icl.select_shifts(TASK, own)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "my shift"}, 'a Shift needs a name of letters, digits, "_" and "-", got \'my shift\''),
        ({"values": (float("nan"),)}, r"the shift 'moved' needs finite numbers as values, got \(nan,\)"),
        ({"changes": "x"}, "needs changes out of inputs, weights, labels, queries, length, prompts, got 'x'"),
        ({"meaning": "moved by {by}"}, r"needs a meaning in which only \{value\} stands in braces, got"),
        ({"apply": lambda task: task}, r"needs apply that is called f\(task, value\), got .*<lambda>\(task\)"),
    ],
)
def test_what_no_shift_can_be(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(icl.InputError, match=sentence):
        shift(**changes)


class Drawn:
    def __init__(self, drawn: Callable[[icl.Prompts], Any], moment: Any = 1.0) -> None:
        self.drawn, self.moment = drawn, moment

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Any:
        return self.drawn(TASK.sample(n_prompts, n_points, seed=seed))

    def label_second_moment(self) -> Any:
        return self.moment


def a_list(prompts: icl.Prompts) -> list[Any]:
    return [prompts.xs, prompts.ys]


def doubles(prompts: icl.Prompts) -> icl.Prompts:
    return icl.Prompts(prompts.xs.double(), prompts.ys)


def queries(prompts: icl.Prompts) -> icl.Prompts:
    return replace(prompts, query_xs=prompts.xs, query_ys=prompts.ys)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (3, "the shift 'moved' needs apply to return something with a method sample, such as a task, got int"),
        (Drawn(a_list), "the shift 'moved' needs to return Prompts, got list"),
        (Drawn(lambda p: p[:3]), r"needs xs of shape \[8, 5, 2\] in float32, got \[3, 5, 2\] in float32"),
        (Drawn(lambda p: p.first_points(3)), r"needs xs of shape \[8, 5, 2\] in float32, got \[8, 3, 2\] in float32"),
        (Drawn(doubles), r"needs xs of shape \[8, 5, 2\] in float32, got \[8, 5, 2\] in float64"),
        (Drawn(lambda p: icl.Prompts(p.xs, p.ys / 0)), "needs finite numbers in ys, got NaN or infinity"),
        (Drawn(queries), "draws prompts with queries of their own; set errors_only=True"),
        (Drawn(lambda p: p, moment=None), r"needs to give E\[y²\] as a finite number of at least 0, got None"),
    ],
)
def test_what_an_own_shift_draws_is_looked_at(source: Any, sentence: str) -> None:
    with pytest.raises(icl.InputError, match=sentence):
        draw_families(TASK, shifts=[shift(values=(), apply=lambda _task, _: source)], n_prompts=8)


@pytest.mark.parametrize(
    "own",
    [
        shift(values=(), apply=lambda task, _: task[0]),
        shift(values=(), applies_to=lambda task: task[0]),
        shift(values=(), apply=lambda _task, _: Drawn(lambda prompts: prompts.no_such_thing)),
    ],
    ids=["apply", "applies_to", "sample"],
)
def test_what_an_own_shift_raises_is_theirs(own: icl.Shift) -> None:
    with pytest.raises(UserCodeError, match="the shift 'moved' is your own code, and it raised") as caught:
        draw_families(TASK, shifts=[own], n_prompts=8)
    assert __file__ in caught.value.traceback


def test_without_a_second_moment_it_is_estimated() -> None:
    class Bare:
        def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> icl.Prompts:
            return TASK.sample(n_prompts, n_points, seed=seed)

    families = draw_families(TASK, shifts=[shift(values=(), apply=lambda _task, _: Bare())], n_prompts=8)
    # 160,000 labels with a kurtosis of about 6: a relative error of 1 % is four standard errors.
    assert families.by_label["moved"].label_second_moment == pytest.approx(TASK.label_second_moment(), rel=0.02)


def test_longer_prompts_of_an_own_shift_are_read_for_errors_alone() -> None:
    class Long(Moved):
        def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> icl.Prompts:  # noqa: ARG002
            return self.task.sample(n_prompts, 9, seed=seed)

    longer = shift(values=(), changes="length", errors_only=True, lengthens=True, apply=Long)
    families = draw_families(TASK, shifts=[longer], n_prompts=8)
    assert families.errors_only["moved"].prompts.n_points == 9
    assert families.errors_only["moved"].first_unseen_point == 5
