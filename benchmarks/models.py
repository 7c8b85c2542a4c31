"""Our networks against the same network in Hugging Face's and TransformerLens' classes, and without hook points.

Run `python benchmarks/models.py` in an environment with transformer-lens 3.9 (HookedTransformer) or 4.x (the native
TransformerBridge); it prints a table for each size and number of threads, writes nothing unless `--json FILE` is given,
and exits with 1 if a wanted ratio is missed. Times are the best of a few repetitions of all sides in turn: processor
time on one thread, so that other work on the machine counts little, wall time on two. "products alone" are the blocks'
linear maps at every position with nothing between them; its time over a side's stands in the column "lowest": what a
network that leaves no position out can reach at best. Ours, when nobody listens, leaves out the last label, and in the
last block all positions that answer nothing. nnsight is asked where it is installed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "rivals"))

import torch
from model_rivals import Side, hugging_face, nnsight, ours, products, transformer_lens

from icl_interp import ModelConfig

SIZES = {
    "4 x 64": ModelConfig(n_dims=20, n_points=41, n_layers=4, n_heads=2, d_model=64),
    "12 x 256": ModelConfig(n_dims=20, n_points=41, n_layers=12, n_heads=8, d_model=256),
}
# Our time over theirs, by question and the beginning of their name.
WANTED = {
    ("keep resid_post", "GPT2Model"): 0.9,
    ("keep resid_post", "HookedTransformer"): 0.6,
    ("training step", "GPT2Model"): 0.85,
    ("training step", "HookedTransformer"): 0.75,
    ("keep resid_post", "ours without hook points"): 1.1,
}


@dataclass(frozen=True)
class Row:
    """One question to one side; times in milliseconds."""

    size: str
    threads: int
    question: str
    side: str
    ms: float
    ratio: float
    """Our time over this side's."""
    lowest: float
    """The time of the linear maps alone over this side's, at every position."""
    wanted: float | None
    """The ratio may not exceed this."""


def _questions(side: Side, xs: torch.Tensor, ys: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    # What a side can be asked. A side that cannot keep activations is compared by its plain forward pass.
    def without_gradient(ask: Callable[..., torch.Tensor]) -> Callable[[], object]:
        return torch.no_grad()(lambda: ask(side.module, xs, ys))

    yield "forward", without_gradient(side.answer)
    yield "keep resid_post", without_gradient(side.keep or side.answer)
    if side.cache is not None:
        yield "cache everything", without_gradient(side.cache)
    yield "training step", lambda: side.train(xs, ys)


def _best_times(sides: dict[str, Side], batch: int, repeats: int, threads: int) -> dict[tuple[str, str], float]:
    generator = torch.Generator().manual_seed(0)
    xs, ys = torch.randn(batch, 41, 20, generator=generator), torch.randn(batch, 41, generator=generator)
    asked = {(question, name): ask for name, side in sides.items() for question, ask in _questions(side, xs, ys)}
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(asked, float("inf"))
    for _ in range(repeats):
        for key, ask in asked.items():
            start = clock()
            ask()
            best[key] = min(best[key], clock() - start)
    return best


def _rows(size: str, threads: int, batch: int, repeats: int) -> list[Row]:
    config = SIZES[size]
    names = {f"blocks.{layer}.hook_resid_post" for layer in range(config.n_layers)}
    # TransformerBridge has the same activation under this name.
    names |= {f"blocks.{layer}.hook_out" for layer in range(config.n_layers)}
    torch.set_num_threads(threads)
    sides = ours(config, names.__contains__) | hugging_face(config) | transformer_lens(config, names.__contains__)
    sides |= products(config) | nnsight(config)
    best = _best_times(sides, batch, repeats, threads)
    found = []
    for (question, side), seconds in best.items():
        wanted = next((w for (q, start), w in WANTED.items() if q == question and side.startswith(start)), None)
        ratio = best[question, "ours"] / seconds
        # Caching everything contains a forward pass.
        lowest = best.get((question, "products alone"), best["forward", "products alone"]) / seconds
        found.append(Row(size, threads, question, side, 1e3 * seconds, ratio, lowest, wanted))
    return found


def main() -> None:
    """Print the tables, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=64, help="prompts of 41 points in 20 dimensions: 82 tokens")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions; the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    found = []
    for size in options.sizes:
        for threads in options.threads:
            rows = _rows(size, threads, options.batch, options.repeats)
            found += rows
            title = f"{size}, {threads} thread{'s' * (threads > 1)}"
            print(f"\n{title:44}{'ms':>9}{'ours / it':>11}{'lowest':>9}{'wanted':>9}")
            for row in sorted(rows, key=lambda row: row.question):
                wanted = f"<= {row.wanted:g}" if row.wanted else "-"
                print(f"{row.question:18}{row.side:26}{row.ms:9.1f}{row.ratio:11.2f}{row.lowest:9.2f}{wanted:>9}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")
    sys.exit(any(row.wanted is not None and row.ratio > row.wanted for row in found))


if __name__ == "__main__":
    main()
