"""Stands for `probes.learning_coefficient.hessian` for one release."""

from probes.learning_coefficient.hessian import *  # noqa: F403
from probes.learning_coefficient.hessian import __all__ as __all__
