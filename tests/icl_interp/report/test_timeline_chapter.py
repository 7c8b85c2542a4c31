"""The timeline chapter: its figures, the sentences under them, and its tables, from tiny runs."""

import dataclasses

import pytest
from development_runs import FEW, SHORT, make_run

from icl_interp.measure.development import development
from icl_interp.measure.development_record import LlcRecord
from icl_interp.report.chapters.timeline import timeline_chapter
from icl_interp.report.model import Page
from icl_interp.report.page import render


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chapter")
    return development([make_run(folder / "a"), make_run(folder / "b", n_tasks=None)], settings=FEW, llc=SHORT)


def views(found):
    return {view.id.removeprefix("timeline-"): view for view in timeline_chapter(found).figures}


def test_it_holds_every_view_whose_numbers_are_there(found):
    everything = ["loss", "distance", "signature", "trajectory", "complexity", "diversity"]
    assert list(views(found)) == everything
    bare = dataclasses.replace(
        found, runs=tuple(dataclasses.replace(run, llc=()) for run in found.runs[1:]), trajectory=None
    )
    assert list(views(bare)) == everything[:3]


def test_the_page_renders_with_buttons_and_sliders(found):
    html = render(Page(title="t", sections=(timeline_chapter(found),)), plotlyjs="directory")
    for text in ("log steps", "linear steps", "sliders", "How it developed", "Local learning coefficients"):
        assert text in html


def test_the_loss_sentence_of_one_run_names_the_lowest_step(found):
    only = found.runs[0]
    records = tuple(
        dataclasses.replace(record, losses={**record.losses, "w_fresh": (level,)})
        for record, level in zip(only.records, (3.0, 1.0, 2.0, 2.5), strict=True)
    )
    one = dataclasses.replace(found, runs=(dataclasses.replace(only, records=records),))
    assert "under w_fresh it is lowest, 1, at step 2, and 2.5 at the end." in views(one)["loss"].sentence
    several = dataclasses.replace(found, runs=(one.runs[0], found.runs[1]))
    assert f"rises by 1.5 for {only.name} (t_crit 2)" in views(several)["loss"].sentence


def test_warnings_of_estimates_reach_the_reader(found):
    flagged = LlcRecord(6, "0", 3.0, 0.5, 1.0, 1.0, {"rhat": "split R-hat is 2"})
    sound = dataclasses.replace(flagged, flags={})
    for record, words in ((flagged, "1 of 1 estimates carry a warning."), (sound, "in order of training.")):
        one = dataclasses.replace(found, runs=(dataclasses.replace(found.runs[0], llc=(record,)),))
        assert views(one)["complexity"].sentence.endswith(words)
        table = timeline_chapter(one).tables[1]
        assert table.rows[0][-1] == ("; ".join(record.flags.values()) or "none")


def test_tables_have_a_row_a_run_and_a_row_a_checkpoint(found):
    runs, _, checkpoints = timeline_chapter(found).tables
    assert [row[0] for row in runs.rows] == [run.name for run in found.runs]
    assert len(checkpoints.rows) == 8
