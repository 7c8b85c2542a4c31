"""The tables of claims in README and docs/results.md are what the committed summaries say, and these are real runs."""

import re
from pathlib import Path

import pytest

from icl_interp.experiments.claims import differences
from icl_interp.experiments.claims_table import BEGIN, END, SHORT, readme_block, results_block
from icl_interp.experiments.cost import _kinds_of, read_cost
from icl_interp.experiments.experiment import _EXPERIMENTS, Means, experiment
from icl_interp.experiments.files import FigureTables, read_kept, read_summary

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "examples" / "results"
DETAILS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "block"), [("README.md", readme_block), ("docs/results.md", results_block)])
def test_the_page_holds_the_tables(page, block):
    found = re.search(f"{BEGIN}.*{END}", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found is not None
    assert found.group() == block(RESULTS)


@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_claims_are_short_in_the_readme(name):
    assert list(SHORT[name]) == [stated.key for stated in experiment(name).claims]
    assert max(len(said.split()) for said in SHORT[name].values()) <= 15


@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_each_paper_was_run_at_laptop_size_with_three_seeds(name):
    summary = read_summary(RESULTS / f"{name}.json")
    assert (summary.paper.name, summary.preset) == (name, "laptop")
    assert len(summary.seeds) >= 3
    assert not any(claim.lacks_seeds for claim in summary.claims)
    assert {"torch", "command", "git_commit"} <= set(summary.provenance)
    assert summary.setting == experiment(name).setting_of("laptop", summary.seeds)  # of today's sizes
    assert [claim.key for claim in summary.claims] == [stated.key for stated in experiment(name).claims]
    assert not any("/" in str(value) for value in summary.provenance.values())


FURTHER = sorted(path.stem for path in (RESULTS / "further_seed").glob("*.json"))
"""Papers of which a further seed was trained at today's size."""


@pytest.mark.parametrize("name", FURTHER)
def test_another_seed_says_the_same(name):
    further, summary = read_summary(RESULTS / "further_seed" / f"{name}.json"), read_summary(RESULTS / f"{name}.json")
    assert len(further.seeds) == 1
    assert not set(further.seeds) & set(summary.seeds)
    assert further.setting == experiment(name).setting_of("laptop", further.seeds)
    assert [str(found) for found in differences(further.claims, summary.claims) if found.contradicts] == []


def test_the_page_names_the_papers_with_a_further_seed():
    text = " ".join(DETAILS.split())
    (named,) = re.findall(r"a further seed of ([\w, ]+) afterwards", text)
    assert re.findall(r"\w+\d{4}", named) == FURTHER


@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_the_papers_sizes_were_timed_as_they_are_planned(name):
    cost = read_cost(RESULTS / "cost" / f"{name}.json")
    assert (cost.paper, cost.preset, cost.n_steps) == (name, "paper", 100)
    kinds = _kinds_of(experiment(name).configs("paper", Means()))
    assert [(c.n_runs, c.steps) for c in cost.costs] == [(len(kind), kind[0].steps) for kind in kinds]
    assert [c.what for c in cost.costs] == [
        f"{kind[0].model.describe()}, {kind[0].task.default_points} points" for kind in kinds
    ]


def test_the_sentence_on_conventions_is_the_table():
    (table,) = (
        table for table in read_kept(FigureTables, RESULTS / "hill2025-tables.json").tables if table.id == "conventions"
    )
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    differ = [[str(row[name]).split(" of ") for name in row if name.endswith("models that differ")] for row in rows]
    shares = [sum(int(k) for k, _ in row) / sum(int(n) for _, n in row) for row in differ]
    spearman = [str(row[name]).split()[0] for row in rows for name in row if "Spearman" in name]
    text = " ".join(DETAILS.split())
    assert f"all {len(rows)} combinations of tokens, centring, side and variant at the laptop size" in text
    assert (
        f"{100 * min(shares):.0f} % to {100 * max(shares):.0f} % of the models differ from untrained networks" in text
    )
    (largest,) = re.findall(r"The largest mean rank correlation with the error is ([\d.]+),", text)
    assert float(largest) == max(float(value) for value in spearman if value != "undefined")


def test_the_sentences_on_exact_updates_are_the_summary():
    summary = read_summary(RESULTS / "huang2023.json")
    checks = {(claim.key, check.key): check for claim in summary.claims for check in claim.checks}
    far = max(max(check.values) for (claim, _), check in checks.items() if claim == "exact-updates")
    text = " ".join(DETAILS.split())
    assert f"differ by at most {far:.3f} in any seed" in text
    assert f"grows like K to the power {checks['times', 'bound'].interval.value:.2f} between" in text


def test_the_sentence_on_mlps_is_the_summary():
    summary = read_summary(RESULTS / "zhang2024.json")
    checks = {(claim.key, check.key): check for claim in summary.claims for check in claim.checks}
    text = " ".join(DETAILS.split())
    far = [value for end in ("gpt2", "gpt2-pinned") for value in checks["gpt2", f"{end}.10"].values]
    assert f"its error is {min(far):.2f} to {max(far):.2f} times that of an answer that reads no example" in text
    decided, said = {}, {}
    for which, end in (("pinned", "-pinned"), ("free", "")):
        log, beyond = checks["gpt2-nearer", f"ratio{end}.3"], checks["gpt2-nearer", f"beyond-zero{end}"]
        here = [2**value for value in log.values]
        zero = [2 ** (value - more) for value, more in zip(log.values, beyond.values, strict=True)]
        said[which] = f"| {min(here):.1f} to {max(here):.1f} | {min(zero):.1f} to {max(zero):.1f} |"
        decided[which] = log.verdict, beyond.verdict
    assert f"| pinned to the label's coordinate {said['pinned']} | free {said['free']}" in text
    assert "five seeds show a factor of two or more with the pinned read-out only. They show no difference" in text
    assert decided == {"pinned": ("agrees", "undecided"), "free": ("undecided", "undecided")}
