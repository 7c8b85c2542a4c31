"""The atlas: exact p-values, planted cells, and what cannot be judged."""

import math
from dataclasses import replace

import atlas_cases
import numpy as np
import pytest
import torch
from atlas_cases import SHIFTS, SITES, atlas, families, survey, surveys

import icl_interp as icl
from icl_interp.errors import InputError
from icl_interp.measure.atlas import ATLAS, atlas_of, ranks_of, ranks_of_aurocs, signature_atlas
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.measure.subspace_use import USE
from icl_interp.models.build import build_model
from icl_interp.tasks.linear_regression import LinearRegression
from probes.detection import detection_report

LEAVES, STAYS = {("block 1", "label_noise=1"): 3.0}, {("block 0", "w_scale=1/2"): -3.0}


def cells(found):
    return {(cell.site, cell.shift) for cell in found}


@pytest.mark.parametrize("common", [0.0, 0.9], ids=["independent", "correlated"])
@pytest.mark.parametrize("tails", [None, 2], ids=["normal", "heavy tails"])
def test_the_rank_is_an_exact_p_value(common, tails):
    n_trials, n_controls = 1000, 20
    generator = np.random.default_rng(0)
    p_values = np.empty(n_trials)
    for i in range(n_trials):
        shape = (1 + n_controls, 12)
        draws = generator.normal(size=shape) if tails is None else generator.standard_t(tails, size=shape)
        values = math.sqrt(common) * generator.normal(size=(1 + n_controls, 1)) + math.sqrt(1 - common) * draws
        ranks = ranks_of(values)
        p_values[i] = ranks.p_value
        assert ranks.p_value == ranks.cell_p_values.min()  # something is found exactly where the whole atlas says so
    for level in (1 / 21, 5 / 21, 10 / 21):
        error = 2.5 * math.sqrt(level * (1 - level) / n_trials)
        assert abs((p_values <= level + 1e-12).mean() - level) <= error


def test_ranks_are_those_of_a_loop():
    values = np.random.default_rng(1).normal(size=(7, 2, 3))
    slow = np.empty_like(values)
    for i in range(7):
        others = np.delete(values, i, axis=0)
        slow[i] = (values[i] - others.mean(0)) / others.std(0, ddof=1)
    ranks = ranks_of(values)
    np.testing.assert_allclose(ranks.deviations, slow, rtol=1e-10)
    np.testing.assert_allclose(ranks.scores, np.abs(slow).max((1, 2)), rtol=1e-10)
    shares = [(1 + (ranks.scores[1:] >= abs(z)).sum()) / 7 for z in slow[0].ravel()]
    np.testing.assert_allclose(ranks.cell_p_values.ravel(), shares, rtol=1e-12)


def test_networks_that_are_all_alike_show_nothing():
    ranks = ranks_of(np.full((21, 4), 0.3))
    assert (ranks.deviations == 0).all()
    assert ranks.p_value == 1


def test_controls_without_spread_do_not_make_the_model_infinitely_far():
    aurocs = np.ones((21, 2))
    aurocs[0] = 0.999, 0.5
    ranks = ranks_of_aurocs(aurocs, 128)
    assert ranks.deviations[0, 0] == 0
    assert -10 < ranks.deviations[0, 1] < -1
    assert ranks.cell_p_values.tolist() == pytest.approx([1, 1 / 21])


def test_cells_that_some_network_lacks_are_judged_in_none():
    values = np.random.default_rng(0).normal(size=(21, 3))
    values[0, 0] = 50.0
    values[4, 0] = np.nan
    ranks = ranks_of(values)
    assert np.isnan(ranks.deviations[:, 0]).all()
    np.testing.assert_allclose(ranks.scores, ranks_of(values[:, 1:]).scores, rtol=1e-12)
    assert math.isnan(ranks.cell_p_values[0])


@pytest.mark.parametrize("n", [1, 2])
def test_without_two_controls_there_is_no_rank(n):
    assert math.isnan(ranks_of(np.zeros((n, 3))).p_value)


@pytest.mark.parametrize(("planted", "verdict"), [(LEAVES, "evidence"), (STAYS, "opposite")])
def test_a_planted_cell_is_found_and_no_other(planted, verdict):
    found = atlas(planted, again=planted)
    (cell,) = found.found
    assert cells([cell]) == set(planted)
    assert (cell.verdict, found.verdict, cell.confirmed) == (verdict, verdict, True)
    assert (cell.z > 0) is (verdict == "evidence")
    assert found.p_value == cell.p_value == pytest.approx(1 / 21)
    assert found.named_sites() == tuple(site for site in SITES if site.label == cell.site)


def test_nothing_is_found_where_nothing_is_planted():
    found = atlas({}, again={})
    assert (found.found, found.verdict, found.named_sites()) == ((), "inconclusive", ())
    assert found.p_value > 0.05
    assert 0 < found.detectable < 0.5


