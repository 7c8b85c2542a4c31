"""Stands for `probes.learning_coefficient.exact` for one release."""

from probes.learning_coefficient.exact import *  # noqa: F403
from probes.learning_coefficient.exact import __all__ as __all__
