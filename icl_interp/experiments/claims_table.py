"""The README's table of claims, made from the summaries that the laptop preset left.

`python -m icl_interp.experiments.claims_table README.md examples/results` writes it.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from icl_interp.atomic import write_atomically
from icl_interp.experiments.claims import Claim
from icl_interp.experiments.summary import Summary, read_summary

__all__ = ["BEGIN", "END", "claims_block", "claims_table", "rewrite_table", "summaries_in"]

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
"""What the table stands between; both on lines of their own."""


def summaries_in(folder: str | Path) -> list[Summary]:
    """Read all summaries of a folder.

    Args:
        folder: Such as examples/results.

    Returns:
        In alphabetical order of file names.

    Raises:
        ValueError: If there is none, or a file is no summary.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise ValueError(f"the table of claims needs summaries that icl-reproduce wrote, got none in {folder}.")
    return [read_summary(path) for path in paths]


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


def rewrite_table(page: str | Path, folder: str | Path) -> None:
    """Put the table of a folder's summaries where a page has its markers.

    Args:
        page: Such as README.md.
        folder: Of the summaries.

    Raises:
        ValueError: If the page does not have both markers.
    """
    text = Path(page).read_text(encoding="utf-8")
    block = claims_block(summaries_in(folder))
    written, found = re.subn(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL)
    if not found:
        raise ValueError(f"the table of claims needs a page with the lines {BEGIN} and {END}, got {page}; add them.")
    write_atomically(page, lambda file: file.write(written.encode()))


def _verdict(claim: Claim) -> str:
    judged = [check for check in claim.checks if check.verdict != "unknown in the paper"]
    if not judged:
        return claim.verdict
    agreeing = sum(check.verdict == "reproduced" for check in judged)
    return f"{claim.verdict} ({agreeing} of {len(judged)} checks, {claim.n_seeds} seeds)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    rewrite_table(*sys.argv[1:])
