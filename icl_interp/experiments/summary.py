"""The summary of an experiment as JSON: claims with their numbers, and what it was made with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.outcome import Outcome, Paper
from icl_interp.experiments.stored import complete, read_stored, write_stored

__all__ = ["Summary", "read_summary", "write_summary"]

FORMAT = "icl-interp claims 1"


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a summary file says; verdicts are computed from its numbers again."""

    paper: Paper
    """Which paper."""
    preset: str
    """At which size."""
    seeds: tuple[int, ...]
    """Of the models."""
    setting: tuple[str, ...]
    """What was run, a sentence each."""
    claims: tuple[Claim, ...]
    """With their values."""
    provenance: Mapping[str, str | int | float]
    """What it was made with."""

    def __repr__(self) -> str:
        return f"Summary({self.paper.name}, {self.preset}, {len(self.claims)} claims)"


def write_summary(outcome: Outcome, path: str | Path, provenance: Mapping[str, str | int | float]) -> Path:
    """Write a summary, completely or not at all."""
    contents = {
        "format": FORMAT,
        "paper": asdict(outcome.paper),
        "preset": outcome.preset,
        "seeds": list(outcome.seeds),
        "setting": list(outcome.setting),
        "unknowns": list(outcome.unknowns),
        "claims": [_claim(claim) for claim in outcome.claims],
        "provenance": dict(provenance),
    }
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    return write_stored(path, text, FORMAT, what="a summary")


def _claim(claim: Claim) -> dict[str, Any]:
    checks = [
        {**asdict(check), "mean": check.interval.value, "interval": [check.interval.low, check.interval.high],
         "verdict": check.verdict}
        for check in claim.checks
    ]  # fmt: skip
    said = {"key": claim.key, "statement": claim.statement, "source": claim.source, "measure": claim.measure}
    return {**said, "verdict": claim.verdict, "checks": checks}


def read_summary(path: str | Path) -> Summary:
    """Read a summary and judge its numbers again."""
    contents = read_stored(path, FORMAT, what="a summary", written_by="icl-reproduce")
    with complete(path, what="a summary", written_by="icl-reproduce"):
        claims = tuple(_read_claim(claim) for claim in contents["claims"])
        verdicts = [
            (claim.key, claim.verdict, stored["verdict"])
            for claim, stored in zip(claims, contents["claims"], strict=True)
        ]
        summary = Summary(
            Paper(**contents["paper"]),
            str(contents["preset"]),
            tuple(contents["seeds"]),
            tuple(contents["setting"]),
            claims,
            dict(contents["provenance"]),
        )
    for key, said, stored in verdicts:
        if said != stored:
            raise InputError(
                f"a summary needs verdicts that follow from its numbers, got {stored!r} for {key}, whose numbers say "
                f"{said!r}; write {path} again by icl-reproduce."
            )
    return summary


def _read_claim(stored: Any) -> Claim:
    checks = tuple(Check(c["label"], tuple(c["values"]), c["low"], c["high"], c["reason"]) for c in stored["checks"])
    return Claim(stored["key"], stored["statement"], stored["source"], stored["measure"], checks)