def test_the_value_is_the_auroc_of_the_score():
    (own, *_), drawn = surveys(LEAVES, 0), atlas(LEAVES)
    for cell in drawn.cells:
        scores = [own.families[label].sites[cell.site].scores.ood_score for label in (IN_DISTRIBUTION, cell.shift)]
        assert cell.value == pytest.approx(detection_report(*scores, n_bootstrap=1).auroc, abs=1e-9)


def test_other_prompts_that_do_not_show_it_confirm_nothing():
    (cell,) = atlas(LEAVES, again={}).found
    assert cell.confirmed is False
    (other_way,) = atlas(LEAVES, again={place: -6.0 for place in LEAVES}).found
    assert other_way.p_again < 0.05
    assert other_way.confirmed is False


def test_sites_are_named_once_the_clearest_first():
    found = atlas({("final norm", "x_scale=3"): 6.0, **LEAVES, ("final norm", "label_noise=1"): 5.0})
    assert len(found.found) == 3
    assert [site.label for site in found.named_sites()] == ["final norm", "block 1"]


def test_what_norms_see_as_well_is_not_beyond_norms():
    found = {cell.shift: cell for cell in atlas({("block 0", "x_scale=3"): 3.0, **LEAVES}).found}
    assert found["x_scale=3"].norms > 0.99  # inputs of three times the norm
    assert found["label_noise=1"].norms < 0.7
    assert {shift: cell.beyond_norms for shift, cell in found.items()} == {"x_scale=3": False, "label_noise=1": True}


@pytest.mark.parametrize("n_controls", [2, 19])
def test_fewer_than_twenty_controls_describe_and_do_not_judge(n_controls):
    found = atlas(LEAVES, n_controls)
    assert not found.judged
    assert found.found == ()
    assert {cell.verdict for cell in found.cells} == {"not applicable"}
    assert all("20" in cell.reason for cell in found.cells)
    assert all(math.isfinite(cell.z) for cell in found.cells)


def without_signature(how: str, network: int):
    made = surveys(LEAVES, 20)
    record = made[network].families[IN_DISTRIBUTION]
    old = record.sites["block 1"]
    scores = replace(old.scores, tied=torch.ones_like(old.scores.tied))
    if how == "not a number":
        scores = replace(old.scores, overlap=torch.full_like(old.scores.overlap, float("nan")))
    sites = {**record.sites, "block 1": replace(old, scores=scores)}
    of_model = {**made[network].families, IN_DISTRIBUTION: replace(record, sites=sites)}
    made[network] = replace(made[network], families=of_model)
    return atlas_of(made, families(), SITES, Conventions())


@pytest.mark.parametrize("how", ["tied", "not a number"])
@pytest.mark.parametrize("network", [0, 3], ids=["the model", "a control"])
def test_sites_without_a_signature_are_not_judged(how, network):
    found = without_signature(how, network)
    words = {(cell.site, cell.verdict) for cell in found.cells}
    assert words == {("block 0", "inconclusive"), ("block 1", "not applicable"), ("final norm", "inconclusive")}
    assert all(math.isfinite(score) for score in found.scores)


def test_a_signature_of_all_directions_is_none():
    made = [survey({label: {site.label: torch.ones(48) for site in SITES} for label in (IN_DISTRIBUTION, *SHIFTS)}, 2)]
    found = atlas_of(made * 21, families(), SITES, Conventions())
    assert not found.judged
    assert math.isnan(found.p_value)
    assert all(
        cell.reason == found.reason == "the signature spans all directions that exist here" for cell in found.cells
    )


def test_energy_is_kept_by_shifts_that_say_so():
    drawn = draw_families(LinearRegression(4, n_points=6), n_prompts=atlas_cases.N_PROMPTS)
    overlaps = {label: {site.label: torch.linspace(0.1, 0.9, 48) for site in SITES} for label in drawn.by_label}
    found = atlas_of([survey(overlaps)], drawn, SITES[:1], Conventions())
    kept = {"x_skewed", "x_half_subspace", "label_noise=1", "random_orthants"}
    assert {cell.shift for cell in found.cells if cell.keeps_energy} == kept
    assert {cell.shift.partition("=")[0] for cell in found.cells if not cell.keeps_energy} == {
        "x_scale",
        "w_scale",
        "x_mean",
    }


def test_what_moves_the_overlap_is_recovered():
    drawn = families()
    prompts = drawn.in_distribution.prompts
    labels = prompts.ys.double().norm(dim=1).log()
    told = 1.5 * (labels - labels.mean()) / labels.std(correction=0)
    made = surveys({}, 2)
    sites = {
        site: replace(r, scores=replace(r.scores, overlap=told.sigmoid().float()))
        for site, r in made[0].families[IN_DISTRIBUTION].sites.items()
    }
    own = {**made[0].families, IN_DISTRIBUTION: replace(made[0].families[IN_DISTRIBUTION], sites=sites)}
    found = atlas_of([replace(made[0], families=own), *made[1:]], drawn, SITES, Conventions())
    for reading in found.readings:
        assert (reading.log_labels.value, reading.log_inputs.value) == pytest.approx((1.5, 0.0), abs=0.02)
        assert reading.r2.value > 0.99 > 0.3 > reading.r2.span[1]
        assert len(reading.error_within.controls) == 2


