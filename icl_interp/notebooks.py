"""What a notebook shows while it waits: a bar of one line that goes when the work is done."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SECONDS = 0.5  # between two pictures of the bar (our choice)
_SURE = 0.05  # share of the work after which its speed is taken as a forecast
Bar = Callable[[int, str], None]


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    found = sys.modules.get("IPython")  # a kernel has it; nobody else shall wait for the import
    shell = None if found is None else found.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def notebook_bar(what: str, total: int) -> Iterator[Bar | None]:
    """Show in a notebook how far a computation is; elsewhere there is no bar."""
    if not in_notebook() or total < 1:
        yield None
        return
    bar = _Bar(what, total)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.started = self.last = time.monotonic()
        self.handle: Any = sys.modules["IPython"].display.display(self._picture(""), raw=True, display_id=True)

    def __call__(self, done: int, note: str = "") -> None:
        self.done += done
        if time.monotonic() - self.last >= _SECONDS:
            self.last = time.monotonic()
            self.handle.update(self._picture(note), raw=True)

    def _picture(self, note: str) -> dict[str, str]:
        share = min(1.0, self.done / self.total)
        left = (time.monotonic() - self.started) * (1 - share) / share if share >= _SURE else None
        text = f"{self.what}: {100 * share:.0f} %" + ("" if left is None else f", about {left:.0f} s left")
        text += f" ({note})" if note else ""
        bar = f'<progress style="width:12em" max="1" value="{share:.3f}"></progress>'
        return {"text/plain": text, "text/html": f"<div>{bar} {html.escape(text)}</div>"}

    def close(self) -> None:
        self.handle.update({"text/plain": "", "text/html": ""}, raw=True)
