"""Predictors that coincide on a task are one entry with several names, such as "least squares = ridge"."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from icl_interp.errors import InputError, users_code
from icl_interp.prompts import Prompts
from icl_interp.query import Callee, predict
from icl_interp.registry import Registry, check_callable, name_of, takes

_Value = TypeVar("_Value")
_Other = TypeVar("_Other")

_JOINED = " = "
_OPTIMAL = ("Bayes", "oracle")
_FEW = 4
"""Names that are shown of many."""


def names_in(shown: str) -> tuple[str, ...]:
    """Give the names that a table or file shows as one."""
    return tuple(shown.split(_JOINED))


class ByReference(Mapping[str, _Value], Generic[_Value]):
    """One value for each reference predictor: listed under its merged name, found under each of its names."""

    def __init__(self, entries: Iterable[tuple[Sequence[str], _Value]]) -> None:
        self._values: dict[str, _Value] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._shown: dict[str, str] = {}
        for names, value in entries:
            shown = _JOINED.join(names)
            for name in dict.fromkeys((*names, shown)):
                if name in self._shown:
                    raise InputError(f"reference predictors need names of their own, got {name!r} twice; rename one.")
                self._shown[name] = shown
            self._values[shown], self._names[shown] = value, tuple(names)

    def __getitem__(self, name: str) -> _Value:
        return self._values[self._shown[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = [*list(self)[:_FEW], *(["..."] if len(self) > _FEW else [])]
        return f"{type(self).__name__}({len(self)}{': ' if shown else ''}{', '.join(shown)})"

    @property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """All names of each entry, by the name that is shown."""
        return self._names

    @property
    def optimal(self) -> str | None:
        """The shown name of the predictor that is Bayes-optimal on the task; None where it is not known."""
        return next((self._shown[name] for name in _OPTIMAL if name in self), None)

    def shown(self, name: str) -> str | None:
        """Give the name under which tables and files show a predictor."""
        return self._shown.get(name)

    def each(self, value: Callable[[str], _Other]) -> "ByReference[_Other]":
        """Compute another value for each predictor."""
        return ByReference((names, value(shown)) for shown, names in self._names.items())


@dataclass(frozen=True)
class OwnReference:
    """A predictor of the user's own, whose answers are checked."""

    name: str
    """Name in tables and sentences."""
    predictor: Callee
    """The user's predictor."""

    @classmethod
    def of(cls, name: str, predictor: object) -> "OwnReference":
        """Take what can be called as predictors are."""
        if isinstance(predictor, OwnReference):
            return predictor
        check_callable(f"the reference {name!r}", "a predictor", predictor, "xs", "ys")
        return cls(name, predictor)  # type: ignore[arg-type]  # the check above

    def __call__(self, xs: Tensor, ys: Tensor, *, points: Sequence[int] | None = None) -> Tensor:
        """Answer as the user's predictor does."""
        who = f"the reference {self.name!r}"
        by_points = takes(self.predictor, "xs", "ys", points="None")
        with users_code(who, passing=(InputError,)):
            said: object = self.predictor(xs, ys, points=points) if by_points else self.predictor(xs, ys)
        answer = torch.as_tensor(said) if isinstance(said, np.ndarray) else said
        if not by_points and points is not None and isinstance(answer, Tensor) and answer.ndim == 2:
            answer = answer[:, list(points)]
        shape = [len(xs), xs.shape[1] if points is None else len(points)]
        if not isinstance(answer, Tensor) or not answer.is_floating_point() or list(answer.shape) != shape:
            came = f"{list(answer.shape)} in {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__
            raise InputError(
                f"{who} needs to answer {shape} in floating point, one number per prompt and asked point, got {came}; "
                "see icl_interp.predictors.Predictor."
            )
        if not bool(answer.isfinite().all()):
            raise InputError(
                f"{who} needs to answer by finite numbers, got NaN or infinity; put 0 where it knows none."
            )
        return answer.to(xs)


