"""What `icl-probe` costs: the demo, a network of two layers, and the size of the seed paper, side by side in one run.

Run `python benchmarks/studies.py --before CHECKOUT --json benchmarks/studies.json` on a quiet machine with two cores;
it exits with 1 if a wanted ratio or time is missed. CHECKOUT is an older version of this repository, in a folder of its
own (`git worktree add CHECKOUT c04ef41`), which is timed with 5 controls in one thread; without it this version is.
Every time is that of the whole command, from start to written report. `--cases demo` makes it shorter, `--busy` keeps a
third process busy meanwhile. Processor seconds are given as well: other work on the machine counts less in them.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.data import demo_path
from icl_interp.measure.study.plan import plan_study
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.provenance import provenance
from icl_interp.tasks.linear_regression import LinearRegression

HERE = Path(__file__).resolve().parents[1]
CONFIGS = {
    "two layers": ModelConfig(n_dims=5, n_points=11, n_layers=2, n_heads=4, d_model=64),
    "seed paper": ModelConfig(n_dims=20, n_points=41, n_layers=12, n_heads=8, d_model=256),
}
CASES = ("demo", *CONFIGS)
START = 8.0
"""Seconds of imports and of writing the report, which the estimate of a study leaves out."""
MOST_RATIO, MOST_SECONDS, HONEST = 1.3, 240.0, 1.5
"""Wanted: of the demo with 20 controls over 5, of the seed paper's size, and of an estimate over the truth."""
COMMAND = "import sys; from icl_interp.cli.probe import main; sys.argv[0] = 'icl-probe'; main()"


@dataclass(frozen=True)
class Run:
    """One command."""

    name: str
    """What was probed, and how."""
    wall: float
    """Seconds from start to end."""
    processor: float
    """Processor seconds of all its processes."""
    estimate: float | None
    """Seconds of one core that the plan estimated for the study, start and report left out."""


def timed(name: str, files: list[Path], options: list[str], *, checkout: Path, estimate: float | None = None) -> Run:
    """Run `icl-probe` of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*map(str, files), *options, "--out", f"{folder}/report.html", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        before, began = os.times(), time.monotonic()
        subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, env=environment, cwd=folder)
        after, wall = os.times(), time.monotonic() - began
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    run = Run(name, round(wall, 1), round(spent, 1), None if estimate is None else round(estimate, 1))
    told = "" if estimate is None else f", estimated {estimate + START:.0f} s of one core"
    print(f"{name}: {run.wall:.1f} s, {run.processor:.1f} s of processors{told}", flush=True)
    return run


def runs_of(case: str, folder: Path, before: Path) -> Iterator[Run]:
    """Time a case: few controls in one thread, and many in two processes."""
    if case == "demo":
        files, checkpoint = [], load_checkpoint(demo_path())
        model, task = checkpoint.model, checkpoint.task
        yield timed("demo, 5 controls, one thread", files, ["--controls", "5", "--threads", "1"], checkout=before)
    else:
        model = build_model(CONFIGS[case], seed=0)
        task = LinearRegression(n_dims=model.cfg.n_dims, n_points=model.cfg.n_points)
        files = [folder / f"{case}.pt"]
        save_checkpoint(files[0], model, task=task)
    for options in ([], ["--controls", "20"]):
        n_controls = 20 if options else None
        estimate = plan_study(model, task, n_controls=n_controls).seconds
        name = f"{case}, {'20 controls' if options else 'by default'}, two processes"
        yield timed(name, files, [*options, "--workers", "2"], checkout=HERE, estimate=estimate)


def verdicts(runs: dict[str, Run]) -> dict[str, tuple[float, float]]:
    """Give what is wanted of the runs that were made: what it is, and what it may be at most."""
    found: dict[str, tuple[float, float]] = {}
    few = runs.get("demo, 5 controls, one thread")
    for how in ("20 controls", "by default"):
        many, large = runs.get(f"demo, {how}, two processes"), runs.get(f"seed paper, {how}, two processes")
        if few is not None and many is not None:
            found[f"demo, {how}: ratio of times to 5 controls"] = many.wall / few.wall, MOST_RATIO
        if large is not None:
            found[f"seed paper, {how}: seconds"] = large.wall, MOST_SECONDS
    for name, run in runs.items():
        if run.estimate is not None:
            ratio = (run.estimate + START) / run.processor
            found[f"{name}: estimate off by a factor of"] = max(ratio, 1 / ratio), HONEST
    return found


def _spin() -> None:
    while True:
        pass


@contextmanager
def _busy(*, wanted: bool) -> Iterator[None]:
    other = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) if wanted else None
    if other is not None:
        other.start()
    try:
        yield
    finally:
        if other is not None:
            other.kill()


def main() -> int:
    """Run everything.

    Returns:
        1 if what is wanted was missed, else 0.
    """
    parser = argparse.ArgumentParser(description="What icl-probe costs.")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--before", type=Path, default=HERE, help="an older checkout, for 5 controls in one thread")
    parser.add_argument("--busy", action="store_true", help="keep another process busy")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _busy(wanted=options.busy):
        runs = [run for case in options.cases for run in runs_of(case, Path(folder), options.before.resolve())]
    found = verdicts({run.name: run for run in runs})
    for name, (value, most) in found.items():
        print(f"{name}: {value:.2f}, wanted at most {most}{'' if value <= most else '  missed'}")
    if options.json:
        rows = [{"what": name, "value": round(value, 3), "wanted": most} for name, (value, most) in found.items()]
        record = {"provenance": provenance(), "busy": options.busy, "runs": [asdict(run) for run in runs], "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(value <= most for value, most in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
