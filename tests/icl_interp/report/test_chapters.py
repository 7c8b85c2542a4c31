"""Each chapter on small studies: what is drawn, what is said, and what is in the tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp import HookedLinearTransformerBlock, LinearRegression, ModelConfig, direct_contributions, weight_views
from icl_interp.measure.errors import MODEL, error_curves
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.heads import HeadReport
from icl_interp.measure.linear_probes import LinearProbeReport
from icl_interp.measure.verdicts import Excess
from icl_interp.predictors.references import ByReference
from icl_interp.report.chapters import (
    agreement,
    atlas,
    attention,
    contributions,
    detectors,
    errors,
    heads,
    induced,
    layers,
    lens,
    ood,
    patching,
    patterns,
    probes,
    shifts,
    signature,
    signature_view,
    steps,
    use,
    weights,
)
from icl_interp.report.model import FigureGrid
from probes.bootstrap import Estimate

CHAPTERS = {
    "errors": errors.chapter,
    "part-shifts": shifts.chapter,
    "algorithm": agreement.chapter,
    "layers": layers.chapter,
    "heads": heads.chapter,
    "use": use.chapter,
    "part-pruning": heads.pruning,
    "part-attention": attention.chapter,
    "contributions": contributions.chapter,
    "patching": patching.chapter,
    "weights": weights.chapter,
    "signature-view": signature_view.chapter,
    "detector-details": detectors.details,
    "part-patterns": patterns.chapter,
    "part-lens": lens.chapter,
    "part-induced": induced.chapter,
    "part-steps": steps.chapter,
    "probes": probes.chapter,
    "part-probes": probes.each_target,
    "signature": signature.chapter,
    "familiar": ood.chapter,
    "ood": ood.numbers,
    "atlas": atlas.chapter,
}
STUDIES = ["small_study", "uncontrolled_study", "signing_study"]


def views(section):
    for item in section.figures:
        yield from item.figures if isinstance(item, FigureGrid) else (item,)


def with_gaps(study_of, lows: dict[str, dict[str, float]]):
    """The same study with other lower bounds of who falls short: family -> part of a predictor's name -> bound."""
    families = dict(study_of.errors.families)
    for label, bounds in lows.items():
        known = families[label].gap_to_best
        changed = {known.shown(name): Estimate(low + 1, low, low + 2) for name, low in bounds.items()}
        gaps = known.each({**known, **changed}.__getitem__)
        families[label] = replace(families[label], gap_to_best=gaps)
    errors = replace(study_of.errors, families=families)
    return with_results(study_of, errors=errors)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_has_a_finding_and_figures_speak_of_finite_numbers(request, name, chapter):
    section = CHAPTERS[chapter](request.getfixturevalue(name)).section
    assert section.id == chapter
    assert section.lead or chapter == "familiar"  # which the map of all detectors introduces
    for view in views(section):
        assert view.sentence.endswith(".")
        assert view.sentence[:40] in view.aria_label  # the finding, if not every number of it
        assert len(view.figure.data) > 0
        assert "not a number" not in view.sentence


def test_an_untrained_network_gets_no_claim_in_any_chapter(small_study):
    tones = {card.tone for chapter in CHAPTERS.values() for card in chapter(small_study).cards}
    assert {"inconclusive"} <= tones <= {"none", "inconclusive", "unknown"}


def test_a_planted_signature_is_claimed(signing_study):
    cards = (*signature.chapter(signing_study).cards, *ood.chapter(signing_study).cards)
    tones = {card.title: card.tone for card in cards}
    assert tones["Are leading directions shared?"] == tones["Does the signature detect shifts?"] == "evidence"


def test_errors_are_drawn_for_every_family(small_study):
    (main,), (grid,) = errors.chapter(small_study).section.figures, shifts.chapter(small_study).section.figures
    assert main.id == "error-curve"
    assert [cell.id for cell in grid.figures] == ["error-x_scale-3", "error-label_noise-1"]
    names = {trace.name for trace in main.figure.data}
    assert names >= set(small_study.errors.in_distribution.curves)
    for view in (main, *grid.figures):  # all on one axis, so that they compare
        np.testing.assert_allclose(view.figure.layout.yaxis.range, [-4, 1], rtol=1e-12)  # decades


