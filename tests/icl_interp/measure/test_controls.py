"""The untrained networks that stand beside a model."""

import numpy as np
import pytest
import torch

from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.models.config import ModelConfig

CONFIG = ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=1, d_model=8)


@pytest.fixture
def networks():
    return untrained_networks(CONFIG)


def test_ten_networks_of_one_config_that_differ_in_every_weight(networks):
    assert len(networks) == N_UNTRAINED == 10
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
