"""The checks that all other tests rely on: what jaxtyping refuses is refused, with the same error."""

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import jaxtyping
import pytest
import torch
from beartype import beartype
from jaxtyping import AbstractArray, Bool, Float, Int, Shaped, TypeCheckError, _storage
from shape_checks import _jaxtyped, _says, checked
from torch import Tensor

DECORATORS = {
    "ours": partial(checked, typechecker=beartype),
    "jaxtyping's": lambda what: _jaxtyped(what, typechecker=beartype),
}
two, three = torch.zeros(2), torch.zeros(3)


class Held:
    """Something whose life can be watched."""


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


def test_an_inner_function_is_compiled_once_and_is_its_own_each_time(check) -> None:
    @check
    def made(held: Held, n: int):
        @check
        def inner(a: Float[Tensor, " n"], *, more: int = n) -> tuple[Held, int]:  # noqa: ARG001
            return held, more

        @check
        def bare(a):
            return a, n

        return inner, bare

    held = Held()
    gone = weakref.ref(held)
    inner, bare = made(held, 3)
    assert inner(two) == (held, 3)
    assert bare("a") == ("a", 3)
    del held, inner, bare
    gc.collect()
    assert gone() is None
    (four, _), (five, _) = made(Held(), 4), made(Held(), 5)
    assert (four(two)[1], five(two)[1], five(three, more=1)[1]) == (4, 5, 1)
    with pytest.raises(TypeCheckError):
        four(two, more="1")
    with pytest.raises(TypeCheckError):
        five(two.long())


@pytest.mark.parametrize("value", [two, three.long(), torch.zeros(2, 3), torch.zeros(2, 2), torch.tensor(1), True, [1]])
@pytest.mark.parametrize(
    "kind",
    [
        Float[Tensor, " n"], Float[Tensor, "n n"], Float[Tensor, "n m"], Float[Tensor, "2 _"], Float[Tensor, "*n 3"],
        Float[Tensor, "n n+1"], Float[Tensor, "#n n"], Int[Tensor, " m"], Bool[Tensor, "..."], Shaped[Tensor, "n m"],
        Shaped[Tensor, ""], Float[torch.nn.Parameter, " n"],
    ],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_a_tensor_that_fits_is_one_that_jaxtyping_says_fits(kind: type[AbstractArray], value: object) -> None:
    said = []
    for judge in (lambda: _says(kind, value), lambda: type(kind).__instancecheck_str__(kind, value)):
        for known in ({}, {"n": 2}, {"m": 3}):
            with _jaxtyped("context"):
                sizes, *_ = _storage._shape_storage.memo_stack[-1]
                sizes.update(known)
                try:
                    said.append((judge(), dict(_storage._shape_storage.memo_stack[-1][0])))
                except jaxtyping.AnnotationError as error:  # n + 1 of an n that is not known yet
                    said.append((str(error), known))
    assert said[:3] == said[3:]


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
