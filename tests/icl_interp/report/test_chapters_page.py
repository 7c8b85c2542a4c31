"""The whole page of small studies: what it opens with, its facts, warnings and footer, and that it renders."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import page_text

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.measure.study.run import study
from icl_interp.models.build import build_model
from icl_interp.provenance import provenance
from icl_interp.report import render
from icl_interp.report.assemble import build_page
from icl_interp.report.numbers import study_json

ASSUMPTION = "The file does not say what the model was trained on."


@pytest.fixture(scope="module")
def page(small_study, small_checkpoint):
    return build_page(small_study, small_checkpoint, provenance())


def test_title_and_subtitle_say_which_model_this_is(page, small_study):
    assert page.title == "What small.pt does in context"
    assert page.subtitle == f"{small_study.config.describe()}; {small_study.task.describe()}."


def test_the_facts_of_the_header(page, small_study, small_checkpoint):
    facts = {fact.label: fact.value for fact in page.facts}
    assert list(facts) == ["Origin", "Network", "Training steps", "In distribution", "Prompts", "Controls", "Note"]
    assert facts["Network"] == f"{small_study.config.describe()}, {small_checkpoint.model.n_params:,} parameters"
    assert facts["In distribution"] == small_study.task.describe()
    numbers = {label: [int(n) for n in re.findall(r"\d+", facts[label])] for label in ("Prompts", "Controls")}
    assert (facts["Training steps"], numbers) == ("7", {"Prompts": [16, 8, 2], "Controls": [5]})
    assert [fact.value for fact in page.facts if fact.label == "Note"] == list(small_checkpoint.notes)


def test_an_unknown_step_is_said_to_be_unknown(small_study, small_checkpoint):
    unknown = build_page(small_study, replace(small_checkpoint, step=None), {})
    assert ("Training steps", "unknown") in [(fact.label, fact.value) for fact in unknown.facts]


def test_the_footer_names_checksum_seed_and_circumstances(page, small_checkpoint):
    footer = {fact.label: fact.value for fact in page.provenance}
    assert footer["Checkpoint"] == "small.pt"
    assert footer["SHA-256"] == small_checkpoint.sha256
    assert footer["Seed"] == "0"
    assert {"command", "time", "torch", "transformer lens", "threads"} <= set(footer)


def test_verdicts_come_before_the_chapters_and_point_into_them(page):
    assert len(page.verdicts) == 12
    assert [section.id for section in page.sections] == ["doing", "where", "familiar", "worth"]
    assert all(verdict.anchor for verdict in page.verdicts)


def test_a_page_without_a_reason_to_warn_does_not(page):
    assert page.warnings == ()
    assert page.assumptions == ()


def test_untrained_positions_and_missing_controls_are_warned_of(uncontrolled_study, small_checkpoint):
    longer, uncontrolled = build_page(uncontrolled_study, small_checkpoint, {}).warnings
    assert re.findall(r"\d+", longer) == ["10", "8"]
    assert "--no-controls" in uncontrolled


def test_the_page_renders_with_the_assumption_first(small_study, small_checkpoint):
    assumed = replace(small_checkpoint, assumptions=(ASSUMPTION,))
    html = render(build_page(small_study, assumed, provenance()), plotlyjs="directory")
    assert html.index(ASSUMPTION) < html.index("<h1>") < html.index("Not shown.")
    for text in (small_checkpoint.sha256, "SHA-256", "Seed"):
        assert text in html
    assert html.count('class="figure"') >= 8


def test_the_page_without_controls_renders_its_warnings(uncontrolled_study, small_checkpoint):
    html = render(build_page(uncontrolled_study, small_checkpoint, {}), plotlyjs="directory")
    assert "later positions were never trained" in html
    assert "there are no untrained networks to compare with" in html
    assert "Evidence</" not in html


def test_a_network_of_zeros_has_a_page_all_the_same(tiny_config, tiny_task, tmp_path):
    # Every activation and prediction is 0: no direction, no log ratio, nothing to read out. No warning either.
    model = build_model(tiny_config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    checkpoint = load_checkpoint(save_checkpoint(tmp_path / "zeros.pt", model, task=tiny_task, step=0))
    shifts = ["x_scale=3", "label_noise=1"]
    zeros = study(checkpoint.model, tiny_task, n_prompts=8, shifts=shifts, layers=[], n_controls=2)
    assert "evidence" not in {excess.verdict for excess in zeros.verdicts.values()}
    assert zeros.errors.in_distribution.closest() == "zero"
    np.testing.assert_allclose(zeros.verdicts["in-context learning"].value, 0, atol=1e-12)
    html = render(build_page(zeros, checkpoint, provenance()), plotlyjs="directory")
    assert html.count('class="figure"') >= 8
    assert "Evidence</" not in html
    assert "the model gives no such number" in html
    json.loads(study_json(zeros, checkpoint, {}))


def test_a_task_where_references_fall_together_renders(tiny_model, small_checkpoint):
    # Pure noise: zero is the Bayes predictor, and ridge has no prior to take its penalty from.
    noise = small_checkpoint.task.model_copy(update={"w_cov": 0.0, "noise_std": 1.0})
    other = study(tiny_model, noise, n_prompts=8, n_points=4, shifts=["x_mean"], layers=[], n_controls=0)
    assert "zero = Bayes" in other.errors.in_distribution.curves
    html = render(build_page(other, small_checkpoint, {}), plotlyjs="directory")
    assert "zero = Bayes" in html


def test_the_words_of_an_untrained_network_s_report(page, golden):
    golden("report-untrained.txt", page_text(render(page, plotlyjs="directory")))
