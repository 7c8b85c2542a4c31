"""The checks that all other tests rely on: what jaxtyping refuses is refused, with the same error."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import jaxtyping
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from shape_checks import _jaxtyped, checked
from torch import Tensor

DECORATORS = {
    "ours": partial(checked, typechecker=beartype),
    "jaxtyping's": lambda what: _jaxtyped(what, typechecker=beartype),
}
two, three = torch.zeros(2), torch.zeros(3)


@pytest.fixture(params=DECORATORS.values(), ids=DECORATORS)
def check(request: pytest.FixtureRequest) -> Callable[[object], object]:
    return request.param


def test_the_import_hook_decorates_with_ours() -> None:
    assert jaxtyping.jaxtyped is checked


def test_axes_of_one_name_have_one_size(check) -> None:
    @check
    def first(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return a[:2] + 0 * b[:2]

    assert first(two, two).shape == (2,)
    with pytest.raises(TypeCheckError):
        first(two, three)
    with pytest.raises(TypeCheckError):  # what comes back is 2 long
        first(three, three)
    with pytest.raises(TypeCheckError):
        first(two.long(), two)
    assert first(two, two).shape == (2,)  # nothing stayed behind


def test_each_call_has_sizes_of_its_own(check) -> None:
    @check
    def inner(a: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return a

    @check
    def outer(a: Float[Tensor, " n"], *more: Float[Tensor, " m"], again: int = 0) -> Float[Tensor, " n"]:
        for each in more:
            inner(each)
        return outer(torch.zeros(5), again=again - 1)[: len(a)] if again else a

    assert outer(two, three, three, again=2).shape == (2,)
    with pytest.raises(TypeCheckError):
        outer(two, two, three)


def test_sizes_may_be_sums_and_stand_inside_of_others(check) -> None:
    @check
    def widened(parts: dict[str, Float[Tensor, "n 2"]], longer: Float[Tensor, "n+1"] | None) -> int:  # noqa: F821
        return len(parts) + (longer is not None)

    assert widened({"a": torch.zeros(2, 2)}, three) == 2
    with pytest.raises(TypeCheckError):
        widened({"a": torch.zeros(2, 2)}, two)


def test_types_without_axes_are_checked_too(check) -> None:
    @check
    def named(names: Mapping[str, int], what: "int | None" = None) -> list[int]:
        return "none" if what == 1 else list(names.values())

    assert named({"a": 1}) == [1]
    for wrong in (lambda: named(3), lambda: named({"a": "b"}), lambda: named({}, "what"), lambda: named({}, what=1)):
        with pytest.raises(TypeCheckError):
            wrong()


def test_what_is_no_plain_function(check) -> None:
    class Holder:
        @check
        @classmethod
        def made(cls, a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> "Holder":  # noqa: ARG003
            return cls()

        @check
        @staticmethod
        def same(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> bool:
            return a is b

        @property
        @check
        def wrong(self) -> int:
            return "wrong"

    @check
    @dataclass
    class Pair:
        a: Float[Tensor, " n"]
        b: Float[Tensor, " n"]

    @check
    def counted(n: int) -> Iterator[int]:
        yield from range(n)

    assert isinstance(Holder.made(two, two), Holder)
    assert Holder.same(two, two)
    assert list(counted(3)) == [0, 1, 2]
    assert Pair(two, two).a is two
    for refused in (
        lambda: Holder.made(two, three),
        lambda: Holder.same(two, three),
        lambda: Holder().wrong,
        lambda: Pair(two, three),
        lambda: counted("3"),
    ):
        with pytest.raises(TypeCheckError):
            refused()


def test_annotations_stay_as_they_were_written() -> None:
    @checked
    def later(a: "NotThereYet", b: "int") -> "Tensor":  # noqa: F821, ARG001
        return a

    assert later.__annotations__ == {"a": "NotThereYet", "b": "int", "return": "Tensor"}
    assert later(two, 1) is two  # of what is not known yet nothing is asked
    with pytest.raises(TypeCheckError):
        later(two, "b")
    with pytest.raises(TypeCheckError):
        later("no tensor", 1)