STRENGTHS = (
    "x_scale=1/3", "x_mean=-1", "x_mean=1", "x_scale=250000.5", "x_scale=1e6", "x_scale=1e-5", "label_noise=0.25",
    "random_orthants",
)  # fmt: skip


def with_results(study_of, **results):
    return replace(study_of, results={**study_of.results, **results})


def test_every_strength_has_an_anchor_of_its_own(uncontrolled_study, tiny_model, tiny_task):
    errors = error_curves(tiny_model, tiny_task, n_prompts=8, n_points=3, shifts=STRENGTHS)
    other = with_results(uncontrolled_study, errors=errors)
    cells = [cell.id for cell in shifts.chapter(other).section.figures[0].figures]
    assert len(set(cells)) == len(STRENGTHS)
    for name in {label.split("=")[0] for label in STRENGTHS}:
        assert sum(cell.startswith(f"error-{name}") for cell in cells) == sum(name in label for label in STRENGTHS)


FALLS_SHORT = {
    "none": {"x_scale=3": {MODEL: 0.01}, "label_noise=1": {MODEL: 0.05}},
    "where least squares does not": {"x_scale=3": {MODEL: 0.06}, "label_noise=1": {MODEL: 0.02}},
    "where least squares does too": {"x_scale=3": {MODEL: 0.01}, "label_noise=1": {MODEL: 0.5, "least squares": 0.2}},
    "both, one with least squares": {"x_scale=3": {MODEL: 0.5}, "label_noise=1": {MODEL: 0.5, "least squares": 0.2}},
    "undefined": {"x_scale=3": {MODEL: float("nan")}, "label_noise=1": {MODEL: 0.02}},
}
PRIOR = {"Bayes falls short": 0.9, "Bayes does not": 0.01}


def test_the_shift_sentence_follows_the_gaps(small_study, uncontrolled_study, tiny_model, tiny_task, golden):
    quiet = {label: {"least squares": 0.0} for label in small_study.errors.families if label != IN_DISTRIBUTION}
    calm = with_gaps(small_study, quiet)
    said = {name: shifts._sentence(with_gaps(calm, lows).errors) for name, lows in FALLS_SHORT.items()}
    # Weights in a plane: under rotation the Bayes predictor of the prior fails, least squares does not.
    flat = tiny_task.model_copy(update={"w_cov": (1.5, 1.5, 0.0)})
    rotated = error_curves(tiny_model, flat, n_prompts=8, shifts=["w_rotation=1"])
    other = with_results(uncontrolled_study, errors=rotated)
    assert other.errors.families["w_rotation=1"].fails("Bayes")
    for name, bayes in PRIOR.items():
        said[name] = shifts._sentence(with_gaps(other, {"w_rotation=1": {MODEL: 0.9, "Bayes": bayes}}).errors)
    golden("sentences-shifts.txt", "".join(f"{name}: {sentence}\n" for name, sentence in said.items()))


def test_likeness_names_the_two_nearest_references_and_their_distances(small_study):
    own = small_study.errors.in_distribution
    first, second, *_ = own.nearest()
    distances = {name: replace(estimate, value=9.0) for name, estimate in own.distances.items()}
    distances[first] = replace(distances[first], value=0.25, low=0.125, high=0.5)
    distances[second] = replace(distances[second], value=2.0, low=1.0, high=3.0)
    assert errors._likeness(replace(own, distances=own.distances.each(distances.__getitem__))) == (
        f"Its predictions are closest to those of {first} (they differ by 25 % of E[y²]); next comes {second} (200 %)."
    )


