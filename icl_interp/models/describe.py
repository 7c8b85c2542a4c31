"""The hook map: what can be listened to in a model, and what is heard there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from icl_interp.errors import InputError

__all__ = ["HookMap", "HookRow", "hook_map"]


@dataclass(frozen=True, slots=True)
class HookRow:
    """One hook point."""

    name: str
    """As `run_with_cache` and `run_with_hooks` take it."""
    shape: str
    """Axes in the house's vocabulary, with sizes where the config fixes them: "batch pos d_model=64"."""
    meaning: str
    """What it holds."""


@dataclass(frozen=True, repr=False)
class HookMap:
    """All hook points of a model; printed, the blocks are written once."""

    title: str
    """Which model."""
    rows: tuple[HookRow, ...]
    """One a hook point, in the order in which the model has them."""

    def __repr__(self) -> str:
        return f"HookMap({self.title}, {len(self.rows)} hook points)"

    def __str__(self) -> str:
        layers = {int(found.group(1)) for row in self.rows if (found := re.match(r"blocks\.(\d+)\.", row.name))}
        written = [("hook", "shape", "meaning")]
        written += dict.fromkeys(
            (re.sub(r"^blocks\.\d+\.", "blocks.{l}.", r.name), r.shape, r.meaning) for r in self.rows
        )
        wide = [max(len(row[column]) for row in written) for column in (0, 1)]
        lines = [f"{name:{wide[0]}}  {shape:{wide[1]}}  {meaning}" for name, shape, meaning in written]
        of_blocks = f", l = 0 ... {max(layers)}" if layers else ""
        return "\n".join([f"{self.title}{of_blocks}", *lines])


def hook_map(
    title: str, names: Mapping[str, object], meanings: Mapping[str, tuple[str, str]], sizes: Mapping[str, int]
) -> HookMap:
    """Look up what each hook point holds.

    Args:
        title: Which model.
        names: The model's hook points by name.
        meanings: (axes, meaning) by the end of the name; of several the longest end counts.
        sizes: Sizes of axes that the config fixes.

    Returns:
        One row a hook point.

    Raises:
        InputError: If a hook point has no meaning.

    Example:
        >>> meanings = {"hook_embed": ("batch pos d_model", "read-in"), "pos_hook_embed": ("pos", "longer wins")}
        >>> print(hook_map("a model", {"hook_embed": None}, meanings, {"d_model": 8}))
        a model
        hook        shape              meaning
        hook_embed  batch pos d_model=8  read-in
    """
    rows = []
    for name in names:
        ends = [end for end in meanings if name == end or name.endswith(f".{end}")]
        if not ends:
            raise InputError(
                f"describe needs a meaning for every hook point, got none for {name!r}; add it to hook_meanings."
            )
        axes, meaning = meanings[max(ends, key=len)]
        shape = " ".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes.split())
        rows.append(HookRow(name=name, shape=shape, meaning=meaning))
    return HookMap(title=title, rows=tuple(rows))