def test_frame_and_figure_hold_every_cell():
    found = atlas({**LEAVES, **STAYS}, again=LEAVES)
    frame = found.to_frame()
    assert list(zip(frame["site"], frame["shift"], strict=True)) == [
        (s.label, shift) for s in SITES for shift in SHIFTS
    ]
    assert frame["confirmed"].tolist().count(True) == 1
    figure = found.plot()
    assert len(figure.layout.shapes) == len(found.found) == 2
    values = np.array(figure.data[0].z, dtype=float)
    assert np.isfinite(values).sum() == len(found.cells)
    assert repr(found).startswith("Atlas(evidence: 2 of 9 cells")
    assert "block 1" in found._repr_html_()


def test_an_atlas_needs_a_shift():
    alone = draw_families(LinearRegression(3), shifts=["longer_prompts=2"], n_prompts=8)
    with pytest.raises(InputError, match="needs a site and a shift"):
        atlas_of([], alone, SITES, Conventions())


@pytest.fixture(scope="module")
def leaving_model(tiny_config):
    """A network whose first block marks prompts with noisy labels, each along directions of its own; taken back after.

    All other prompts, and all other sites, are as in an untrained network.
    """
    model = build_model(tiny_config, seed=11)
    back = torch.linalg.pinv(model.embed.W_E.detach())
    out = 50 * torch.randn(2, tiny_config.n_dims, tiny_config.d_model, generator=torch.Generator().manual_seed(1))
    mark = {}

    def see(embedded, hook):  # noqa: ARG001
        tokens = ((embedded - model.embed.b_E) @ back).double()
        xs, ys = tokens[:, 0::2], tokens[:, 1::2, 0]
        fitted = (xs @ torch.linalg.lstsq(xs, ys[..., None]).solution)[..., 0]
        noisy = (fitted - ys).square().mean(1) > 1e-6 * ys.square().mean(1)
        directions = torch.einsum("bkd,kdm->bkm", xs[:, :2].float(), out)
        positions = torch.randn(tokens.shape[1], 2, generator=torch.Generator().manual_seed(2))
        mark["is"] = noisy[:, None, None] * torch.einsum("pk,bkm->bpm", positions, directions)

    model.add_hook("hook_embed", see, is_permanent=True)
    model.add_hook("blocks.0.hook_resid_post", lambda resid, hook: resid + mark["is"], is_permanent=True)  # noqa: ARG005
    model.add_hook("blocks.1.hook_resid_pre", lambda resid, hook: resid - mark["is"], is_permanent=True)  # noqa: ARG005
    return model


WANTED = {"shifts": ["x_scale=1/2", "label_noise=1"], "n_prompts": 24, "n_controls": 20}


def test_a_network_with_a_plant_at_one_block_for_one_shift(leaving_model, tiny_task):
    found = icl.signature_atlas(leaving_model, tiny_task, **WANTED)
    assert {cell.site for cell in found.cells} == {"block 0", "block 1", "final norm"}
    assert cells(found.found) == {("block 0", "label_noise=1")}
    assert found.found[0].confirmed
    assert found.found[0].value > 0.95


def test_a_study_asks_for_use_where_the_atlas_says(leaving_model, tiny_task):
    plan = plan_study(leaving_model, tiny_task, **WANTED)
    studied = run_study(replace(plan, measures=(ATLAS, USE), n_controls=2))
    assert cells(studied.atlas.found) == {("block 0", "label_noise=1")}
    assert studied.atlas.found[0].confirmed
    assert studied.use.named == tuple(studied.use.by_site) == ("block 0",)
    assert studied.use.by_site["block 0"].hook == "blocks.0.hook_resid_post"
    assert set(studied.verdicts) == {"use"}  # the atlas is a family of its own
    alone = signature_atlas(leaving_model, tiny_task, **WANTED, confirm=False)
    for cell, other in zip(alone.cells, studied.atlas.cells, strict=True):
        assert (cell.value, cell.z) == pytest.approx((other.value, other.z), rel=1e-6)


def test_saved_prompts_are_not_confirmed(leaving_model, tiny_task):
    noisy = icl.shifted(tiny_task, "label_noise=1")
    pairs = {name: source.sample(48, seed=3) for name, source in (("in distribution", tiny_task), ("noisy", noisy))}
    saved = icl.FixedPrompts({name: (prompts.xs, prompts.ys) for name, prompts in pairs.items()})
    found = signature_atlas(leaving_model, saved, n_prompts=24, n_controls=20)
    assert ("block 0", "noisy") in cells(found.found)
    assert found.found[0].confirmed is None
    assert found.unconfirmed == "prompts are saved ones, and none are kept aside"
