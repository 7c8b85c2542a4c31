"""The README's table of claims, made from the summaries that the laptop preset left.

`python -m icl_interp.experiments.claims_table README.md examples/results` writes it; what the papers' own sizes would
cost is read from the folder `cost` in there.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Claim
from icl_interp.experiments.cost import PresetCost, read_cost
from icl_interp.experiments.files import Summary, read_summary
from icl_interp.files import write_atomically

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"  # the table stands between these lines


def _summaries_in(folder: str | Path) -> list[Summary]:
    """Read all summaries of a folder in the order of their names; tables of figures beside them are left out."""
    paths = sorted(path for path in Path(folder).glob("*.json") if not path.name.endswith("-tables.json"))
    if not paths:
        raise InputError(f"the table of claims needs summaries that icl-reproduce wrote, got none in {folder}.")
    return [read_summary(path) for path in paths]


def claims_table(summaries: Sequence[Summary]) -> str:
    """Lay claims out as a Markdown table, a row per claim: statement, source, verdict and its three counts."""
    rows = ["| Claim | Source | Verdict |", "|---|---|---|"]
    for summary in summaries:
        authors = summary.paper.citation.partition(", arXiv")[0]
        for claim in summary.claims:
            said, source = (text.replace("|", "\\|") for text in (claim.statement, f"{authors}: {claim.source}"))
            rows.append(f"| {said} | {source} | {_verdict(claim)} |")
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


def _claims_block(folder: str | Path) -> str:
    costs = [read_cost(path) for path in sorted((Path(folder) / "cost").glob("*.json"))]
    if not costs:
        raise InputError(
            f"the table of claims needs costs that icl-reproduce --first-steps --out wrote, got none in {folder}/cost."
        )
    return f"{BEGIN}\n{claims_table(_summaries_in(folder))}\n\n{_cost_sentence(costs)}\n{END}"


def _rewrite_table(page: str | Path, folder: str | Path) -> None:
    text = Path(page).read_text(encoding="utf-8")
    block = _claims_block(folder)
    written, found = re.subn(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL)
    if not found:
        raise InputError(f"the table of claims needs a page with the lines {BEGIN} and {END}, got {page}; add them.")
    write_atomically(page, lambda file: file.write(written.encode()))


def _verdict(claim: Claim) -> str:
    return claim.said if claim.verdict == "no target" else f"{claim.said} ({claim.n_seeds} seeds)"


if __name__ == "__main__":
    _rewrite_table(*sys.argv[1:])
