"""What the linear families learn is what the theory says: the least risk, and the weights that reach it."""

from functools import cache

import pytest
import torch

from icl_interp import train
from icl_interp.training.configs import load_config

LTB_RISK, LSA_RISK = 2.7273, 4.5566
"""Least risks at d = M = 5, b* = (1, ..., 1): Zhang et al. (2024), theorem 5.2, and the minimum of LSA's exact risk."""
GAMMA = 5 / 11
"""Gamma* = GAMMA I, theorem 5.2."""


@cache
@torch.enable_grad()
def trained(name: str) -> torch.nn.Module:
    """The preset's model after its 20,000 steps: a minute or two."""
    return train(load_config(name)).model


@torch.no_grad()
def risk(name: str) -> float:
    """Over two million fresh tasks, since squared errors of LSA have a heavy tail."""
    task, model, total = load_config(name).task, trained(name), 0.0
    for seed in range(16):
        prompts = task.sample(2**17, seed=seed)
        errors = model(prompts.xs, prompts.ys, points=[-1]) - prompts.ys[:, -1:]
        total += float(errors.double().square().mean())
    return total / 16


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least", "tolerance"), [("zhang-ltb", LTB_RISK, 0.01), ("zhang-lsa", LSA_RISK, 0.02)])
def test_the_least_risk_is_reached(name: str, least: float, tolerance: float) -> None:
    # The standard error of two million tasks is 0.2 % for LTB and 0.15 % for LSA.
    assert risk(name) == pytest.approx(least, rel=tolerance)


@pytest.mark.slow
@torch.no_grad()
def test_weights_meet_the_conditions_of_a_minimiser() -> None:
    found = trained("zhang-ltb").effective_parameters()
    ones, optimum = torch.ones(5), GAMMA * torch.eye(5)
    torch.testing.assert_close(found.gamma, ones, rtol=0.02, atol=0)  # 2 %, as the two below
    torch.testing.assert_close(found.start, ones, rtol=0.02, atol=0)
    torch.testing.assert_close(found.preconditioner.diagonal(), optimum.diagonal(), rtol=0.02, atol=0)
    # What should vanish: within 0.02 of the norm of Gamma*, which is that of its largest singular value.
    vanishing = found.preconditioner - found.preconditioner.diagonal().diag()
    assert float(vanishing.abs().max()) < 0.02 * GAMMA
    assert float((found.v_minus1 * found.v12).abs().max()) < 0.02 * GAMMA


@pytest.mark.slow
@torch.no_grad()
def test_lsa_is_no_such_minimiser() -> None:
    # The control: the same training without the MLP has no start to learn.
    found = trained("zhang-lsa").effective_parameters()
    assert float(found.gamma.abs().max()) == 0
    assert float((found.start - 1).abs().min()) > 0.3
