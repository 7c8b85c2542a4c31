"""The names of hook points (built here, never typed by hand), and the map of what can be hooked in a model."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from icl_interp.errors import InputError

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "embed", "final_norm"]

_WITHOUT_LAYER = {"embed": "hook_embed", "final_norm": "ln_final.hook_out"}


def normalise_layer(layer: int, n_layers: int) -> int:
    """Turn a layer that may count from the end into one that counts from 0."""
    if not -n_layers <= layer < n_layers:
        raise InputError(
            f"layer needs a number from {-n_layers} to {n_layers - 1} in a model of {n_layers} layers, got {layer}."
        )
    return layer % n_layers


def hook_name(site: str, layer: int, *, n_layers: int) -> str:
    """Name the hook point of a site."""
    if site not in get_args(Site):
        raise InputError(f"site needs one of {', '.join(get_args(Site))}, got {site!r}.")
    if site in _WITHOUT_LAYER:
        return _WITHOUT_LAYER[site]
    return f"blocks.{normalise_layer(layer, n_layers)}.hook_{site}"


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hook names that a model lacks."""
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or known[:4]
            raise InputError(f"this model has no hook point {name!r}; near names: {', '.join(near)}.")


@dataclass(frozen=True, slots=True)
class HookRow:
    """One hook point."""

    name: str
    """Name, as `run_with_cache` and `run_with_hooks` take it."""
    shape: str
    """Axes, with sizes if the config fixes them: "batch pos d_model=64"."""
    meaning: str
    """Description of the activation."""


@dataclass(frozen=True, repr=False)
class HookMap:
    """All hook points of a model; printed, the blocks are written once."""

    title: str
    """Name of the model."""
    rows: tuple[HookRow, ...]
    """One row per hook point, in the model's order."""

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
    """Look up what each hook point holds."""
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
