"""The one error of this package."""

from icl_interp.errors import InputError, one_line

__all__ = ["CheckpointError", "one_line"]


class CheckpointError(InputError):
    """A checkpoint cannot be read, understood or written; the text is one sentence for whoever named it."""
