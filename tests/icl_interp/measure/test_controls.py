"""The excess over untrained networks: its formula literally, its verdicts, and the networks themselves."""

import numpy as np
import pytest
import scipy.stats
import torch

from icl_interp.measure.controls import (
    N_UNTRAINED,
    Excess,
    _variance_over,
    excess_over_controls,
    paired_variance,
    untrained_networks,
)
from icl_interp.models.config import ModelConfig

CONFIG = ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=1, d_model=8)
LOW = [0.1, 0.12, 0.08, 0.1, 0.1]


@pytest.mark.parametrize("n_verdicts", [1, 9])
@pytest.mark.parametrize("controls", [[0.1, 0.4], [0.1, 0.2, 0.6]], ids=["two", "three"])
@pytest.mark.parametrize("variance", [0.0, 0.03])
def test_the_interval_is_the_formula(n_verdicts, controls, variance):
    found = excess_over_controls(0.9, controls, sampling_variance=variance, n_verdicts=n_verdicts)
    n = len(controls)
    t, z = scipy.stats.t.ppf(1 - 0.05 / n_verdicts, df=n - 1), scipy.stats.norm.ppf(1 - 0.05 / n_verdicts)
    half = np.sqrt(t**2 * np.var(controls, ddof=1) * (1 + 1 / n) + z**2 * variance)
    excess = 0.9 - np.mean(controls)
    # the same float64 arithmetic in another order
    np.testing.assert_allclose([found.low, found.high], [excess - half, excess + half], rtol=1e-12)
    np.testing.assert_allclose([found.control, found.excess], [np.mean(controls), excess], rtol=1e-12)
    np.testing.assert_allclose(found.confidence, 1 - 0.05 / n_verdicts, rtol=1e-15)
    assert found.controls == tuple(controls)


def test_the_value_must_also_exceed_chance_by_its_own_interval():
    found = excess_over_controls(0.7, LOW, chance=0.5, value_variance=0.01, n_verdicts=4)
    # a normal quantile at 1 - 0.05 / 4
    np.testing.assert_allclose(found.value_low, 0.7 - scipy.stats.norm.ppf(1 - 0.05 / 4) * 0.1, rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "controls", "options", "verdict"),
    [
        (0.9, LOW, {}, "evidence"),
        (0.1, LOW, {}, "none"),
        (-0.9, LOW, {}, "none"),
        (0.9, LOW, {"sampling_variance": 1.0}, "none"),
        (0.9, [0.0, 0.9, 0.1, 0.5, 0.7], {}, "none"),
        (-0.1, [-0.3, -0.31, -0.29, -0.3, -0.3], {"chance": 0.0}, "none"),
        (-0.1, [-0.3, -0.31, -0.29, -0.3, -0.3], {}, "evidence"),
        (0.6, LOW, {"chance": 0.5, "value_variance": 0.0001}, "evidence"),
        (0.6, LOW, {"chance": 0.5, "value_variance": 0.01}, "none"),
        (0.6, LOW, {"chance": 0.5, "value_variance": float("nan")}, "none"),
        (0.9, [], {}, "unknown"),
        (0.9, [0.1], {}, "unknown"),
        (float("nan"), LOW, {}, "unknown"),
        (float("inf"), LOW, {}, "unknown"),
        (0.9, [0.1, float("nan")], {}, "unknown"),
        (0.9, LOW, {"sampling_variance": float("nan")}, "unknown"),
    ],
    ids=[
        "far above",
        "among the controls",
        "below",
        "uncertain over prompts",
        "controls scatter",
        "above controls, below chance",
        "without a chance level",
        "above chance for sure",
        "above chance by chance",
        "chance cannot be judged",
        "no control",
        "one control",
        "value is NaN",
        "value is infinite",
        "a control is NaN",
        "variance is NaN",
    ],
)
def test_verdicts(value, controls, options, verdict):
    assert excess_over_controls(value, controls, **options).verdict == verdict


