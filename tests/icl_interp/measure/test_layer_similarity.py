"""Likeness of layers: what the pure measures say, at every pair of places, with untrained networks."""

import numpy as np
import pytest
import torch

from icl_interp.activations import collect
from icl_interp.measure.similarity import _check_measure, layer_similarity, summarise_similarity
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from probes.similarity import linear_cka, procrustes_distance


@pytest.fixture(scope="module")
def prompts(tiny_task):
    return tiny_task.sample(24, seed=0)


@pytest.fixture(scope="module")
def found(tiny_model, prompts):
    return layer_similarity(tiny_model, prompts, n_controls=2)


def test_each_pair_is_what_the_measures_say(tiny_model, prompts, found):
    sites = tiny_model.cfg.residual_sites()
    assert found.sites == tuple(site.label for site in sites)
    held = collect(tiny_model, prompts, [site.hook for site in sites])
    first, last = held[sites[0].hook][:, -1].double(), held[sites[-1].hook][:, -1].double()
    np.testing.assert_allclose(found.cka[0, -1], linear_cka(first, last, debiased=True), rtol=1e-9)
    np.testing.assert_allclose(found.procrustes[-1, 0], procrustes_distance(first, last), rtol=1e-9)
    torch.testing.assert_close(found.cka, found.cka.T)
    torch.testing.assert_close(found.procrustes.diagonal(), torch.zeros(len(sites)).double(), rtol=0, atol=1e-6)


def test_turned_and_scaled_layers_are_the_same_and_unrelated_ones_are_not():
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, 200, 6, generator=generator, dtype=torch.float64)
    turned = 3 * a @ torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    found = summarise_similarity([{"a": a, "turned": turned, "noise": noise}], pooling="mean")
    np.testing.assert_allclose([found.cka[0, 1], found.procrustes[0, 1]], [1, 0], atol=1e-7)
    assert abs(float(found.cka[0, 2])) < 0.05  # 200 prompts: an sd of about 0.01
    assert float(found.procrustes[0, 2]) > 1


def test_a_place_that_does_not_vary_is_like_nothing():
    a = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    found = summarise_similarity([{"a": a, "flat": torch.ones(8, 3)}], pooling="last")
    assert bool(found.cka[0, 1].isnan())
    np.testing.assert_allclose(found.cka[0, 0], 1.0, rtol=1e-6)


def test_untrained_networks_stand_beside(found):
    assert len(found.untrained_cka) == len(found.untrained_procrustes) == 2
    torch.testing.assert_close(found.control("cka"), found.untrained_cka.mean(0))
    frame = found.to_frame()
    assert len(frame) == 6  # pairs of 4 sites
    np.testing.assert_allclose(frame["cka_untrained"].iloc[0], found.control("cka")[0, 1], rtol=1e-12)


@pytest.mark.parametrize("of", ["cka", "procrustes"])
@pytest.mark.parametrize("untrained", [False, True])
def test_maps_show_the_numbers(found, of, untrained):
    (map_,) = found.plot(of, untrained=untrained).data
    expected = found.control(of) if untrained else getattr(found, of)
    np.testing.assert_allclose(np.array(map_.z, dtype=float), expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{"pooling": "mean"}, {"tokens": "x"}, {"layers": []}, {"n_controls": 0}])
def test_each_option_counts(tiny_model, prompts, found, options):
    other = layer_similarity(tiny_model, prompts, **{"n_controls": 1, **options})
    assert len(other.untrained_cka) == options.get("n_controls", 1)
    assert other.sites != found.sites or not torch.equal(other.cka, found.cka) or "n_controls" in options


def test_query_only_models_are_read_in_the_last_sequence():
    model = build_model(ModelConfig(family="lsa", n_dims=3, n_points=6), seed=0)
    found = layer_similarity(model, LinearRegression(n_dims=3, n_points=6).sample(16, seed=0), n_controls=1)
    assert found.sites == ("read-in", "block 0")
    assert bool(found.cka[0, 1].isfinite())


def test_what_cannot_be_compared_is_refused(tiny_model, prompts):
    with pytest.raises(ValueError, match="layer_similarity needs at least 4 prompts, got 3; sample more"):
        layer_similarity(tiny_model, prompts[:3])
    with pytest.raises(ValueError, match="a measure out of cka, procrustes, got 'rsa'"):
        _check_measure("rsa")  # under the tests' type checks plot() itself would not get so far
