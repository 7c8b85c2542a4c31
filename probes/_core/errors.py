"""What is raised where the caller can mend it: a wrong value or a wrong kind of value."""


class InputError(ValueError):
    """What was given cannot be used; the text says who needs what, what came, and what to do.

    Whatever else is raised is a fault of this package, of the machine, or of code that somebody else brought along.
    """


class InputTypeError(InputError, TypeError):
    """What was given is of the wrong kind, such as a list where a tensor is needed."""
