"""The numbers of figures: written and read, rounded, refused where broken."""

import json

import pytest

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.claims_table import _summaries_in
from icl_interp.experiments.outcome import Outcome, Panel, Paper
from icl_interp.experiments.summary import write_summary
from icl_interp.experiments.tables import FigureTable, _read_tables, write_tables

ROWS = (("LSA", 1, 1.23456789), ("LTB “x”", 2, float("nan")), ("none", None, 1.5e-300))
OUTCOME = Outcome(
    Paper("who2024", "A title", "Who (2024), arXiv 1"),
    "laptop",
    (0,),
    (),
    (),
    (Claim("one", "A holds.", "Figure 1", "m", (Check("risk", (1.0,)),)),),
    (Panel("first", "A figure", "It falls.", None, ("model", "step", "risk"), ROWS),),
)


@pytest.fixture
def path(tmp_path):
    return write_tables(OUTCOME, tmp_path / "who2024-tables.json", {"torch": "2"})


def test_what_is_written_is_read(path):
    found = _read_tables(path)
    assert (found.paper, found.preset, found.provenance) == (OUTCOME.paper, "laptop", {"torch": "2"})
    rows = (("LSA", 1, 1.23457), ("LTB “x”", 2, None), ("none", None, 1.5e-300))
    assert found.tables == (FigureTable("first", "A figure", "It falls.", ("model", "step", "risk"), rows),)
    assert repr(found) == "FigureTables(who2024, laptop, 1 tables)"
    assert '      ["LSA", 1, 1.23457],\n' in path.read_text()


def test_an_outcome_without_figures_is_read(tmp_path):
    none = Outcome(OUTCOME.paper, "laptop", (0,), (), (), OUTCOME.claims)
    assert _read_tables(write_tables(none, tmp_path / "x.json", {})).tables == ()


def test_tables_beside_summaries_are_no_summaries(path):
    write_summary(OUTCOME, path.parent / "who2024.json", {})
    assert [summary.paper.name for summary in _summaries_in(path.parent)] == ["who2024"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tables": 3}, "'int' object is not iterable"),
        ({"tables": [{"id": "x"}]}, "no 'title'"),
        (
            {"tables": [{"id": "x", "title": "t", "sentence": "s", "columns": ["a", "b"], "rows": [[1]]}]},
            "a row of x has not 2 cells",
        ),
        ({"format": "another"}, "needs the format 'icl-interp tables 1'"),
    ],
)
def test_broken_tables_are_one_sentence(path, change, reason):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="a file of tables needs ") as caught:
        _read_tables(path)
    assert reason in str(caught.value)
