"""The one error of this package."""

__all__ = ["CheckpointError", "one_line"]


class CheckpointError(ValueError):
    """A checkpoint cannot be read, understood or written; the text is one sentence for whoever named it."""


def one_line(error: Exception) -> str:
    """Fold an error of another library into one line.

    Args:
        error: Anything with a text; pydantic's errors are listed field by field.

    Returns:
        A clause without full stop.

    Example:
        >>> one_line(ValueError("  two   words. "))
        'two words'
    """
    details = getattr(error, "errors", None)
    if callable(details):
        parts = [(".".join(str(place) for place in e["loc"]), e["msg"]) for e in details()]
        text = "; ".join(f"{where}: {what}" if where else what for where, what in parts)
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
