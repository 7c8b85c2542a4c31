"""In which circumstances a run was trained, session by session: only in equal ones is a resumed run the same bits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from icl_interp.provenance import machine

__all__ = ["OtherCircumstancesWarning", "new_session", "sessions_of", "what_changed"]

_COMPARED = ("torch", "device", "threads", "machine")
"""What bits depend on, besides the config; of a GPU only its name in torch is compared, not its model."""

Session = dict[str, Any]


class OtherCircumstancesWarning(UserWarning):
    """A run goes on where its bits will not be those of a run that was never stopped."""


def new_session(step: int, *, device: str) -> Session:
    """Record the circumstances in which a run starts or goes on.

    Args:
        step: Optimiser steps taken before.
        device: Where it trains, as torch names it.

    Returns:
        Plain values: from_step, time (UTC), threads, device, torch, machine.

    Example:
        >>> list(new_session(0, device="cpu"))
        ['from_step', 'time', 'threads', 'device', 'torch', 'machine']
    """
    return {
        "from_step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "device": device,
        "torch": torch.__version__,
        "machine": machine(),
    }


def sessions_of(manifest: Mapping[str, Any]) -> list[Session]:
    """Read the sessions of a run.

    Args:
        manifest: Of the run; where an older version wrote it, it tells about the first session only.

    Returns:
        In their order; an older one has no machine.
    """
    if "sessions" in manifest:
        return list(manifest["sessions"])
    known = {name: manifest[name] for name in ("time", "threads", "device", "torch") if name in manifest}
    return [{"from_step": 0, **known}]


def what_changed(sessions: Sequence[Session], now: Session) -> str | None:
    """Compare a session with the one whose steps it goes on from.

    Args:
        sessions: Those before, in their order. One that began where `now` begins has left no step.
        now: From `new_session`.

    Returns:
        A clause such as "2 threads (1 before)"; None where nothing changed, is known to have, or no step was taken.

    Example:
        >>> now = new_session(7, device="cpu")
        >>> what_changed([{**now, "from_step": 0, "device": "cuda:0"}], now)
        'device cpu (cuda:0 before)'
    """
    left = [session for session in sessions if session["from_step"] < now["from_step"]]
    if not left:
        return None
    before = left[-1]
    changes = [
        f"{name} {now[name]} ({before[name]} before)"
        for name in _COMPARED
        if name in before and before[name] != now[name]
    ]
    return " and ".join(changes) or None
