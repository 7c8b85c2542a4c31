"""The timeline chapter: its figures, the sentences under them, and its tables, from tiny runs."""

import dataclasses
import json
import math
import re

import pytest
from development_runs import FEW, SHORT
from golden import page_text

from icl_interp.measure.development.one_run import LEAST_LLC
from icl_interp.measure.development.record import LlcRecord
from icl_interp.measure.development.run import development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.chapters.timeline import _lead, _stages_sentence
from icl_interp.report.contents import CONTENTS_OF_TRAINING
from icl_interp.report.model import Page, lay_out
from icl_interp.report.page import render
from icl_interp.report.sentences import number
from probes.trajectory.stages import Stage


@pytest.fixture(scope="module")
def found(developed_run, endless_run):
    return development([developed_run, endless_run], settings=FEW, llc=SHORT)


def timeline_of(found):
    ((section,), cards) = lay_out(CONTENTS_OF_TRAINING, found)
    assert cards == ()
    return section


def views(found):
    return {view.id.removeprefix("timeline-"): view for view in timeline_of(found).figures}


def test_it_holds_every_view_whose_numbers_are_there(found):
    everything = ["loss", "distance", "icl", "signature", "trajectory", "complexity", "diversity"]
    assert list(views(found)) == everything
    bare = dataclasses.replace(
        found, runs=tuple(dataclasses.replace(run, llc=()) for run in found.runs[1:]), trajectory=None
    )
    assert list(views(bare)) == everything[:4]


def test_the_page_renders_with_buttons_and_sliders(found):
    html = render(Page(title="t", sections=(timeline_of(found),)), plotlyjs="directory")
    for text in ("log steps", "linear steps", "sliders", "How it developed", "Local learning coefficients"):
        assert text in html


def test_the_loss_sentence_of_one_run_names_the_lowest_step(found):
    only = found.runs[0]
    records = tuple(
        dataclasses.replace(record, losses={**record.losses, "w_fresh": (level,)})
        for record, level in zip(only.records, (3.0, 1.0, 2.0, 2.5), strict=True)
    )
    one = dataclasses.replace(found, runs=(dataclasses.replace(only, records=records),))
    assert "From step 2 to the end the loss on fresh tasks rises by 1.5." in _lead(one)
    assert re.findall(r"w_fresh .* step (\d+), with ([\d.]+), and ends at ([\d.]+)\.", views(one)["loss"].sentence) == [
        ("2", "1", "2.5")
    ]
    several = dataclasses.replace(found, runs=(one.runs[0], found.runs[1]))
    assert f"rises by 1.5 for {only.name} (t_crit 2)" in views(several)["loss"].sentence


def test_warnings_of_estimates_reach_the_reader(found):
    flagged = LlcRecord(6, "0", 3.0, 0.5, 1.0, 1.0, {"rhat": "split R-hat is 2"})
    sound = dataclasses.replace(flagged, flags={})
    for record, words in ((flagged, "1 of 1 estimate carries a warning."), (sound, "in order of training.")):
        one = dataclasses.replace(found, runs=(dataclasses.replace(found.runs[0], llc=(record,)),))
        assert views(one)["complexity"].sentence.endswith(words)
        table = timeline_of(one).tables[1]
        assert table.rows[0][-1] == (", ".join(record.flags) or "none")


def test_tables_have_a_row_a_run_and_a_row_a_checkpoint(found):
    chapter = timeline_of(found)
    (runs, _), (checkpoints,) = chapter.tables, chapter.parts[0].tables
    assert [row[0] for row in runs.rows] == [run.name for run in found.runs]
    assert len(checkpoints.rows) == 8


def one(found):
    return dataclasses.replace(found, runs=found.runs[:1])


def test_the_inside_of_the_network_is_folded(found):
    (part,) = timeline_of(one(found)).parts
    assert part.folded
    assert [view.id for view in part.figures] == ["timeline-probes", "timeline-attention", "timeline-weights"]
    (several,) = timeline_of(found).parts
    assert [[cell.title for cell in grid.figures] for grid in several.figures] == [["M = 2", "M = ∞"]] * 3


def test_sentences_on_the_inside_are_read_from_the_numbers(found):
    only = found.runs[0]
    first, *_, last = only.records
    first = dataclasses.replace(
        first, attention_entropy=((1.0, 0.9),), weights={"weight norm": 2.0, "a scale norm": 4.0}
    )
    last = dataclasses.replace(
        last,
        attention_entropy=((0.75, 0.8),),
        probe_r2={"read-in": {"ridge": 0.1, "zero": 0.2}, "block 0": {"ridge": 0.5, "zero": 0.3}},
        weights={"weight norm": 3.0, "a scale norm": 1.0, "a dead scales": 0.25},
    )
    first = dataclasses.replace(first, probe_r2=last.probe_r2)
    alone = dataclasses.replace(one(found), trajectory=None)
    shown = dataclasses.replace(alone, runs=(dataclasses.replace(only, records=(first, last)),))
    probes, attention, weights = (view.sentence for view in timeline_of(shown).parts[0].figures)
    assert probes.endswith(" “block 0”: 0.5 for ridge.")
    assert attention.endswith(" from 1 to 0.75.")
    assert " to 0.25 times its first value; of the scales of a, 25% are below 0.1" in weights
    bare = dataclasses.replace(first, attention_entropy=())
    without = dataclasses.replace(alone, runs=(dataclasses.replace(only, records=(bare, bare)),))
    assert [view.id for view in timeline_of(without).parts[0].figures] == ["timeline-probes", "timeline-weights"]


