"""The calibration of the sampler at a checkpoint: the same loss as the timeline's, settings to hand on, its plot."""

import pytest
import torch
from development_runs import SHORT, make_run

import icl_interp as icl
from icl_interp.figures.lines import calibration_figure
from icl_interp.measure.development import llc
from icl_interp.measure.development.llc import checkpoint_llc
from probes.learning_coefficient.calibration import calibrate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("calibration") / "run")


def test_a_cell_is_the_estimate_that_the_timeline_would_make(run):
    checkpoint = icl.load_checkpoint(run)
    found = icl.calibrate_llc(run, settings=SHORT, lrs=(1e-4, 1e-3), localizations=(5.0,), seed=3)
    cell = icl.LlcSettings(2, SHORT.nbeta, 1e-3, 5.0, 2, 6, 2, 8)
    alone = checkpoint_llc(checkpoint, cell, step=6, n_points=4, last_point_only=False, seed=3)
    torch.testing.assert_close(float(found.calibration.estimates[0, 1]), alone.estimate)
    assert found.settings is None  # twelve draws are never enough
    assert "nothing recommended" in repr(found)
    assert found.plot() == calibration_figure(found.calibration)


def test_a_recommended_pair_becomes_settings(run, monkeypatch):
    def bowl(params, batch):
        return params["w"].square().sum() + 0 * batch.sum()

    def known(_loss, _params, _data, *, nbeta, lrs, localizations, **_):
        assert nbeta == SHORT.nbeta
        start = {"w": torch.zeros(8)}
        return calibrate(bowl, start, torch.zeros(1), nbeta=100.0, lrs=lrs, localizations=localizations, num_chains=16)

    monkeypatch.setattr(llc, "calibrate", known)
    found = icl.calibrate_llc(icl.load_checkpoint(run), settings=SHORT, lrs=(1e-3, 2e-3, 1e-1), localizations=(1.0,))
    assert found.settings.lr == found.calibration.recommended_lr
    assert (found.settings.localization, found.settings.num_draws) == (1.0, SHORT.num_draws)
    assert [trace.name for trace in found.plot().data][-1] == "recommended"
    with pytest.raises(ValueError, match="at least 2 different lrs"):
        icl.calibrate_llc(run, settings=SHORT, lrs=(1e-3,))
