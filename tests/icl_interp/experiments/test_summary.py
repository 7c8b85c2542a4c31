"""Summaries: written and read, judged again, refused where a verdict does not follow from its numbers."""

import json

import pytest

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.claims_table import BEGIN, END, _claims_block, _rewrite_table, _summaries_in, claims_table
from icl_interp.experiments.cost import Cost, PresetCost, write_cost
from icl_interp.experiments.outcome import Outcome, Paper
from icl_interp.experiments.summary import read_summary, write_summary

CLAIMS = (
    Claim("one", "A | B holds.", "Figure 1", "m", (Check("risk", (1.0, 1.1, 0.9), 0.5, 1.5, "why"),)),
    Claim("two", "C holds.", "Table 1", "m", (Check("risk", (1.0, 1.0, 1.0), 2.0), Check("cell", (1.0, 2.0, 3.0)))),
    Claim("three", "D has a size.", "Table 1", "m", (Check("cell", (1.0, 2.0, 3.0)),)),
)
OUTCOME = Outcome(
    Paper("who2024", "A title", "Who (2024), arXiv 1"), "laptop", (0, 1, 2), ("Set.",), ("Open.",), CLAIMS
)


@pytest.fixture
def path(tmp_path):
    return write_summary(OUTCOME, tmp_path / "who2024.json", {"torch": "2"})


def test_what_is_written_is_read(path):
    summary = read_summary(path)
    assert summary.claims == CLAIMS
    assert (summary.paper, summary.preset, summary.seeds) == (OUTCOME.paper, "laptop", (0, 1, 2))
    assert summary.provenance == {"torch": "2"}


def test_the_file_says_what_a_reader_needs(path):
    (first, *_) = json.loads(path.read_text())["claims"]
    (check,) = first["checks"]
    assert first["verdict"] == check["verdict"] == "reproduced"
    assert check["values"] == [1.0, 1.1, 0.9]
    low, high = check["interval"]
    assert low < check["mean"] < high


def test_a_verdict_that_does_not_follow_is_refused(path):
    path.write_text(path.read_text().replace('"verdict": "not reproduced"', '"verdict": "reproduced"'))
    with pytest.raises(ValueError, match="got 'reproduced' for two, whose numbers say 'not reproduced'"):
        read_summary(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "needs a JSON file"), ("[]", "needs the format"), ('{"format": "x"}', "needs the format")],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_summary(tmp_path / "x.json")
    with pytest.raises(ValueError, match="needs a JSON file, got"):
        read_summary(tmp_path / "nowhere.json")


def _without_label(contents):
    del contents["claims"][0]["checks"][0]["label"]


BROKEN = {
    "nothing but the format": (lambda c: [c.pop(name) for name in list(c) if name != "format"], "no 'claims'"),
    "a number for claims": (lambda c: c.update(claims=3), "'int' object is not iterable"),
    "a name for a claim": (lambda c: c.update(claims=["one"]), "string ind"),
    "a check without label": (_without_label, "no 'label'"),
    "a word for a value": (lambda c: c["claims"][0]["checks"][0].update(values=["x"]), "x"),
    "no values": (lambda c: c["claims"][0]["checks"][0].update(values=[]), "Check 'risk' needs one finite value"),
    "a word for a bound": (lambda c: c["claims"][0]["checks"][0].update(low="x"), "x"),
    "half a paper": (lambda c: c["paper"].pop("title"), "argument: 'title'"),
    "a number for seeds": (lambda c: c.update(seeds=3), "'int' object is not iterable"),
    "a number for provenance": (lambda c: c.update(provenance=3), "'int' object is not iterable"),
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
    assert claims_table(_summaries_in(path.parent)).splitlines() == [
        "| Claim | Source | Verdict |",
        "|---|---|---|",
        "| A \\| B holds. | Who (2024): Figure 1 | reproduced (1 of 1 checks, 3 seeds) |",
        "| C holds. | Who (2024): Table 1 | not reproduced (0 of 1 checks, 3 seeds) |",
        "| D has a size. | Who (2024): Table 1 | unknown in the paper |",
    ]


@pytest.fixture
def cost(path):
    (path.parent / "cost").mkdir()
    found = PresetCost("who2024", "paper", 100, (Cost("a network", 2, 1800, 10.0, 1.0),))
    return write_cost(found, path.parent / "cost" / "who2024.json", {})


def test_the_block_stands_between_its_markers(path, cost):
    said = 'Training at the size "paper" would take about 10 hours (who2024) of one core, by its first 100 steps.'
    block = _claims_block(path.parent)
    assert block == f"{BEGIN}\n{claims_table([read_summary(path)])}\n\n{said}\n{END}"
    cost.unlink()
    with pytest.raises(ValueError, match=r"needs costs that icl-reproduce --first-steps --out wrote, got none in"):
        _claims_block(path.parent)


@pytest.mark.usefixtures("cost")
def test_a_page_gets_its_table(path, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    _rewrite_table(page, path.parent)
    assert page.read_text() == f"before\n{_claims_block(path.parent)}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match=f"needs a page with the lines {BEGIN} and"):
        _rewrite_table(page, path.parent)
    assert page.read_text() == "no markers"


def test_a_folder_without_summaries_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs summaries that icl-reproduce wrote, got none in"):
        _summaries_in(tmp_path)
