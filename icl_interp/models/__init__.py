"""Models built on TransformerLens hooks, and their configuration."""

import importlib
import warnings

from icl_interp.notebooks import in_notebook

if in_notebook():
    with warnings.catch_warnings():
        # TransformerLens brings tqdm, which would warn in the first cell where ipywidgets is missing.
        warnings.simplefilter("ignore")
        importlib.import_module("tqdm.auto")
