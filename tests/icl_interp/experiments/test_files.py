"""Files of an experiment: written and read, judged again, refused where broken; and the table of claims."""

import json
import re
from dataclasses import replace

import pytest

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.claims_table import (
    BEGIN,
    END,
    claims_table,
    results_block,
    rewrite,
    summaries_in,
)
from icl_interp.experiments.cost import Cost, PresetCost
from icl_interp.experiments.experiment import Outcome, Panel, Paper
from icl_interp.experiments.files import FigureTable, FigureTables, read_kept, read_summary, write_summary, write_tables

CLAIMS = (
    Claim("one", "A | B holds.", "Figure 1", "m", (Check("risk", "the risk", (1.0, 1.1, 0.9), 0.5, 1.5, "why"),)),
    Claim(
        "two",
        "C holds.",
        "Table 1",
        "m",
        (Check("risk", "the risk", (1.0, 1.0, 1.0), 2.0), Check("cell", "the cell", (1.0, 2.0, 3.0))),
    ),
    Claim("three", "D has a size.", "Table 1", "m", (Check("cell", "the cell", (1.0, 2.0, 3.0)),)),
)
ROWS = (("LSA", 1, 1.23456789), ("LTB “x”", 2, float("nan")), ("none", None, 1.5e-300))
OUTCOME = Outcome(
    Paper("who2024", "A title", "Who (2024), arXiv 1"), "laptop", (0, 1, 2), ("Set.",), ("Open.",), CLAIMS,
    (Panel("first", "A figure", "It falls.", None, ("model", "step", "risk"), ROWS),),
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return write_summary(OUTCOME, tmp_path / "who2024.json", {"torch": "2"})


def test_what_is_written_is_read(path):
    summary = read_summary(path)
    assert summary.claims == CLAIMS
    assert (summary.paper, summary.preset, summary.seeds) == (OUTCOME.paper, "laptop", (0, 1, 2))
    assert (summary.setting, summary.unknowns, summary.provenance) == (("Set.",), ("Open.",), {"torch": "2"})
    assert str(summary) == repr(summary) == "Summary(who2024, laptop, 3 claims)"


def test_the_file_says_what_a_reader_needs(path):
    (first, *_) = json.loads(path.read_text())["claims"]
    (check,) = first["checks"]
    assert (first["verdict"], check["verdict"]) == ("reproduced", "agrees")
    assert check["values"] == [1.0, 1.1, 0.9]
    low, high = check["interval"]
    assert low < check["mean"] < high


def test_a_verdict_that_does_not_follow_is_refused(path):
    path.write_text(path.read_text().replace('"verdict": "contradicts"', '"verdict": "agrees"'))
    with pytest.raises(ValueError, match="got 'agrees' for risk, whose numbers say 'contradicts'"):
        read_summary(path)


def test_seeds_without_a_number_are_null_and_read_again(tmp_path):
    lost = Claim("one", "A holds.", "Figure 1", "m", (Check("risk", "the risk", (1.0, float("nan"), 1.0), 0.5),))
    path = write_summary(replace(OUTCOME, claims=(lost,)), tmp_path / "who2024.json", {})
    (stored,) = json.loads(path.read_text())["claims"][0]["checks"]
    assert (stored["values"], stored["mean"], stored["interval"]) == ([1.0, None, 1.0], None, [None, None])
    assert (stored["verdict"], stored["note"]) == ("undecided", "1 of 3 seeds gave no number")
    assert repr(read_summary(path).claims) == repr((lost,))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "needs a JSON file"), ("[]", "needs the format"), ('{"format": "icl-interp claims 1"}', "needs the format")],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_summary(tmp_path / "x.json")
    with pytest.raises(ValueError, match="needs a JSON file, got"):
        read_summary(tmp_path / "nowhere.json")


def test_a_summary_of_an_older_version_is_one_sentence_that_says_to_run_it_again(path):
    # As version 2 wrote it: other words for verdicts, and nothing that says how many checks share the level.
    contents = json.loads(path.read_text())
    contents["format"] = "icl-interp claims 2"
    for claim in contents["claims"]:
        claim["verdict"] = "partly"
        for check in claim["checks"]:
            check["verdict"] = "reproduced"
            del check["among"]
    path.write_text(json.dumps(contents))
    wanted = "needs the format 'icl-interp claims 3', got 'icl-interp claims 2' of another version: "
    with pytest.raises(ValueError, match=re.escape(f"a summary {wanted}{path}; run icl-reproduce again.")):
        read_summary(path)


