"""Bad input is one sentence on standard error and exit code 2; a bug keeps its traceback."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_line_errors"]

_SHOWN = 200  # torch's account of its memory goes on for a paragraph


@contextmanager
def one_line_errors(*, to_save_memory: str = "ask for less") -> Iterator[None]:
    """Turn the errors that input can cause into one line and exit code 2.

    Args:
        to_save_memory: What to do where memory is short, as a clause.

    Yields:
        Nothing.

    Raises:
        SystemExit: With code 2, on ValueError, FloatingPointError or OSError, and where the memory of the machine or
            of the device is not enough; with code 130 on Ctrl-C, 143 on SIGTERM where that is answered.
        Exception: Any other error passes through.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        _say(str(error))
        raise SystemExit(2) from None
    except Exception as error:
        if not _is_short_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        _say(f"this needs more memory than there is ({reason.rstrip('.')}); {to_save_memory}.")
        raise SystemExit(2) from None
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)  # noqa: T201
        raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None


def _say(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201


def _is_short_of_memory(error: Exception) -> bool:
    # torch is asked only if it is there already: --help must not wait for it. On a CPU it has no class for this.
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, MemoryError) or on_device or "DefaultCPUAllocator: can't allocate" in str(error)
