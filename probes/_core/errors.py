"""What is raised where the caller can mend it: a wrong value or a wrong kind of value."""

__all__ = ["InputError", "InputTypeError"]


class InputError(ValueError):
    """What was given cannot be used; the text says who needs what, what came, and what to do.

    Whatever else is raised is a fault of this package, of the machine, or of code that somebody else brought along.

    Example:
        >>> from probes.spectra import effective_rank
        >>> import torch
        >>> try:
        ...     effective_rank(torch.zeros(4))
        ... except ValueError as error:
        ...     print(error)
        effective_rank needs at least one non-zero singular value, got 4 zeros; check that the activations vary.
    """


class InputTypeError(InputError, TypeError):
    """What was given is of the wrong kind, such as a list where a tensor is needed."""
