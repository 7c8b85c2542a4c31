"""Training against the loop that people would write, one thread, ratios from one run.

Run `python benchmarks/training.py`; it prints one table, writes nothing unless `--json FILE` is given, and exits with 1
if a wanted ratio is missed. `--sizes tiny --parts published --repeats 3` makes it shorter. Both sides of a ratio take
turns and the best processor time of each counts, so that other work on the machine counts little. The rows live in
`benchmarks/training_rows/`, one file per question; the loop of comparison in `benchmarks/rivals/published_loop.py`.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "rivals"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "training_rows"))

import torch
from ensemble_rows import linear_rows, transformer_rows
from loop_rows import lens_rows, published_rows
from option_rows import option_rows
from peak_rows import growth_rows, peak_row
from row import Row
from sizes import SIZES

PARTS = ("published", "lens", "peak", "linear", "many", "options")


def _rows(parts: list[str], names: list[str], repeats: int) -> Iterator[Row]:
    # Measure one after the other.
    if "published" in parts:
        for name in names:
            yield from published_rows(name, repeats)
    if "peak" in parts:
        for name in names:
            yield peak_row(name, repeats)
        yield from growth_rows(repeats)
    if "lens" in parts:
        for name in names:
            yield from lens_rows(name, repeats)
    if "linear" in parts:
        yield from linear_rows(repeats)
    if "many" in parts:
        yield from transformer_rows(repeats)
    if "options" in parts:
        for name in names:
            yield from option_rows(name, repeats)


def main() -> int:
    """Run everything and print one table.

    Returns:
        1 if a wanted ratio was missed, else 0.
    """
    parser = argparse.ArgumentParser(description="Training against the loop that people would write.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:5], help="options takes minutes to compile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':54} {'ours':>9} {'other':>9} {'ratio':>7} {'wanted':>7}")
    rows = []
    for row in _rows(arguments.parts, arguments.sizes, arguments.repeats):
        rows.append(row)
        mark = "" if row.reached else "  missed"
        print(
            f"{row.name:54} {row.ours:9.4g} {row.other:9.4g} {row.ratio:7.3f} {row.wanted or '':>7}{mark}", flush=True
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