def test_the_late_table_holds_the_late_errors(small_study):
    table = errors._late_table(small_study.errors)
    assert [row[0] for row in table.rows] == list(small_study.errors.families)
    for row, family in zip(table.rows, small_study.errors.families.values(), strict=True):
        late, gap = family.curves[MODEL].late, family.gap_to_least_squares
        np.testing.assert_allclose(row[3:6], [late.value, late.low, late.high], rtol=0)
        np.testing.assert_allclose(row[-4:-1], [gap.value, gap.low, gap.high], rtol=0)
    assert "x_scale=3: inputs multiplied by 3" in table.notes


def test_the_tables_of_error_figures_hold_the_numbers_before_they_were_drawn(small_study):
    (main,), (grid,) = errors.chapter(small_study).section.figures, shifts.chapter(small_study).section.figures
    frame = small_study.errors.to_frame()
    for label, view in zip(small_study.errors.families, (main, *grid.figures), strict=True):
        expected = frame[frame["family"] == label].drop(columns="family")
        expected["seen_in_training"] = expected["seen_in_training"].map({True: "yes", False: "no"})
        assert view.data.columns == tuple(expected.columns)
        assert list(view.data.rows) == list(expected.itertuples(index=False, name=None))
    # Least squares is exact in distribution, up to float32: drawn at 1e-4, written as it is.
    least = [row for row in main.data.rows if row[0].startswith("least squares")]
    (drawn,) = (trace for trace in main.figure.data if trace.name.startswith("least squares"))
    late = [row[2] for row in least]
    assert 0 < late[-1] < 1e-8
    np.testing.assert_allclose(drawn.y[-1], 1e-4, rtol=1e-12)
    np.testing.assert_allclose(drawn.y, np.maximum(late, 1e-4), rtol=1e-12)


def test_the_tables_of_spectra_hold_means_and_spreads(small_study):
    site = small_study.main_site.label
    for view, survey in zip(
        signature.chapter(small_study).section.figures[0].figures,
        (small_study.survey, small_study.untrained[0]),
        strict=True,
    ):
        rows = iter(view.data.rows)
        for label, record in survey.families.items():
            spectra = record.sites[site]
            for i in range(len(spectra.spectrum)):
                assert next(rows) == (label, i + 1, float(spectra.spectrum[i]), float(spectra.spectrum_std[i]))
        assert next(rows, None) is None


def test_the_table_of_the_cloud_holds_every_prompt(small_study):
    rows = ood.chapter(small_study).section.figures[0].data.rows
    assert len(rows) == 3 * 16
    for i, (label, score, error) in enumerate(rows):
        own = small_study.ood.scores[label][i % 16], small_study.ood.errors[label][i % 16]
        assert (score, error) == tuple(map(float, own))


def test_probes_have_a_cell_a_target(small_study):
    section = probes.each_target(small_study).section
    (grid,) = section.figures
    assert [cell.title for cell in grid.figures] == list(small_study.probes.targets)
    (table,) = section.tables
    assert len(table.rows) == len(small_study.sites) * len(small_study.probes.targets)
    assert table.notes == small_study.probes.left_out["zero"]


def test_probes_have_a_row_a_target_in_one_heat_map_and_one_table(small_study):
    section = probes.chapter(small_study).section
    (view,), (table,) = section.figures, section.tables
    assert list(view.figure.data[0].y) == list(small_study.probes.targets)
    assert [row[0] for row in table.rows] == list(small_study.probes.targets)
    assert {"moment vector", "least-squares weights"} <= set(small_study.probes.targets)


@pytest.mark.parametrize(
    ("selective", "found"),
    [(Estimate(0.3, 0.2, 0.4), True), (Estimate(-0.01, -0.03, 0.01), False)],
    ids=["selective", "a lookup"],
)
def test_what_its_control_task_reads_as_well_is_not_called_decodable(small_study, monkeypatch, selective, found):
    chance = 0.9 - selective.value
    excess = Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05, chance=chance, value_low=chance + selective.low)
    claims = {f"probe: {target}": excess for target in small_study.probes.targets}
    monkeypatch.setattr(LinearProbeReport, "selectivity", lambda *_: ("control task", selective))
    changed = replace(small_study, verdicts={**small_study.verdicts, **claims})
    section = probes.each_target(changed).section
    n_targets = len(small_study.probes.targets)
    (grid,) = section.figures
    assert grid.sentence.startswith(f"{n_targets if found else 0} of {n_targets} targets")
    assert all(("its control task (0.91)" in cell.sentence) is not found for cell in grid.figures)
    (card,) = probes.chapter(changed).cards
    assert (card.tone, "control task" in card.sentence) == (("evidence", False) if found else ("inconclusive", True))


