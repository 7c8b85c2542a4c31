"""Text and data on their way into HTML."""

import json
import math
import re
from typing import Any

from markupsafe import Markup, escape

__all__ = ["embedded_json", "plain", "prose", "script_source"]

_CODE = re.compile(r"`([^`]+)`")


def prose(text: str) -> Markup:
    """Escape plain text for HTML and set what stands between backticks as code.

    Args:
        text: Written by anyone.

    Returns:
        Safe HTML.

    Example:
        >>> str(prose("<b> and `--task`"))
        '&lt;b&gt; and <code>--task</code>'
    """
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def plain(text: str) -> str:
    """Take the backticks out, for attributes and titles, where code cannot be set.

    Args:
        text: Written by anyone; the template escapes it.

    Returns:
        The same words.
    """
    return _CODE.sub(r"\1", text)


def embedded_json(value: Any) -> Markup:
    r"""Write JSON that may stand inside a `<script>` element whatever its strings say.

    Numbers that JSON lacks (NaN, infinities) become null.

    Args:
        value: Plain data.

    Returns:
        JSON without `<`, which the HTML parser would look at.

    Example:
        >>> str(embedded_json(["</script>", float("nan")]))
        '["\\u003c/script>",null]'
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def script_source(source: str) -> Markup:
    """Make JavaScript safe to stand between script tags.

    Args:
        source: Trusted code, whose strings may still say `</script>`.

    Returns:
        The same code for the interpreter.
    """
    return Markup(re.sub(r"</(?=script)", r"<\\/", source, flags=re.IGNORECASE))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
