"""Each flag once raised and once not, on real runs; the sentences and the names."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from probes.learning_coefficient import LearningCoefficient, estimate_learning_coefficient
from probes.learning_coefficient.health import FLAG_LIMITS, LlcEvidence, find_flag, health_flags

NOTHING = torch.zeros(1)
GOOD: dict[str, Any] = {"nbeta": 100.0, "lr": 1e-3, "localization": 1.0, "num_chains": 16, "num_draws": 400}


def bowl(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return params["w"].square().sum() + 0 * batch.sum()


def dome(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return 1 - params["w"].square().sum() / 10 + 0 * batch.sum()


def noisy(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return params["w"].square().sum() + batch.mean()


def flat(params: dict[str, Tensor], batch: Tensor) -> Tensor:
    return 1e-3 * params["w"].square().sum() + 0 * batch.sum()


NOISE = torch.randn(1000, generator=torch.Generator().manual_seed(0))

# What raises each flag, as changes to a run that raises none.
RAISED: dict[str, dict[str, Any]] = {
    "diverged": {"lr": 2.6e-2, "num_draws": 200},
    "negative": {"loss": dome, "localization": 30.0},
    "not_plateaued": {"lr": 1e-5, "num_burnin_steps": 0},
    "rhat": {"lr": 1e-5, "num_burnin_steps": 0},
    "few_effective_draws": {"num_chains": 2, "num_draws": 40},
    "low_acceptance": {"lr": 8e-3, "n": 4000},
    "wandering": {"loss": flat, "localization": 0.0, "num_burnin_steps": 0},
    "unstable_step": {"lr": 1.2e-2},
    "noisy_init_loss": {"loss": noisy, "data": NOISE, "batch_size": 10, "num_init_loss_batches": 8},
}


def run(loss: Any = bowl, data: Any = NOTHING, n: int = 10, **options: Any) -> LearningCoefficient:
    return estimate_learning_coefficient(loss, {"w": torch.zeros(n)}, data, **GOOD | options)


@pytest.fixture(scope="module")
def healthy() -> LearningCoefficient:
    return run()


@pytest.mark.parametrize("name", FLAG_LIMITS)
def test_a_sound_run_raises_no_flag(name: str, healthy: LearningCoefficient) -> None:
    flag = healthy.flag(name)
    assert not flag.raised
    assert "RAISED" not in repr(flag)
    assert math.isfinite(flag.value)
    assert flag.limit == FLAG_LIMITS[name]


@pytest.mark.parametrize(("name", "changes"), RAISED.items(), ids=RAISED)
def test_what_is_wrong_raises_its_flag(name: str, changes: dict[str, Any]) -> None:
    result = run(**changes)
    flag = result.flag(name)
    assert flag.raised
    assert name in result.raised
    assert name in repr(result)
    assert "RAISED" in repr(flag)
    assert "; " in flag.message  # what to do


def test_every_flag_has_a_case() -> None:
    assert set(RAISED) == set(FLAG_LIMITS)


def test_noise_of_batches_alone_does_not_raise_the_init_flag() -> None:
    calm = run(noisy, NOISE, batch_size=10, num_init_loss_batches=100)  # the whole set, evaluated exactly
    assert not calm.flag("noisy_init_loss").raised


def test_without_a_healthy_chain_all_flags_on_chains_are_raised() -> None:
    empty = torch.zeros(0, 10, dtype=torch.float64)
    evidence = LlcEvidence(math.nan, 1.0, empty, empty, math.nan, 0.1, 0.0, 3, 3)
    raised = {flag.name for flag in health_flags(evidence) if flag.raised}
    assert raised == set(FLAG_LIMITS) - {"unstable_step"}


def test_step_ratio_is_the_stability_number(healthy: LearningCoefficient) -> None:
    # lr * (nbeta * h + localization) with h = 2; 1 % is power iteration's tolerance and more.
    assert abs(healthy.flag("unstable_step").value - 1e-3 * (200 + 1)) < 0.002


def test_acceptance_is_that_of_mala_on_a_gaussian() -> None:
    # One dimension, h = 2: the exact mean acceptance over the sampled distribution, by drawing from it.
    lr, pull = 1e-2, 100 * 2.0
    generator = torch.Generator().manual_seed(0)
    std = math.sqrt(1 / (pull * (1 - lr * pull / 4)))
    w = std * torch.randn(200_000, generator=generator).double()
    xi = torch.randn(200_000, generator=generator).double()
    new = w - lr / 2 * pull * w + math.sqrt(lr) * xi
    back = w - new + lr / 2 * pull * new
    log_ratio = -pull / 2 * (new**2 - w**2) + xi**2 / 2 - back**2 / (2 * lr)
    expected = float(log_ratio.clamp_max(0).exp().mean())
    result = estimate_learning_coefficient(
        bowl, {"w": torch.zeros(1)}, NOTHING, nbeta=100.0, lr=lr, localization=0.0, num_chains=256, num_mala_checks=32,
        num_draws=100, num_burnin_steps=20,
    )  # fmt: skip
    assert expected < 0.95  # far enough from 1 for the comparison to mean something
    # 8,000 weakly dependent acceptances of spread 0.2 have an error of about 0.003.
    assert abs(float(result.acceptance.mean()) - expected) < 0.015


def test_unknown_flags_list_the_known_ones(healthy: LearningCoefficient) -> None:
    with pytest.raises(ValueError, match="one of 'diverged', 'negative'"):
        find_flag(healthy.flags, "sick")
