"""Stands for `probes.learning_coefficient.hessian` for one release."""

from probes.learning_coefficient.hessian import *  # noqa: F403
