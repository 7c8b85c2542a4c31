"""Streamed test errors: the right mean and spread, whatever the chunks; the same prompts for all models."""

import numpy as np
import pytest
import torch

from icl_interp.experiments import monte_carlo
from icl_interp.experiments.monte_carlo import query_risks
from icl_interp.predictors import least_squares, zero
from icl_interp.tasks.linear_regression import LinearRegression

TASK = LinearRegression(3, n_points=6, noise_std=0.5)


def test_mean_and_standard_error_are_those_of_all_squares(monkeypatch):
    monkeypatch.setattr(monte_carlo, "_CHUNK", 64)
    seen = []

    def kept(xs, ys, *, points):  # noqa: ARG001
        seen.append(ys[:, -1].clone())
        return torch.zeros(len(xs), 1)

    found = query_risks({"kept": kept}, TASK, 200, seed=3)["kept"]
    squares = torch.cat(seen).double().square()
    assert [len(chunk) for chunk in seen] == [64, 64, 64, 8]
    np.testing.assert_allclose(found.value, squares.mean(), rtol=1e-12)  # float64 sums in another order
    np.testing.assert_allclose(found.standard_error, squares.std(correction=0) / np.sqrt(199), rtol=1e-9)


def test_models_share_their_prompts_and_seeds_differ():
    found = query_risks({"a": zero(), "b": zero(), "c": least_squares()}, TASK, 500, seed=0)
    assert found["a"] == found["b"] != found["c"]
    assert found["a"] != query_risks({"a": zero()}, TASK, 500, seed=1)["a"]


def test_a_perfect_answer_has_no_error():
    noiseless = LinearRegression(2, n_points=6)
    risk = query_risks({"f": least_squares()}, noiseless, 300, seed=0)["f"]
    assert risk.value < 1e-6  # float32 least squares from five pairs in two dimensions, now and then badly conditioned


def test_two_tasks_at_least():
    with pytest.raises(ValueError, match="needs at least two tasks for a standard error, got 1"):
        query_risks({}, TASK, 1, seed=0)