def test_the_score_of_in_context_learning_is_told_for_each_run(found):
    score = found.runs[0].icl_scores()
    words = f"from {number(float(score[0]))} to {number(float(score[-1]))}"
    assert views(one(found))["icl"].sentence.endswith(f"it goes {words}.")
    assert f"it goes for M = 2 {words} and for M = ∞ from" in views(found)["icl"].sentence


def test_stages_are_told_by_number_and_source(found):
    only = found.runs[0]
    assert "shaded" not in _lead(found)  # several runs are not shaded
    for llc, said in (
        (only.llc, "2 checkpoints have"),
        (only.llc[:1], "1 checkpoint has"),
        ((), "no checkpoints have"),
    ):
        text = _stages_sentence(dataclasses.replace(only, llc=llc))
        assert f"at least {LEAST_LLC} " in text
        assert text.endswith(f"here {said} one.")
    curve = dataclasses.replace(only, stages_from="learning coefficient")
    parts = dataclasses.replace(only.stages, stages=(Stage(0.0, 2.0, 1.0), Stage(2.0, 6.0, -1.0)))
    assert "2 stages" in _stages_sentence(dataclasses.replace(curve, stages=parts))
    single = dataclasses.replace(only.stages, stages=(Stage(0.0, 6.0, 1.0),))
    assert _stages_sentence(dataclasses.replace(curve, stages=single)).startswith("There are no separate stages")


def test_task_diversity_is_told_by_the_ends(found):
    def ending(run, dmmse, ridge, n_tasks):
        names = run.records[-1].distances[IN_DISTRIBUTION]
        changed = {n: dmmse if "dMMSE" in n else ridge if "ridge" in n else v for n, v in names.items()}
        last = dataclasses.replace(run.records[-1], distances={IN_DISTRIBUTION: changed})
        task = run.task.model_copy(update={"n_tasks": n_tasks})
        return dataclasses.replace(run, name=f"M = {n_tasks}", task=task, records=(*run.records[:-1], last))

    pool, gaussian = found.runs
    runs = (ending(pool, 0.1, 0.5, 4), ending(pool, 0.2, 0.3, 16), ending(pool, 0.5, 0.1, 64), gaussian)
    text = views(dataclasses.replace(found, runs=runs, trajectory=None))["diversity"].sentence
    assert "M = 4 and M = 16 end nearer to dMMSE, M = 64 ends nearer to ridge." in text
    assert "end nearer to dMMSE): M = 16." in text
    risen = number(pool.transience)
    assert f"after t_crit): {risen} for M = 4 (t_crit {pool.t_crit}" in text
    far = tuple(ending(pool, 0.5, 0.1, m) for m in (4, 16))
    text = views(dataclasses.replace(found, runs=far, trajectory=None))["diversity"].sentence
    assert "M = 4 and M = 16 end nearer to ridge." in text
    assert "nearer to dMMSE): there is none." in text
    assert "threshold" not in views(one(found))["diversity"].sentence


def test_what_could_not_be_read_is_in_the_lead(found):
    lost = dataclasses.replace(found.runs[0], unreadable={400: "got half a file"})
    assert _lead(dataclasses.replace(found, runs=(lost,))).endswith("Step 400 could not be read: got half a file.")
    both = dataclasses.replace(found, runs=(lost, found.runs[1]))
    assert both.notes == ("M = 2: step 400 could not be read: got half a file.",)


def test_what_no_probe_can_read_is_null_in_the_json(found):
    only = found.runs[0]
    last = dataclasses.replace(only.records[-1], probe_r2={"read-in": {"ridge": math.nan, "zero": -math.inf}})
    lost = dataclasses.replace(found, runs=(dataclasses.replace(only, records=(*only.records[:-1], last)),))
    written = json.loads(lost.to_json())["runs"][0]["checkpoints"][-1]
    assert written["probe_r2"] == {"read-in": {"ridge": None, "zero": None}}


def test_the_words_of_a_timeline(found, golden):
    pages = (Page(title="One run", sections=(timeline_of(one(found)),)), Page("Two", sections=(timeline_of(found),)))
    golden("report-timeline.txt", "\n".join(page_text(render(page, plotlyjs="directory")) for page in pages))
