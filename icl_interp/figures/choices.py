"""What of a figure belongs to one layer, head or shift, so that a page can show the one that is chosen.

A trace says it itself: `meta={"layer": 1, "head": 2}` or `meta={"shift": "w_scale=3"}`. Of traces that take turns in
one place one is visible at first and the others have `visible=False`. An axis of names says it for each name: `along`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

KEYS = ("layer", "head", "shift")
"""What can be chosen: layers and heads by their number from 0, shifts by their name."""
Place = Mapping[str, int | str]
"""Some of these keys with a value each; empty where a name belongs to none."""
_BLOCK = re.compile(r"block (\d+)")


def along(
    figure: go.Figure, *, x: Sequence[Place] = (), y: Sequence[Place] = (), whole: Place | None = None
) -> go.Figure:
    """Say what each name along an axis belongs to, or the whole figure.

    The page frames what is chosen, and a click on it chooses.
    """
    given = {"x": x, "y": y, "whole": [whole] if whole else []}
    places = {where: [dict(place) for place in names] for where, names in given.items() if names}
    return figure.update_layout(meta=places)


def of_sites(labels: Iterable[str]) -> list[Place]:
    """Give the layer of each site that is a block."""
    return [{"layer": int(found[1])} if (found := _BLOCK.fullmatch(label)) else {} for label in labels]


def of_shifts(labels: Iterable[str]) -> list[Place]:
    """Give the shift of each name that is one; an empty row has none."""
    return [{"shift": label} if label.strip() else {} for label in labels]
