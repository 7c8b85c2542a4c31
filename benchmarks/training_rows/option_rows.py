"""The gain or loss of options that change how a step is computed."""

import time
from collections.abc import Iterator

from row import Row, at_least, best_of
from sizes import CALLS, SIZES, config_of

from icl_interp.training.loop import Trainer

OPTIONS = {"bfloat16": {"precision": "bfloat16"}, "torch.compile": {"compile": True}}


def option_rows(name: str, repeats: int) -> Iterator[Row]:
    """Compare steps per second with and without bfloat16 and torch.compile.

    Compiling happens before the clock starts; the second row gives its wall time.

    Yields:
        A row for each option, and one for the time to compile, in seconds (ours) and in plain steps (ratio).
    """
    for option, change in OPTIONS.items():
        plain, other = Trainer(config_of(SIZES[name])), Trainer(config_of(SIZES[name], **change))
        start = time.perf_counter()
        other.advance()
        first = time.perf_counter() - start
        with_option, without = best_of([other.advance, plain.advance], calls=CALLS[name], repeats=repeats)
        yield at_least(f"steps/s with {option}, {name}", 1 / with_option, 1 / without, without / with_option)
        if "compile" in change:
            yield at_least(f"seconds to compile and plain steps in them, {name}", first, without, first / without)
