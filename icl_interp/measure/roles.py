"""Which drawing style belongs to which predictor."""

__all__ = ["predictor_role"]


def predictor_role(name: str) -> str:
    """Give the role of a predictor in figures.

    Args:
        name: As `reference_predictors` names it, "model" or "untrained".

    Returns:
        A key of `icl_interp.figures.theme.COLOURS`.

    Example:
        >>> predictor_role("least squares = ridge"), predictor_role("10-step GD")
        ('least squares', 'gradient descent')
    """
    first = name.split(" = ")[0]
    if first.endswith("GD"):
        return "gradient descent"
    return {"Bayes": "bayes"}.get(first, first)