class References(ByReference[Callee]):
    """Reference predictors, each asked at most once about the same prompts.

    Args:
        entries: The names of each predictor, and the predictor, called `f(xs, ys, points=None)`.

    Example:
        >>> import torch
        >>> from icl_interp.predictors import zero
        >>> references = References.of({"zero": zero()})
        >>> references.answers(Prompts(xs=torch.ones(1, 2, 3), ys=torch.ones(1, 2)))["zero"]
        tensor([[0., 0.]])
    """

    def __init__(self, entries: Iterable[tuple[Sequence[str], Callee]]) -> None:
        super().__init__(entries)
        self._said: list[tuple[weakref.ref[Prompts], dict[str, Tensor]]] = []

    def __getstate__(self) -> dict[str, object]:
        # Another process has other prompts, and no pickle holds a weak reference.
        return {**self.__dict__, "_said": []}

    @classmethod
    def of(cls, predictors: Mapping[str, Callee]) -> "References":
        """Take predictors from a mapping.

        Args:
            predictors: Predictors by the name that is shown.

        Returns:
            The same object if it is of this type, so that it keeps what was answered.
        """
        if isinstance(predictors, References):
            return predictors
        return cls((names_in(shown), predictor) for shown, predictor in predictors.items())

    def and_own(self, own: Mapping[str, object]) -> "References":
        """Add predictors of your own.

        Args:
            own: Called `f(xs, ys, points=None)` or `f(xs, ys)`, by names that are not taken.

        Returns:
            All of them; what was answered is not kept.

        Raises:
            InputError: If a name is taken, or what it stands for cannot be called.
        """
        entries: list[tuple[tuple[str, ...], Callee]] = [(self._names[shown], f) for shown, f in self.items()]
        entries += [((name,), OwnReference.of(name, predictor)) for name, predictor in own.items()]
        return References(entries)

    def answer(self, name: str, prompts: Prompts) -> Tensor:
        """Ask one predictor, or recall its answers to these prompts.

        Args:
            name: One of its names.
            prompts: Plain, or with queries; the same object counts as the same prompts.

        Returns:
            One prediction per entry of `prompts.targets`, which you may change; it is recalled as long as the prompts
            exist.
        """
        said = next((said for asked, said in self._said if asked() is prompts), None)
        if said is None:
            said = {}
            kept = [entry for entry in self._said if entry[0]() is not None]
            self._said = [*kept, (weakref.ref(prompts), said)]
        shown = self._shown[name]
        if shown not in said:
            answer = predict(self._values[shown], prompts)
            if answer.shape != prompts.targets.shape:
                raise InputError(
                    f"the reference predictor {shown!r} needs to answer {list(prompts.targets.shape)}, one number a "
                    f"prompt and point, got {list(answer.shape)}; see `icl_interp.predictors.Predictor`."
                )
            said[shown] = answer
        return said[shown].clone()

    def answers(self, prompts: Prompts) -> ByReference[Tensor]:
        """Ask every predictor, or recall its answers to these prompts.

        Args:
            prompts: As for `answer`.

        Returns:
            One prediction for each entry of `prompts.targets`, by predictor.
        """
        return self.each(lambda name: self.answer(name, prompts))


REFERENCES = Registry[OwnReference](__name__, "REFERENCES")
"""Predictors that measures compare with on every task, beside the task's own."""


def register_reference(predictor: Callee, *, name: str | None = None) -> Callee:
    """Let every measure compare with a predictor of your own, also under `--import` and in worker processes.

    `references={"mine": f}` does so in a single call.

    Args:
        predictor: Called `f(xs, ys, points=None)`, see `icl_interp.predictors.Predictor`, or `f(xs, ys)`, which then
            always answers all points. A function of the same module and name replaces the one before, so that a
            notebook's cell can run again.
        name: Name in tables and files; None takes `predictor.name` or the function's own name.

    Returns:
        The same predictor, so that this can be written above a function as a decorator.

    Raises:
        InputTypeError: If it cannot be called so.
        InputError: If it has no name, or one that another has.

    Example:
        >>> @register_reference
        ... def last_label(xs, ys, points=None):
        ...     said = ys.roll(1, dims=1)
        ...     said[:, 0] = 0
        ...     return said if points is None else said[:, points]
        >>> REFERENCES
        Registry(1: last_label)
        >>> del REFERENCES["last_label"]  # for the examples that follow
    """
    found = name_of("register_reference", predictor, name)
    own = OwnReference.of(found, predictor)
    REFERENCES.add(found, own, who="register_reference", what="name that no other reference has", code=_code)
    return predictor


def _code(reference: OwnReference) -> object:
    return reference.predictor