BROKEN = {
    "nothing but the format": (lambda c: [c.pop(name) for name in list(c) if name != "format"], "paper: Field"),
    "a number for claims": (lambda c: c.update(claims=3), "claims: Input should be"),
    "a name for a claim": (lambda c: c.update(claims=["one"]), "claims.0: Input should be"),
    "a check without key": (lambda c: c["claims"][0]["checks"][0].pop("key"), "claims.0.checks.0.key: Field required"),
    "a word for a value": (lambda c: c["claims"][0]["checks"][0].update(values=["x"]), "checks.0.values.0: Input"),
    "no values": (lambda c: c["claims"][0]["checks"][0].update(values=[]), "Check 'the risk' needs a key and one"),
    "a word for a bound": (lambda c: c["claims"][0]["checks"][0].update(low="x"), "claims.0.checks.0.low: Input"),
    "an unknown field": (lambda c: c["claims"][0].update(colour="red"), "claims.0.colour"),
    "half a paper": (lambda c: c["paper"].pop("title"), "paper.title: Field required"),
    "a number for seeds": (lambda c: c.update(seeds=3), "seeds: Input should be"),
    "a number for provenance": (lambda c: c.update(provenance=3), "provenance: Input should be"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_summary_is_one_sentence(path, case):
    contents = json.loads(path.read_text())
    spoil, reason = BROKEN[case]
    spoil(contents)
    path.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match="a summary needs all fields as icl-reproduce writes them, got ") as caught:
        read_summary(path)
    assert reason in str(caught.value)
    assert str(caught.value).endswith("); write it again.")


def test_bytes_that_are_no_text_are_refused(path):
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="a summary needs a JSON file, got"):
        read_summary(path)


def test_the_table_has_a_row_a_claim(path):
    assert claims_table(summaries_in(path.parent)).splitlines() == [
        "| Claim | Source | Verdict |",
        "|---|---|---|",
        "| A \\| B holds. | Who (2024): Figure 1 | reproduced: 1 agree, 0 contradict, 0 undecided (3 seeds) |",
        "| C holds. | Who (2024): Table 1 | contradicted: 0 agree, 1 contradict, 0 undecided (3 seeds) |",
        "| D has a size. | Who (2024): Table 1 | no target |",
    ]


@pytest.fixture
def cost(path):
    (path.parent / "cost").mkdir()
    found = PresetCost(paper="who2024", preset="paper", n_steps=100, costs=(Cost("a network", 2, 1800, 10.0, 1.0),))
    return found.write(path.parent / "cost" / "who2024.json")


def test_the_block_stands_between_its_markers(path, cost):
    said = 'Training at the size "paper" would take about 10 hours (who2024) of one core, by its first 100 steps.'
    block = results_block(path.parent)
    assert block == f"{BEGIN}\n{claims_table([read_summary(path)])}\n\n{said}\n{END}"
    cost.unlink()
    with pytest.raises(ValueError, match=r"needs costs that icl-reproduce --first-steps --out wrote, got none in"):
        results_block(path.parent)


@pytest.mark.usefixtures("cost")
def test_a_page_gets_its_table(path, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    rewrite(page, results_block(path.parent))
    assert page.read_text() == f"before\n{results_block(path.parent)}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match=f"needs a page with the lines {BEGIN} and"):
        rewrite(page, results_block(path.parent))
    assert page.read_text() == "no markers"


def test_a_folder_without_summaries_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs summaries that icl-reproduce wrote, got none in"):
        summaries_in(tmp_path)


@pytest.fixture
def tables(tmp_path):
    return write_tables(OUTCOME, tmp_path / "who2024-tables.json", {"torch": "2"})


def test_tables_that_are_written_are_read(tables):
    found = read_kept(FigureTables, tables)
    assert (found.paper, found.preset, found.provenance) == (OUTCOME.paper, "laptop", {"torch": "2"})
    rows = (("LSA", 1, 1.23457), ("LTB “x”", 2, None), ("none", None, 1.5e-300))
    columns = ("model", "step", "risk")
    assert found.tables == (
        FigureTable(id="first", title="A figure", sentence="It falls.", columns=columns, rows=rows),
    )
    assert str(found) == "FigureTables(who2024, laptop, 1 tables)"
    assert '      ["LSA", 1, 1.23457],\n' in tables.read_text()


def test_an_outcome_without_figures_is_read(tmp_path):
    assert read_kept(FigureTables, write_tables(replace(OUTCOME, panels=()), tmp_path / "x.json", {})).tables == ()


def test_tables_beside_summaries_are_no_summaries(path, tables):
    assert path.parent == tables.parent
    assert [summary.paper.name for summary in summaries_in(path.parent)] == ["who2024"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tables": 3}, "tables: Input should be"),
        ({"tables": [{"id": "x"}]}, "tables.0.title: Field required"),
        (
            {"tables": [{"id": "x", "title": "t", "sentence": "s", "columns": ["a", "b"], "rows": [[1]]}]},
            "a row of x has not 2 cells",
        ),
        ({"format": "another"}, "needs the format 'icl-interp tables 1'"),
    ],
)
def test_broken_tables_are_one_sentence(tables, change, reason):
    tables.write_text(json.dumps(json.loads(tables.read_text()) | change))
    with pytest.raises(ValueError, match="a file of tables needs ") as caught:
        read_kept(FigureTables, tables)
    assert reason in str(caught.value)
