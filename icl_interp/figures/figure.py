"""A plotly figure that shows itself in notebooks as well where plotly's own way needs a package that is missing."""

import importlib
import importlib.util
from typing import Any

import plotly.graph_objects as go


class Figure(go.Figure):
    """As plotly's, with HTML in the place of its error in a notebook without nbformat."""

    def show(self, *args: Any, **options: Any) -> None:
        """Show the figure: in the notebook, or in a browser."""
        if not _shown_as_html(self):
            super().show(*args, **options)

    def _repr_html_(self) -> str:
        # plotly's own asks the renderer that is set, which may need IPython.
        return str(self.to_html(full_html=False, include_plotlyjs="cdn"))

    def _ipython_display_(self) -> None:
        if not _shown_as_html(self):
            super()._ipython_display_()


def _shown_as_html(figure: go.Figure) -> bool:
    if importlib.util.find_spec("nbformat") is not None or importlib.util.find_spec("IPython") is None:
        return False
    shell = importlib.import_module("IPython")
    if shell.get_ipython() is None:  # not in a notebook: plotly opens a browser
        return False
    html = figure.to_html(full_html=False, include_plotlyjs="cdn")
    shell.display.display(shell.display.HTML(html))
    return True
