"""The probes against what a user would write instead, one row a comparison.

Run `python benchmarks/probes.py`; it prints one table, exits with 1 where a wanted number is missed, and writes
nothing unless `--json FILE` is given. Ratios come from one run on one thread and from processor time, the best of
a few repetitions of both sides in turn, so that other work on the machine counts little. The rows live in
`benchmarks/probes_rows/`, one file a subject.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

# This file is called like the package that it measures, so its own folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "probes_rows"))

import torch
from memory_rows import memory_rows
from ridge_rows import ridge_rows
from row import Row, Sizes
from spectra_rows import spectra_rows

SUBJECTS = {"spectra": spectra_rows, "memory": memory_rows, "ridge": ridge_rows}


def _print_table(rows: list[Row]) -> None:
    # One line a row.
    print(f"{'':52}{'ours':>10}{'rival':>10}{'ratio':>8}{'wanted':>10}{'error':>10}{'allowed':>10}")
    for row in rows:
        allowed = f"{row.allowed_error:.0e}" if row.allowed_error is not None else "-"
        error = f"{row.error:.1e}" if row.error is not None else "-"
        verdict = "" if row.passed else "  MISSED"
        print(
            f"{row.name:52}{row.ours:10.3f}{row.rival:10.3f}{row.ratio:8.2f}{f'>= {row.wanted_ratio:.2f}':>10}"
            f"{error:>10}{allowed:>10}{verdict}"
        )


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS), help=f"any of {', '.join(SUBJECTS)}; else all")
    parser.add_argument("--prompts", type=int, default=512, help="matrices of 82 x 256 for the ratios")
    parser.add_argument("--many", type=int, default=100_000, help="prompts of the large signature")
    parser.add_argument("--layers", type=int, default=13, help="layers of 256 features for the ridge probes")
    parser.add_argument("--ridge-prompts", type=int, default=64, help="prompts of 16 points for the ridge probes")
    parser.add_argument("--repeats", type=int, default=6, help="repetitions (not for ridge); the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    unknown = sorted(set(options.subjects) - set(SUBJECTS))
    if unknown:
        parser.error(f"unknown subjects {', '.join(unknown)}; known are {', '.join(SUBJECTS)}")
    torch.set_num_threads(1)
    sizes = Sizes(
        prompts=options.prompts, many=options.many, repeats=options.repeats, layers=options.layers,
        ridge_prompts=options.ridge_prompts,
    )  # fmt: skip
    rows = [row for subject in options.subjects for row in SUBJECTS[subject](sizes)]
    _print_table(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) | {"passed": row.passed} for row in rows], indent=2) + "\n")
    sys.exit(not all(row.passed for row in rows))


if __name__ == "__main__":
    main()