def test_every_control_of_a_read_out_has_words(small_study, uncontrolled_study):
    names = {s.probes.selectivity(target)[0] for s in (small_study, uncontrolled_study) for target in s.probes.targets}
    assert names <= set(probes._CONTROLS)


def test_spectra_stand_beside_an_untrained_network_s(small_study, uncontrolled_study):
    grid = signature.chapter(small_study).section.figures[0]
    assert [cell.title for cell in grid.figures] == ["This model", "An untrained network"]
    assert [trace.name for trace in grid.figures[0].figure.data] == ["x_scale=3", "label_noise=1", IN_DISTRIBUTION]
    assert [cell.id for cell in signature.chapter(uncontrolled_study).section.figures[0].figures] == ["spectra-model"]


def test_agreement_is_drawn_along_the_network(small_study, uncontrolled_study):
    grid = signature.chapter(small_study).section.figures[1]
    assert [cell.id for cell in grid.figures] == ["agreement-overlap", "agreement-cosine-1", "agreement-cosine-2"]
    names = [trace.name for trace in grid.figures[0].figure.data]
    assert names == [
        "untrained: in distribution", "untrained: shifted", "shifted", "in distribution",
    ]  # fmt: skip
    *_, shifted, own = grid.figures[0].figure.data
    families = dict(small_study.survey.families)
    mine = families.pop(IN_DISTRIBUTION)
    np.testing.assert_allclose(own.y, [mine.sites[x].overlap_with_id for x in own.x], rtol=0)
    expected = [np.mean([record.sites[x].overlap_with_id for record in families.values()]) for x in shifted.x]
    np.testing.assert_allclose(shifted.y, expected, rtol=1e-12)  # the same float64 sums
    for j in (0, 1):
        cosines = grid.figures[1 + j].figure.data[-1]
        np.testing.assert_allclose(cosines.y, [mine.sites[x].cosines_with_id[j] for x in cosines.x], rtol=0)
    assert small_study.conventions.describe() in grid.sentence
    assert len(signature.chapter(uncontrolled_study).section.figures[1].figures[0].figure.data) == 2


@pytest.mark.parametrize(("ratio", "warned"), [(0.95, True), (0.5, False)])
def test_directions_that_may_swap_are_flagged(small_study, ratio, warned):
    survey, site = small_study.survey, small_study.main_site.label
    own = survey.families[IN_DISTRIBUTION]
    scores = replace(own.sites[site].scores, swap_ratio=own.sites[site].scores.swap_ratio * 0 + ratio)
    sites = {**own.sites, site: replace(own.sites[site], scores=scores)}
    families = {**survey.families, IN_DISTRIBUTION: replace(own, sites=sites)}
    changed = with_results(small_study, survey=replace(survey, families=families))
    assert ("v1 and v2 may swap" in signature.chapter(changed).section.figures[1].sentence) is warned


def test_detection_has_a_row_a_shift(small_study, uncontrolled_study):
    table = ood.numbers(small_study).section.tables[0]
    assert [row[0] for row in table.rows] == list(small_study.ood.shifts)
    for row, detection in zip(table.rows, small_study.ood.shifts.values(), strict=True):
        expected = [detection.norms.auroc, detection.excess.control, detection.excess.excess]
        np.testing.assert_allclose([row[5], row[6], row[7]], expected, rtol=0)
    for row in ood.numbers(uncontrolled_study).section.tables[0].rows:
        assert row[6:10] == (None,) * 4


