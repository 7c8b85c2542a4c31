"""The README's table of claims is what the committed summaries say, and these are real runs."""

import re
from pathlib import Path

import pytest

from icl_interp.experiments.claims_table import BEGIN, END, claims_block, summaries_in
from icl_interp.experiments.registry import EXPERIMENTS
from icl_interp.experiments.summary import read_summary

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "examples" / "results"


def test_the_readme_holds_the_table():
    found = re.search(f"{BEGIN}.*{END}", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found is not None
    assert found.group() == claims_block(summaries_in(RESULTS))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_paper_was_run_at_laptop_size_with_three_seeds(name):
    summary = read_summary(RESULTS / f"{name}.json")
    assert (summary.paper.name, summary.preset) == (name, "laptop")
    assert len(summary.seeds) >= 3
    assert "not judged" not in {claim.verdict for claim in summary.claims}
    assert {"torch", "command", "git_commit"} <= set(summary.provenance)
    assert not any("/" in str(value) for value in summary.provenance.values())
