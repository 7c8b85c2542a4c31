"""Which colour and dash each reference predictor has, the same in every figure."""

from dataclasses import replace

from icl_interp.figures.theme import COLOURS, TraceStyle, role_style
from icl_interp.predictors.references import names_in

__all__ = ["predictor_style"]

_OTHERS = (
    "Lasso",
    "10-step Newton",
    "oracle",
    "copy last",
    "extrapolation",
    "averaging",
    "context mean",
    "3 nearest neighbours",
    "reweighted 10-step GD",
    "GD-beta",
    "GD-0",
    "5-step GD++",
    "10-step CG",
    "online GD",
)
"""References of single families, in the order of their styles."""
_BASES = ("norm baseline", "shuffled", "untrained")
_DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")


def predictor_style(name: str) -> TraceStyle:
    """Give the style of a predictor in figures."""
    first = names_in(name)[0]
    if first in _OTHERS:
        place = _OTHERS.index(first)
        return replace(role_style(_BASES[place % len(_BASES)]), dash=_DASHES[place // len(_BASES)])
    if first.endswith("-step GD"):
        style = role_style("gradient descent")
        return style if first == "1-step GD" else replace(style, dash="longdashdot", symbol="triangle-down")
    role = {"Bayes": "bayes"}.get(first, first)
    return role_style(role if role in COLOURS else "reference")  # a user's own
