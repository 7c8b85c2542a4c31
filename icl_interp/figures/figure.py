"""A plotly figure that shows itself in every kind of notebook, and in the pages that nbconvert makes of one."""

import importlib.util
import sys
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from icl_interp.notebooks import in_notebook

_DRAWN_BY_FEW = ("plotly_mimetype", "vscode")
"""Renderers that leave drawing to the program that shows the notebook: nbconvert's pages then have no figures."""
_DRAWN_OUTSIDE = ("browser", "chrome", "chromium", "firefox")


class Figure(go.Figure):
    """As plotly's; in a notebook it comes with HTML beside the data, and asks for no package that may be missing."""

    def show(self, *args: Any, **options: Any) -> None:
        """Show the figure: in the notebook, or in a browser."""
        if args or options or not _is_shown(self):
            super().show(*args, **options)

    def in_notebook(self) -> dict[str, Any]:
        """Give what a notebook may draw: the data for programs that know plotly, a piece of HTML for all others."""
        return {**pio.renderers["plotly_mimetype"].to_mimebundle(self.to_dict()), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        # plotly's own asks the renderer that is set, which may need IPython.
        return str(self.to_html(full_html=False, include_plotlyjs="cdn"))

    def _ipython_display_(self) -> None:
        if not _is_shown(self):
            super()._ipython_display_()


def _is_shown(figure: Figure) -> bool:
    """Show a figure in a notebook, unless the user has chosen another way that works."""
    chosen = pio.renderers.default or ""
    works = importlib.util.find_spec("nbformat") is not None and chosen not in _DRAWN_BY_FEW
    if not in_notebook() or works or chosen in _DRAWN_OUTSIDE:
        return False
    sys.modules["IPython"].display.display(figure.in_notebook(), raw=True)
    return True
