"""The JavaScript that draws the figures, as plotly ships it."""

__all__ = ["plotlyjs_source", "plotlyjs_version"]


def plotlyjs_source() -> str:
    """Read plotly.js, about 5 MB, from the installed plotly.

    Returns:
        Minified JavaScript that defines `Plotly`.
    """
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def plotlyjs_version() -> str:
    """Read the version of the plotly.js that the installed plotly ships.

    Returns:
        As in "3.1.0".
    """
    from plotly.offline import get_plotlyjs_version

    return str(get_plotlyjs_version())
