"""Formulas as MathML, which browsers draw themselves: no script, no font and no network is needed to read them.

docutils, which Sphinx needs anyway, translates TeX to MathML. MathJax would need its scripts and fonts beside the pages
or from the web, and pictures would need a TeX installation.
"""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)


def _visit(self: Any, node: nodes.Element, *, block: bool) -> None:
    try:
        self.body.append(tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        _log.warning("this formula has no MathML: %s", error, location=node)
    raise nodes.SkipNode


def _visit_inline(self: Any, node: nodes.Element) -> None:
    _visit(self, node, block=False)


def _visit_block(self: Any, node: nodes.Element) -> None:
    _visit(self, node, block=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer that `html_math_renderer` names."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
