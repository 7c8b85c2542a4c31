"""Settings of the manual: `make docs` builds it with Sphinx, and every warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "icl-interp"
extensions = ["myst_parser", "generated", "mathml"]
exclude_patterns = ["_build", "gallery"]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

smartquotes = False  # "--out" stays as one types it

html_theme = "furo"
html_title = "icl-interp"
html_math_renderer = "mathml"
html_static_path = []
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
# Search would fetch the pages that it found to quote them, which browsers refuse for pages opened from disk.
html_show_search_summary = False