def test_correlations_stand_inside_families_pooled_and_given_norms(small_study):
    table = ood.numbers(small_study).section.tables[1]
    heads = [row[0] for row in table.rows]
    assert heads == [
        "inside in distribution", "inside x_scale=3", "inside label_noise=1", "mean of these", "pooled",
        "pooled, Pearson", "over family means", "pooled, given norms",
    ]  # fmt: skip
    np.testing.assert_allclose(table.rows[3][1], small_study.ood.correlation.within_mean.value, rtol=0)


def test_the_cloud_shows_one_point_a_prompt(small_study):
    cloud = ood.chapter(small_study).section.figures[0].figure
    assert {trace.name for trace in cloud.data} == set(small_study.ood.scores)
    for trace in cloud.data:
        np.testing.assert_allclose(trace.x, small_study.ood.scores[trace.name], rtol=0)
        np.testing.assert_allclose(trace.y, small_study.ood.errors[trace.name], rtol=0)


def test_the_order_of_importance_is_compared_with_random_orders(small_study):
    curve = small_study.heads.pruning
    worse, better, far_worse = (
        replace(curve, losses=replace(curve.losses, values=factor * curve.losses.values)) for factor in (2.0, 0.5, 3.0)
    )
    report = replace(small_study.heads, random_pruning=(worse, better, far_worse))
    (view,) = heads.pruning(with_results(small_study, heads=report)).section.figures
    assert "2 of 3 random orders" in view.sentence
    report = replace(
        report, random_pruning=(replace(curve, losses=replace(curve.losses, values=curve.losses.values * (1 + 1e-9))),)
    )
    (view,) = heads.pruning(with_results(small_study, heads=report)).section.figures
    assert "0 of 1 random orders" in view.sentence


def test_heads_beyond_untrained_networks_are_counted_by_what_they_cost(small_study, monkeypatch):
    monkeypatch.setattr(HeadReport, "needed", lambda _: ["0.0", "0.1"])
    found = small_study.heads
    increase = torch.zeros_like(found.importance.increase)
    increase[0, 0] = 0.06
    report = replace(found, importance=replace(found.importance, increase=increase))
    assert "(0.0 and 0.1); 1 of them raise the error by more than 0.05" in heads._heads_sentence(report)


@pytest.mark.parametrize(
    ("model", "zero", "said"),
    [
        ([1.38, 1.09], [1.35, 1.1], "stays near that of predicting zero: 1.09"),
        ([9.0, 1.09], [1.35, 1.1], "ends near that of predicting zero"),
        ([1.38, 0.5], [1.35, 1.1], "falls from 1.38"),
    ],
)
def test_an_error_near_that_of_predicting_zero_does_not_fall(small_study, model, zero, said):
    own = small_study.errors.in_distribution
    name = own.curves.shown("zero")
    means = {MODEL: torch.tensor(model).double(), name: torch.tensor(zero).double()}

    def curve(of):
        mean = means.get(of, means[MODEL])
        return replace(own.curves[of], mean=mean, low=mean, high=mean)

    curves = own.curves.each(curve)
    assert said in errors.error_trend("The error", replace(own, curves=curves))


def test_effects_of_interventions_have_verbs_of_their_own(small_study):
    excess = Excess(-0.0345, (-0.013, -0.013), -0.1, 0.1, 0.05, detectable=0.1)
    said = use._sentence(
        small_study.use.by_site[small_study.use.clearest()], excess, "it lowers the late error by 0.0345"
    )
    assert "in untrained networks the removal lowers it by 0.013 on average." in said


def text_of(section) -> str:
    return " ".join([section.lead, *(view.sentence for view in views(section))])


def test_pictures_say_what_planted_networks_do(signing_study):
    said = text_of(signature_view.chapter(signing_study).section)
    assert "The smallest is 0." in said
    assert "label_noise" in said
    roc = detectors.details(signing_study).section.figures[0]
    assert roc.id == "roc"
    assert "with an AUROC of 1." in roc.sentence
    assert {row[0] for row in roc.data.rows} == {"label_noise=1", "label_noise=2"}


