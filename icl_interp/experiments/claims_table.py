"""The README's table of claims, made from the summaries that the laptop preset left."""

from collections.abc import Sequence
from pathlib import Path

from icl_interp.experiments.claims import Claim
from icl_interp.experiments.summary import Summary, read_summary

__all__ = ["BEGIN", "END", "claims_block", "claims_table", "summaries_in"]

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
"""What the table stands between; both on lines of their own."""


def summaries_in(folder: str | Path) -> list[Summary]:
    """Read all summaries of a folder.

    Args:
        folder: Such as examples/results.

    Returns:
        In alphabetical order of file names.
    """
    return [read_summary(path) for path in sorted(Path(folder).glob("*.json"))]


def claims_table(summaries: Sequence[Summary]) -> str:
    """Lay claims out as a Markdown table.

    Args:
        summaries: One a paper.

    Returns:
        A row a claim: statement, source, verdict with the number of checks that agree.

    Example:
        >>> print(claims_table([]))
        | Claim | Source | Verdict |
        |---|---|---|
    """
    rows = ["| Claim | Source | Verdict |", "|---|---|---|"]
    for summary in summaries:
        authors = summary.paper.citation.partition(", arXiv")[0]
        rows += [
            f"| {_cell(claim.statement)} | {_cell(authors)}: {_cell(claim.source)} | {_verdict(claim)} |"
            for claim in summary.claims
        ]
    return "\n".join(rows)


def claims_block(summaries: Sequence[Summary]) -> str:
    """Give what the README holds.

    Args:
        summaries: One a paper.

    Returns:
        Marker, table, marker.
    """
    return f"{BEGIN}\n{claims_table(summaries)}\n{END}"


def _verdict(claim: Claim) -> str:
    judged = [check for check in claim.checks if check.verdict != "unknown in the paper"]
    if not judged:
        return claim.verdict
    agreeing = sum(check.verdict == "reproduced" for check in judged)
    return f"{claim.verdict} ({agreeing} of {len(judged)} checks, {claim.n_seeds} seeds)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
