"""The spectral signature of planted activations, of planted and untrained models, and under every convention."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp.activations import collect
from icl_interp.measure.controls import untrained_networks
from icl_interp.measure.signature import spectral_signature
from icl_interp.measure.sites import Conventions
from icl_interp.models.hook_names import hook_name
from probes.signature import fit_signature


@pytest.fixture(scope="module")
def prompts(tiny_task):
    return tiny_task.sample(24, seed=0)


@pytest.fixture(scope="module")
def untrained(tiny_model, prompts):
    return spectral_signature(tiny_model, prompts)


def noise(n: int = 200, d: int = 16) -> torch.Tensor:
    return torch.randn(n, 12, d, generator=torch.Generator().manual_seed(0))


def stamped() -> torch.Tensor:
    """Noise, and two fixed directions of much larger size that every prompt shares."""
    generator = torch.Generator().manual_seed(1)
    return noise() + 10 * torch.randn(12, 2, generator=generator) @ torch.eye(16)[:2]


def test_a_planted_signature_is_found_on_held_out_prompts():
    result = spectral_signature(stamped())
    assert float(result.scores.overlap.mean()) > 0.95
    planted = result.signature.reference[:, :2].double().square().sum()
    # both reference directions lie in the planted plane but for noise of a tenth of the stamp
    torch.testing.assert_close(float(planted), 2.0, rtol=0.05, atol=0)
    fresh = result.signature.ood_score(noise())
    assert float(fresh.mean()) > float(result.scores.ood_score.mean()) + 0.7


def test_isotropic_noise_overlaps_by_chance():
    result = spectral_signature(noise())
    # k / d, with a standard error near 0.007 over 100 held-out prompts
    torch.testing.assert_close(float(result.scores.overlap.mean()), 2 / 16, rtol=0, atol=0.03)


def test_given_activations_have_no_control():
    result = spectral_signature(noise())
    assert result.control is None
    assert result.excess is None
    assert result.site == "given activations"
    assert [trace.name for trace in result.plot().data] == ["this model"]


def test_one_half_is_fitted_and_the_other_scored():
    activations = stamped()[:11]
    result = spectral_signature(activations)
    signature = fit_signature(activations[:5])
    assert result.signature.n_samples == 5
    # the same float64 decomposition
    torch.testing.assert_close(result.scores.overlap, signature.score(activations[5:]).overlap, rtol=1e-6, atol=0)
    expected = torch.linalg.svdvals(activations[5:].double()).float()
    torch.testing.assert_close(result.spectra, expected, rtol=1e-5, atol=1e-5)  # stored as float32


def test_an_untrained_model_shows_nothing_beyond_untrained_models(untrained):
    assert untrained.excess.verdict in ("negligible", "inconclusive")
    assert len(untrained.control.overlaps) == 10
    assert untrained.control.spectra.shape[0] == 10


def test_a_planted_model_shows_evidence(signing_model, prompts):
    result = spectral_signature(signing_model, prompts)
    assert result.excess.verdict == "evidence"
    assert float(result.scores.overlap.mean()) > 0.95


def test_the_plant_is_not_there_before_it_is_written(signing_model, prompts):
    assert spectral_signature(signing_model, prompts, layer=0).excess.verdict in ("negligible", "inconclusive")


def test_the_excess_is_over_the_mean_of_the_controls(untrained):
    excess = untrained.excess
    means = [float(overlap.mean()) for overlap in untrained.control.overlaps]
    np.testing.assert_allclose(excess.value, float(untrained.scores.overlap.mean()), rtol=0)
    np.testing.assert_allclose(excess.controls, means, rtol=0)
    assert excess.low < excess.excess < excess.high


OPTIONS = {
    "defaults": {},
    "layer 0": {"layer": 0},
    "layer -2": {"layer": -2},
    "resid_pre": {"site": "resid_pre"},
    "resid_mid": {"site": "resid_mid"},
    "attn_out": {"site": "attn_out"},
    "mlp_out": {"site": "mlp_out"},
    "embed": {"site": "embed"},
    "final_norm": {"site": "final_norm"},
    "x tokens": {"tokens": "x"},
    "y tokens": {"tokens": "y"},
    "centred": {"center": True},
    "left": {"side": "left"},
    "k = 1": {"k": 1},
    "k = 3": {"k": 3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option_reaches_the_measurement(tiny_model, prompts, options):
    result = spectral_signature(tiny_model, prompts, n_controls=0, **options)
    name = hook_name(options.get("site", "resid_post"), options.get("layer", -1), n_layers=tiny_model.cfg.n_layers)
    assert result.site == name
    kept = {key: value for key, value in options.items() if key not in {"layer", "site"}}
    assert result.conventions == replace(Conventions(), **kept)
    rows = {"all": slice(None), "x": slice(0, None, 2), "y": slice(1, None, 2)}[result.conventions.tokens]
    activations = collect(tiny_model, prompts, name)[name][:, rows]
    spectral = {key: value for key, value in kept.items() if key != "tokens"}
    expected = fit_signature(activations[:12], **spectral).score(activations[12:])
    # the same float64 decompositions of the same activations
    torch.testing.assert_close(result.scores.overlap, expected.overlap, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(result.scores.alignment, expected.alignment, rtol=1e-6, atol=1e-7)
    assert result.conventions.describe() in result.plot().layout.title.text
    assert name in result.plot().layout.title.text


def test_controls_can_be_switched_off(tiny_model, prompts):
    result = spectral_signature(tiny_model, prompts, n_controls=0)
    assert result.control is None
    assert result.excess is None


def test_the_seed_is_that_of_the_untrained_networks(tiny_model, prompts, untrained):
    same, other = (spectral_signature(tiny_model, prompts, n_controls=2, seed=seed) for seed in (0, 1))
    torch.testing.assert_close(same.control.overlaps[0], untrained.control.overlaps[0], rtol=0, atol=0)
    assert not torch.equal(same.control.overlaps[0], other.control.overlaps[0])
    torch.testing.assert_close(same.scores.overlap, other.scores.overlap, rtol=0, atol=0)


def test_four_prompts_are_enough(tiny_model, tiny_task):
    assert len(spectral_signature(tiny_model, tiny_task.sample(4, seed=0), n_controls=0).scores.overlap) == 2


def test_to_frame_has_a_row_a_held_out_prompt(untrained):
    frame = untrained.to_frame()
    assert list(frame.columns) == ["overlap", "ood_score", "alignment_1", "alignment_2", "swap_ratio", "swapped"]
    assert len(frame) == 12
    # float32: 1 - x and x add up to 1 within rounding
    np.testing.assert_allclose(frame["overlap"] + frame["ood_score"], 1, rtol=1e-6)


def test_plot_shows_the_untrained_spectra_beside_the_model_s(untrained):
    figure = untrained.plot()
    assert [trace.name for trace in figure.data] == ["untrained networks, band", "untrained networks", "this model"]
    # the same float32 numbers
    np.testing.assert_allclose(figure.data[-1].y, untrained.spectra.mean(0), rtol=1e-6)
    assert "untrained" in figure.layout.title.text
    assert "plotly" in untrained._repr_html_()


def test_reprs_are_short_and_say_where(untrained):
    text = repr(untrained)
    assert text.startswith("SignatureResult(blocks.1.hook_resid_post, all tokens, uncentred")
    assert "10 untrained networks" in text
    assert len(text) < 250
    assert repr(untrained.control).startswith("SignatureControl(10 untrained networks, mean overlaps [0.")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            lambda _, prompts: (noise(), prompts),
            {},
            "activations or a model with prompts, got activations and both",
        ),
        (lambda model, _: (model,), {}, "needs prompts, got none"),
        (lambda model, prompts: (model, prompts[:3]), {}, "needs 4 prompts, got 3"),
        (lambda *_: (noise(3),), {}, "needs 4 prompts, got 3"),
        (lambda model, prompts: (model, prompts), {"layer": 2}, "in a model of 2 layers, got 2"),
        (lambda model, prompts: (model, prompts), {"k": 0}, "k"),
    ],
    ids=["both", "no prompts", "3 prompts", "3 activations", "no such layer", "k = 0"],
)
def test_what_cannot_be_measured_is_refused(tiny_model, prompts, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        spectral_signature(*arguments(tiny_model, prompts), n_controls=0, **options)


def test_controls_from_arrays_are_those_of_the_model(tiny_model, tiny_config, prompts, untrained):
    hook = hook_name("resid_post", -1, n_layers=tiny_config.n_layers)
    own, *controls = [
        collect(network, prompts, hook)[hook].numpy()
        for network in [tiny_model, *untrained_networks(tiny_config, 10, seed=0)]
    ]
    found = spectral_signature(own, controls=controls)
    assert found.site == "given activations"
    torch.testing.assert_close(found.scores.overlap, untrained.scores.overlap, rtol=0, atol=0)
    torch.testing.assert_close(found.spectra, untrained.spectra, rtol=0, atol=0)
    torch.testing.assert_close(found.control.spectra, untrained.control.spectra, rtol=0, atol=0)
    assert found.excess == untrained.excess
    assert found.plot().layout.title.text.startswith("given activations: held-out overlap")


def test_a_stamp_beyond_controls_from_arrays_is_evidence():
    others = [np.random.default_rng(seed).standard_normal((200, 12, 16)) for seed in range(3)]
    assert spectral_signature(stamped().numpy(), controls=others).excess.verdict == "evidence"
    assert spectral_signature(stamped(), controls=[stamped().numpy()] * 2).excess.verdict == "negligible"


def test_sixteen_bits_of_numpy_are_read_as_they_are():
    halves = stamped().numpy().astype(np.float16)
    found, exact = spectral_signature(halves), spectral_signature(torch.from_numpy(halves).float())
    torch.testing.assert_close(found.scores.overlap, exact.scores.overlap, rtol=0, atol=0)


def test_controls_are_refused_beside_a_model_or_of_another_shape(tiny_model, prompts):
    with pytest.raises(ValueError, match="takes controls beside activations, got them beside a model"):
        spectral_signature(tiny_model, prompts, controls=[noise()])
    with pytest.raises(ValueError, match=r"controls of the shape \[200, 12, 16\].*, got \[9, 12, 16\] in control 2"):
        spectral_signature(noise(), controls=[noise(), noise(9)])
    with pytest.raises(TypeError, match=r"spectral_signature needs a model, got list"):
        spectral_signature([1.0, 2.0])
