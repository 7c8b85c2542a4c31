"""The signature drawn: planted directions, loadings by their formula, sides, overlaps beside untrained networks."""

import numpy as np
import pytest
import torch

import icl_interp as icl
from icl_interp.activations import collect
from icl_interp.errors import InputError
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from probes.subspaces import subspace_overlap

FEW = {"n_prompts": 16, "n_controls": 2}
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def planted(signing_model, tiny_task):
    return icl.signature_view(signing_model, tiny_task, shifts=["label_noise=1", "x_scale=3"], **FEW)


def test_the_planted_directions_are_drawn(planted):
    generator = torch.Generator().manual_seed(5)  # as in conftest.py
    directions = torch.linalg.qr(torch.randn(16, 2, generator=generator)).Q.T
    assert float(subspace_overlap(planted.dimensions, directions)) > 0.999
    drawn = np.array(planted.plot("dimensions").data[0].z, dtype=float)
    np.testing.assert_allclose(drawn, planted.dimensions, rtol=1e-6)
    # What is written there at each position is known as well: the stamp of the fixture.
    stamp = 50 * torch.randn(20, 2, generator=generator) @ directions
    for j, mean in enumerate(planted.positions[IN_DISTRIBUTION].mean):
        along = stamp[:16] @ planted.dimensions[j]
        np.testing.assert_allclose(mean, along / along.norm(), atol=0.02)  # what else the network writes is small


def test_prompts_that_leave_the_signature_stand_apart(planted):
    own, noisy = planted.projections[IN_DISTRIBUTION], planted.projections["label_noise=1"]
    assert float(own[:, 0].min()) > 0
    assert float((own.mean(0) - noisy.mean(0)).norm()) > 20 * float(own.std(0).max())
    assert planted.overlaps[IN_DISTRIBUTION].low > 0.99 > planted.overlaps["label_noise=1"].high
    clouds = {trace.name: np.array([trace.x, trace.y]).T for trace in planted.plot().data}
    np.testing.assert_allclose(clouds["label_noise=1"], noisy, rtol=1e-6)
    assert set(clouds) == {IN_DISTRIBUTION, "label_noise=1", "x_scale=3"}
    assert planted.distances()["label_noise=1"] > 20 > planted.distances()["x_scale=3"]


def test_overlaps_stand_beside_untrained_networks(planted):
    model, untrained = reversed(planted.plot("overlap").data)
    assert (model.name, untrained.name) == ("this model", "untrained networks")
    assert list(model.y) == [IN_DISTRIBUTION, "x_scale=3", "label_noise=1"]
    frame = planted.to_frame()
    np.testing.assert_allclose(list(model.x), frame["overlap"])
    np.testing.assert_allclose(list(untrained.x), frame["untrained"])
    assert planted.plot("overlap").layout.meta["y"] == [{}, {"shift": "x_scale=3"}, {"shift": "label_noise=1"}]
    assert (frame["untrained_least"] <= frame["untrained"]).all()
    assert frame.loc["x_scale=3", "untrained_most"] <= 1


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("center", [False, True])
def test_loadings_and_projections_are_their_formula(side, center, tiny_model, tiny_task):
    options = {"side": side, "center": center, "tokens": "x", "shifts": ["x_scale=3"]}
    view = icl.signature_view(tiny_model, tiny_task, **options, **FEW)
    prompts = draw_families(tiny_task, shifts=["x_scale=3"], n_prompts=16).by_label["x_scale=3"].prompts
    rows = collect(tiny_model, prompts, HOOK)[HOOK][:, 0::2].double()
    rows = rows - rows.mean(1, keepdim=True) if center else rows
    along = (rows if side == "right" else rows.mT) @ view.dimensions.double().T
    np.testing.assert_allclose(view.projections["x_scale=3"], along.mean(1), atol=1e-5)
    shares = along / along.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(view.positions["x_scale=3"].mean, shares.mean(0).T, atol=1e-5)
    assert view.rows[:2] == (("x1", "x2") if side == "right" else ("0", "1"))
    assert len(view.rows) == (8 if side == "right" else 16)


def test_one_shift_is_drawn_over_positions_and_the_others_can_be_chosen(planted):
    figure = planted.plot("positions")
    of_shift = [trace for trace in figure.data if trace.meta]
    assert {trace.meta["shift"] for trace in of_shift if trace.visible} == {planted.shifts[0]}
    assert {trace.meta["shift"] for trace in of_shift} == {"label_noise=1", "x_scale=3"}
    assert all(trace.visible is None for trace in figure.data if not trace.meta)


def test_half_of_a_direction_lies_in_few_dimensions(planted):
    shares = planted.dimensions.square().sort(dim=1, descending=True).values
    for row, n in zip(shares, planted.half, strict=True):
        assert float(row[: n - 1].sum()) < 0.5 <= float(row[:n].sum()) + 1e-6


def test_one_direction_one_network_and_what_is_refused(tiny_model, tiny_task):
    view = icl.signature_view(tiny_model, tiny_task, shifts=["x_scale=3"], k=1, n_prompts=8, n_controls=0)
    assert set(view.plot().data[0].y) == {0.0}
    assert [trace.name for trace in view.plot("overlap").data] == ["this model"]
    assert np.isnan(view.to_frame()["untrained"]).all()
    with pytest.raises(InputError, match="needs one of prompts, positions, dimensions, overlap, got 'spectra'"):
        view.plot("spectra")
