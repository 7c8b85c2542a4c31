"""Tasks of the user's own that draw rubbish without an error: one sentence names the task and what came."""

from typing import Any

import numpy as np
import pytest
import torch

import icl_interp as icl
from icl_interp.errors import UserCodeError
from icl_interp.tasks.own import try_out

NAN = float("nan")


class Given(icl.LinearRegression):
    """Gives what the class attributes say instead of what the family draws."""

    family: str = "given"


def task_with(**methods: Any) -> icl.Task:
    return type("Mine", (Given,), methods)(2)


def of_numpy(self: Any, n_prompts: int, n_points: int, *, seed: int) -> Any:  # noqa: ARG001
    return np.ones((n_prompts, n_points, 2), dtype=np.float32)


def of_doubles(self: Any, n_prompts: int, n_points: int, *, seed: int) -> Any:  # noqa: ARG001
    return torch.ones(n_prompts, n_points, 2, dtype=torch.float64)


def too_wide(self: Any, n_prompts: int, n_points: int, *, seed: int) -> Any:  # noqa: ARG001
    return torch.ones(n_prompts, n_points, 3)


def without_seed(self: Any, n_prompts: int, n_points: int, *, seed: int) -> Any:  # noqa: ARG001
    return torch.randn(n_prompts, n_points, 2)


def a_tensor(self: Any, xs: torch.Tensor, *, seed: int) -> Any:  # noqa: ARG001
    return xs.sum(-1)


def labels(value: float) -> Any:
    return lambda self, xs, *, seed: icl.Labels(torch.full(xs.shape[:2], value))  # noqa: ARG005


def column(self: Any, xs: torch.Tensor, *, seed: int) -> Any:  # noqa: ARG001
    return icl.Labels(xs[:, 1:, 0])


def sampled(change: Any) -> Any:
    def sample(self: Any, n_prompts: int, n_points: int | None = None, *, seed: int) -> Any:  # noqa: ARG001
        return change(icl.LinearRegression(2).sample(n_prompts, n_points, seed=seed))

    return sample


RUBBISH = {
    "numpy": ({"draw_inputs": of_numpy}, r"^draw_inputs of the task Mine needs inputs as a tensor, got ndarray"),
    "float64": ({"draw_inputs": of_doubles}, r"inputs of shape \[3, 5, 2\] in float32, got \[3, 5, 2\] in float64"),
    "a wrong width": ({"draw_inputs": too_wide}, r"inputs of shape \[3, 5, 2\] in float32, got \[3, 5, 3\] in float32"),
    "no seed": ({"draw_inputs": without_seed}, "^sample of the task Mine needs to draw equal prompts for equal seeds"),
    "no Labels": ({"draw_labels": a_tensor}, "^draw_labels of the task Mine needs to return Labels, got Tensor"),
    "NaN": ({"draw_labels": labels(NAN)}, "^draw_labels of the task Mine needs finite numbers in labels, got NaN"),
    "label axes": ({"draw_labels": column}, r"labels of shape \[3, 5\] in float32, got \[3, 4\] in float32"),
    "no Prompts": ({"sample": sampled(lambda p: (p.xs, p.ys))}, "sample of the task Mine needs to return Prompts, got"),
    "fewer prompts": ({"sample": sampled(lambda p: p[:2])}, r"xs of shape \[3, 5, 2\] in float32, got \[2, 5, 2\]"),
    "infinite labels": ({"sample": sampled(lambda p: icl.Prompts(p.xs, p.ys / 0))}, "needs finite numbers in ys"),
    "E[y²]": ({"label_second_moment": lambda _: NAN}, r"label_second_moment of the task Mine needs to give E\[y²\]"),
    "no clause": ({"describe": lambda _: None}, "^describe of the task Mine needs to return a clause, got NoneType"),
}  # fmt: skip


@pytest.mark.parametrize(("methods", "sentence"), RUBBISH.values(), ids=RUBBISH)
def test_rubbish_is_told(methods: dict[str, Any], sentence: str) -> None:
    task = task_with(**methods)
    with pytest.raises(icl.InputError, match=sentence):
        try_out(task)


def test_measures_and_training_look_first(tiny_model: Any) -> None:
    task = task_with(draw_labels=labels(NAN))
    config = icl.TrainConfig(
        model=icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), task=task, steps=2,
        batch_size=4, eval_every=None,
    )  # fmt: skip
    for call in (lambda: icl.study(tiny_model, task), lambda: icl.train(config), lambda: icl.train_many([config])):
        with pytest.raises(icl.InputError, match="needs finite numbers in labels, got NaN"):
            call()


def test_what_it_raises_is_theirs() -> None:
    with pytest.raises(
        UserCodeError, match="the task Mine is your own code, and it raised ZeroDivisionError"
    ) as caught:
        try_out(task_with(label_second_moment=lambda _: 1 / 0))
    assert __file__ in caught.value.traceback


def test_a_good_one_passes() -> None:
    try_out(task_with())
    try_out(icl.LinearRegression(2))