def test_networks_without_an_answer_or_without_weights_get_a_sentence(small_study):
    nan, found, patched = float("nan"), small_study.contributions, small_study.patching
    silent = replace(found, shares=(Estimate(nan, nan, nan),) * len(found.shares), by_examples=found.by_examples * nan)
    said = text_of(contributions.chapter(with_results(small_study, contributions=silent)).section)
    assert "the answers are zero" in said
    assert "too few answers to follow" in said
    unmoved = replace(patched, restored=patched.restored * nan, restored_by_kind=patched.restored_by_kind * nan)
    said = text_of(patching.chapter(with_results(small_study, patching=unmoved)).section)
    assert "does not change with the labels" in said
    said = text_of(patching.chapter(with_results(small_study, patching=replace(patched, difference=0.009))).section)
    assert said.count("so there is nothing to restore") == 2
    for name, chapter in (("contributions", contributions), ("patching", patching), ("weights", weights)):
        bare = with_results(small_study, **{name: None})
        section = chapter.chapter(replace(bare, absent={name: "It is a stone."})).section
        assert (section.lead, section.figures) == ("It is a stone.", ())
    assert signature_view.chapter(with_results(small_study, signature_view=None)) is None


def test_places_of_patching_may_be_missing_and_kinds_stay(small_study):
    patched = small_study.patching
    few = replace(patched, places=(), restored=patched.restored[:, :0])
    section = patching.chapter(with_results(small_study, patching=few)).section
    assert [view.id for view in section.figures] == ["patching-kinds"]
    rows = section.figures[0].data.rows
    assert len(rows) == len(patched.sites) * len(patched.kinds)
    full = patching.chapter(small_study).section.figures
    assert [view.id for view in full] == ["patching-map", "patching-kinds"]
    assert len(full[0].data.rows) == len(patched.sites) * len(patched.places)


def test_a_known_gradient_step_is_said_beside_the_best_one(small_study):
    config = ModelConfig(family="ltb", n_dims=3, n_points=8)
    model = HookedLinearTransformerBlock.gd_learned_init(config, torch.ones(3), 0.5 * torch.eye(3))
    views_of_it = weight_views(model, LinearRegression(3, w_mean=1.0, n_points=8))
    section = weights.chapter(with_results(small_study, weights=views_of_it)).section
    assert [view.id for view in section.figures][:2] == ["weights-step", "weights-start"]
    assert "Here the diagonal is 0.5 on average and other entries are 0 in size" in section.figures[0].sentence
    assert "Here they are 0 apart" in section.figures[1].sentence
    assert "weights-heads" not in {view.id for view in section.figures}  # of one head there is nothing to compare
    task = LinearRegression(3, w_mean=1.0, n_points=8)
    split = with_results(small_study, contributions=direct_contributions(model, task, n_prompts=8))
    (figure,) = contributions.chapter(split).section.figures  # nor is there a map of one cell
    assert "writes most" in figure.sentence


@pytest.mark.parametrize(("r2", "explained"), [(1.0, True), (1.0, False), (0.5, True)])
def test_weights_are_nearer_to_a_reference_only_where_predictions_are_linear_and_explained(small_study, r2, explained):
    report = small_study.induced
    both = ByReference(((name,), factor * report.weights) for name, factor in (("least squares", 1.0), ("Bayes", 0.0)))
    report = replace(report, references=both, r2=torch.full_like(report.r2, r2))
    said = induced._sentence(report, explained=explained)
    assert ("are nearer to those of least squares" in said) is (r2 == 1.0 and explained)


def test_only_targets_with_evidence_are_called_decodable_beyond_all_others(small_study):
    targets = small_study.probes.targets[:2]
    partial = {target: Estimate(0.5, 0.4, 0.6) for target in targets}
    verdicts = {**small_study.verdicts, f"probe: {targets[0]}": Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05)}
    changed = with_results(small_study, probes=replace(small_study.probes, partial=partial))
    said = probes._beyond(replace(changed, verdicts=verdicts))
    assert said.startswith(f"Decodable beyond all other references: {targets[0]} ({targets[0]} best")
    assert probes._beyond(changed).startswith("No reference is shown to be decodable")