def test_more_claims_ask_for_more():
    assert excess_over_controls(0.3, [0.1, 0.15, 0.05], n_verdicts=1).verdict == "evidence"
    assert excess_over_controls(0.3, [0.1, 0.15, 0.05], n_verdicts=20).verdict == "none"


def test_without_controls_there_is_no_control_value():
    found = excess_over_controls(0.9, [])
    np.testing.assert_equal([found.control, found.excess, found.low, found.high], [np.nan] * 4)


def test_an_excess_of_equal_controls_is_exact():
    found = Excess(1.0, (0.5, 0.5), 0.5, 0.5, 0.95)
    np.testing.assert_equal([found.control, found.excess], [0.5, 0.5])
    assert found.verdict == "evidence"


def test_repr_is_a_line_with_the_verdict():
    assert repr(Excess(1.0, (0.5, 0.5), 0.25, 0.75, 0.95)) == (
        "Excess(evidence: 1 here, 0.5 untrained, excess 0.5 [0.25, 0.75])"
    )
    assert repr(excess_over_controls(0.9, [])) == "Excess(unknown: 0.9 here, nan untrained, excess nan [nan, nan])"


def test_variance_over_leaves_out_what_is_not_finite():
    replicates = torch.tensor([1.0, float("nan"), 3.0, float("inf"), 5.0])
    np.testing.assert_allclose(_variance_over(replicates), np.var([1, 3, 5], ddof=1), rtol=1e-6)  # float32
    assert np.isnan(_variance_over(torch.tensor([1.0, float("nan")])))


def test_paired_variance_is_that_of_the_difference():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(400, generator=generator)
    a, b, c = (shared + 0.1 * torch.randn(400, generator=generator) for _ in range(3))
    # one float32 variance of the same numbers
    np.testing.assert_allclose(paired_variance(a, [b, c]), np.var((a - (b + c) / 2).numpy(), ddof=1), rtol=1e-5)
    assert paired_variance(a, [b, c]) < 0.1 * _variance_over(a)  # what is shared cancels
    np.testing.assert_equal(paired_variance(a, []), 0.0)


@pytest.fixture
def networks():
    return untrained_networks(CONFIG)


def test_five_networks_of_one_config_that_differ_in_every_weight(networks):
    assert len(networks) == N_UNTRAINED == 5
    assert all(network.cfg == CONFIG for network in networks)
    assert not any(network.training for network in networks)
    for i, network in enumerate(networks):
        for other in networks[:i]:
            assert not torch.equal(network.embed.W_E, other.embed.W_E)
            assert not torch.equal(network.blocks[0].attn.W_Q, other.blocks[0].attn.W_Q)


def test_networks_depend_on_the_seed_alone(networks):
    again, other = untrained_networks(CONFIG, 2, seed=0), untrained_networks(CONFIG, 2, seed=1)
    for network, same, different in zip(networks, again, other, strict=False):
        torch.testing.assert_close(dict(network.state_dict()), dict(same.state_dict()), rtol=0, atol=0)
        assert not torch.equal(network.embed.W_E, different.embed.W_E)


def test_no_networks_on_demand():
    assert untrained_networks(CONFIG, 0) == []


@pytest.mark.parametrize("init", ["dtsip", "gpt2"])
def test_networks_share_the_file_s_own_initialisation(init):
    config = ModelConfig(n_dims=4, n_points=4, n_layers=1, n_heads=1, d_model=128, init=init)
    spread = torch.stack([network.embed.W_E.detach() for network in untrained_networks(config, 3)]).std()
    # "dtsip": U(-1/2, 1/2) has 1 / sqrt(12) = 0.289; "gpt2": N(0, 0.02^2). 1536 entries, so 5 % is ample.
    expected = {"dtsip": 0.5 / 3**0.5, "gpt2": 0.02}[init]
    torch.testing.assert_close(float(spread), expected, rtol=0.05, atol=0)


def test_the_global_generators_are_untouched():
    torch.manual_seed(3)
    # Python's own `random` is left out: beartype, which checks types in these tests, draws from it.
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    untrained_networks(CONFIG, 2)
    torch.testing.assert_close(torch.get_rng_state(), before[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
