"""joblib.Parallel without processes, whose workers die when a test says so."""

from collections.abc import Iterator
from typing import ClassVar


class FakeParallel:
    """At each attempt `deaths` says after how many jobs the workers die, and how; the next job is done by then."""

    deaths: ClassVar[list[tuple[int, BaseException]]] = []

    def __init__(self, **_: object) -> None:
        pass

    def __call__(self, calls: list) -> Iterator:
        after, error = type(self).deaths.pop(0) if self.deaths else (len(calls), None)
        for number, (function, arguments, _) in enumerate(calls):
            if error is not None and number == after:
                for function, arguments, _ in calls[number + 1 : number + 2]:
                    function(*arguments)  # done, and never told
                raise error
            yield function(*arguments)
