"""Ask a model or a predictor: once for plain prompts, once per point if each point has its own query."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputTypeError
from icl_interp.prompts import Prompts

Callee = Callable[..., Tensor]
"""Called f(xs, ys), and f(xs, ys, points=[-1]) where there are queries."""


def predict(
    f: Callee, prompts: Prompts, *, on_prompts: Callable[[int], None] | None = None
) -> Float[Tensor, "batch point"]:
    """Ask f to predict `prompts.targets`.

    Formula: f(xs, ys) for plain prompts. With queries, entry k is f's last answer to the k examples before k and then
    query_xs[:, k], whose label is put as 0: one call for each k.

    Args:
        f: A model, a `Checkpoint`, or a predictor.
        prompts: Plain, or with queries.
        on_prompts: Called with the number of prompts after each call of f, for progress.

    Returns:
        One prediction for each entry of `prompts.targets`.

    Raises:
        InputTypeError: If f cannot be called, or the prompts are of another kind.

    Example:
        >>> from icl_interp.predictors import copy_last
        >>> xs, ys = torch.tensor([[[5.0], [6.0]]]), torch.tensor([[7.0, 8.0]])
        >>> asked = Prompts(xs=xs, ys=ys, query_xs=xs + 10, query_ys=ys + 10)
        >>> predict(copy_last(), asked)  # without pairs, this predictor repeats its input
        tensor([[15., 7.]])
    """
    f = f if callable(f) else getattr(f, "model", f)
    if not callable(f) or not isinstance(prompts, Prompts):
        raise InputTypeError(
            f"predict needs a model or predictor and Prompts, got {type(f).__name__} and {type(prompts).__name__}; "
            "pass icl_interp.Prompts(xs=xs, ys=ys)."
        )
    tick = on_prompts or (lambda _: None)
    if prompts.query_xs is None:
        answer = f(prompts.xs, prompts.ys)
        tick(len(prompts))
        return answer
    answers = []
    for point in range(prompts.n_points):
        xs = torch.cat([prompts.xs[:, :point], prompts.query_xs[:, point : point + 1]], dim=1)
        ys = torch.cat([prompts.ys[:, :point], torch.zeros_like(prompts.ys[:, :1])], dim=1)
        answers.append(f(xs, ys, points=[-1])[:, 0])
        tick(len(prompts))
    return torch.stack(answers, dim=1)
