"""Bad input is one sentence on standard error and exit code 2; a bug keeps its traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_line_errors"]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors that input can cause into one line and exit code 2.

    Yields:
        Nothing.

    Raises:
        SystemExit: With code 2, on ValueError, FloatingPointError or OSError; with code 130
            on Ctrl-C.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        text = " ".join(str(error).split())
        print(f"error: {text}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
