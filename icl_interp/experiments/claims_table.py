"""The tables of claims in README.md and docs/results.md, made from the summaries that the laptop preset left.

`python -m icl_interp.experiments.claims_table README.md docs/results.md examples/results` writes both: short claims,
one table per paper, into the first page; full claims with their sources into the second. What the papers' own sizes
would cost is read from the folder `cost` beside the summaries.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from icl_interp.errors import InputError
from icl_interp.experiments.cost import PresetCost, read_cost
from icl_interp.experiments.files import Summary, read_summary
from icl_interp.files import write_atomically

SHORT: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "carroll2025": {
        "low-diversity": "With few tasks, a network goes straight to dMMSE.",
        "transient-ridge": "With more tasks, it first approaches ridge and then turns to dMMSE.",
        "stays-at-ridge": "With many tasks, it goes to ridge and stays there.",
        "t-crit": "The more tasks, the later it leaves ridge.",
        "threshold": "Below a certain number of tasks networks end at dMMSE, above it at ridge.",
        "final-losses": "Their final loss is that of dMMSE (few tasks) or ridge (infinitely many).",
        "trajectories": "Joint principal components of the outputs show the way to ridge and back.",
        "complexity": "The learning coefficient rises with the number of tasks.",
        "loss-gap": "The more tasks, the smaller the loss gap between ridge and dMMSE.",
        "crossover": "Loss against complexity explains when ridge is preferred.",
    },
    "hill2025": {
        "ood-failure": "Transformers fail on shifted prompts where least squares does not.",
        "not-only-bayes": "Bayes for the training data does not share all of these failures (our question).",
        "shared-directions": "Prompts in distribution share two leading directions; shifted prompts do not.",
        "shared-directions-plain": "The same, without a comparison with untrained networks.",
        "score-and-loss": "The stronger the signature, the lower the loss.",
        "training-data": "Training data shape this behaviour.",
        "detection": "The signature detects shifted prompts.",
        "singular-values": "Shifted prompts have higher leading singular values.",
        "fractions": "43 % and 10 % for prompts shifted by 1/3 and 1/4.",
    },
    "huang2023": {
        "balanced": "Attention learns each feature, slowly at first and then fast.",
        "dominant-first": "A dominant feature is learned first, rare ones later.",
        "phases": "A rare feature is learned in four phases.",
        "times": "The time to learn grows like K² log K at most.",
        "exact-updates": "Training follows the exact updates of the expected loss (our addition).",
    },
    "zhang2024": {
        "optima": "The block reaches the risk of one learned gradient step; attention alone does not.",
        "gap": "Without an MLP an error remains that no training removes.",
        "weights": "The trained weights do one gradient step from the mean task b*.",
        "norms": "The block's risk does not depend on |b*|; that of attention does.",
        "lengths": "The gap closes as 1 / M with the number of examples M.",
        "near-bayes": "With much noise the block is nearly Bayes optimal.",
        "skip-and-mlp": "It takes MLP and skip connection together.",
        "moved-mean": "Where the mean task moves at test time, the block keeps its old start.",
        "gpt2": "GPT-2 learns tasks around (10, ..., 10) only with MLPs.",
        "gpt2-nearer": "Around (3, ..., 3), GPT-2 errs twice as much without MLPs (our addition).",
        "linear-analogue": "Linear models show the same on these tasks.",
        "table-1-cells": "The errors of Table 1.",
    },
})  # fmt: skip
"""Claims by paper and key in at most 15 words, for a reader who has two minutes."""

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"  # the table stands between these lines


def summaries_in(folder: str | Path) -> list[Summary]:
    """Read all summaries of a folder in the order of their names; tables of figures beside them are left out."""
    paths = sorted(path for path in Path(folder).glob("*.json") if not path.name.endswith("-tables.json"))
    if not paths:
        raise InputError(f"the table of claims needs summaries that icl-reproduce wrote, got none in {folder}.")
    return [read_summary(path) for path in paths]


def claims_table(summaries: Sequence[Summary]) -> str:
    """Lay claims out as a Markdown table, one row per claim: statement, source, verdict and its three counts."""
    rows = ["| Claim | Source | Verdict |", "|---|---|---|"]
    for summary in summaries:
        authors = summary.paper.citation.partition(", arXiv")[0]
        for claim in summary.claims:
            said, source = (text.replace("|", "\\|") for text in (claim.statement, f"{authors}: {claim.source}"))
            verdict = claim.said if claim.verdict == "no target" else f"{claim.said} ({claim.seeds_said})"
            rows.append(f"| {said} | {source} | {verdict} |")
    return "\n".join(rows)


def short_tables(summaries: Sequence[Summary]) -> str:
    """Lay claims out in one table per paper: the claim in a few words, its verdict and the three counts."""
    return "\n\n".join(map(_short_table, summaries))


def _short_table(summary: Summary) -> str:
    rows = [
        f"**{summary.paper.citation.partition(', arXiv')[0]}**, {len(summary.seeds)} seeds (`{summary.paper.name}`)",
        "",
        "| Claim | Verdict | Agree | Contradict | Undecided |",
        "|---|---|---|---|---|",
    ]
    for claim in summary.claims:
        said = SHORT[summary.paper.name][claim.key].replace("|", "\\|")
        counts = ("", "", "") if claim.verdict == "no target" else claim.counts
        rows.append(f"| {said} | {claim.verdict} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows)


def _cost_sentence(costs: Sequence[PresetCost]) -> str:
    """Say what presets would cost, timed over equally many steps.

    >>> from icl_interp.experiments.cost import Cost
    >>> network = Cost("GPT-2", n_runs=24, steps=36000, seconds_per_step=1.0, loss=1.0)
    >>> _cost_sentence([PresetCost(paper="who2024", preset="paper", n_steps=100, costs=(network,))])
    'Training at the size "paper" would take about 10 days (who2024) of one core, by its first 100 steps.'
    """
    days = [f"{c.hours / 24:,.0f} days" if c.hours > 48 else f"{c.hours:.0f} hours" for c in costs]
    said = ", ".join(f"{took} ({cost.paper})" for took, cost in zip(days, costs, strict=True))
    size, first = costs[0].preset, costs[0].n_steps
    return f'Training at the size "{size}" would take about {said} of one core, by its first {first} steps.'


def results_block(folder: str | Path) -> str:
    """Give what stands between the markers of docs/results.md."""
    costs = [read_cost(path) for path in sorted((Path(folder) / "cost").glob("*.json"))]
    if not costs:
        raise InputError(
            f"the table of claims needs costs that icl-reproduce --first-steps --out wrote, got none in {folder}/cost."
        )
    return f"{BEGIN}\n{claims_table(summaries_in(folder))}\n\n{_cost_sentence(costs)}\n{END}"


def readme_block(folder: str | Path) -> str:
    """Give what stands between the markers of the README."""
    return f"{BEGIN}\n{short_tables(summaries_in(folder))}\n{END}"


def rewrite(page: str | Path, block: str) -> None:
    """Put a block between the markers of a page."""
    text = Path(page).read_text(encoding="utf-8")
    written, found = re.subn(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL)
    if not found:
        raise InputError(f"the table of claims needs a page with the lines {BEGIN} and {END}, got {page}; add them.")
    write_atomically(page, lambda file: file.write(written.encode()))


if __name__ == "__main__":
    readme, results, folder = sys.argv[1:]
    rewrite(readme, readme_block(folder))
    rewrite(results, results_block(folder))
