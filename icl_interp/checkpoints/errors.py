"""The errors of this package."""

from icl_interp.errors import InputError, one_line

__all__ = ["CheckpointError", "GivenTaskError", "one_line"]


class CheckpointError(InputError):
    """A checkpoint cannot be read, understood or written; the text is one sentence for whoever named it."""


class GivenTaskError(CheckpointError):
    """The task that a person named beside a checkpoint cannot be taken."""
