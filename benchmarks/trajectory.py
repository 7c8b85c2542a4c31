"""Joint trajectory PCA: how much memory does a stack that is never held as a whole take?

Run `python benchmarks/trajectory.py`; it streams random walks of 25 runs x 2,203 checkpoints x 8,192 outputs (1.8 GB in
float32), whose rows are made on the fly, through `joint_trajectory_pca`, prints the process's peak, and exits with 1
where that is 2 GB or more, or where the two planted directions are not found. `--files FOLDER` writes the rows to files
first and reads them block by block. `--repeats N` does it N times in one process: the time is the best, and the peak is
that of all, so memory that is not given back shows. Smaller sizes finish sooner: every pass makes or reads all rows
again.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))

import torch
from torch import Tensor

from probes.trajectory import joint_trajectory_pca

Rows = Tensor | Callable[[], Iterator[Tensor]]

LIMIT_GB = 2.0
BLOCK = 64
NOISE = 0.02
"""Of each output, beside two planted directions of unit length along which runs move by about 1 and 0.5."""


def _directions(n_outputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(n_outputs, 2, generator=generator)).Q.T


def _blocks(run: int, n_checkpoints: int, n_outputs: int) -> Iterator[Tensor]:
    directions = _directions(n_outputs)
    time_ = torch.linspace(0, 1, n_checkpoints)[:, None]
    path = torch.cat([(1 + run % 3) * time_, (run % 2 - 0.5) * 2 * time_ * (1 - time_)], dim=1) * n_outputs**0.5
    generator = torch.Generator().manual_seed(run + 1)
    for start in range(0, n_checkpoints, BLOCK):
        part = path[start : start + BLOCK]
        yield part @ directions + NOISE * torch.randn(len(part), n_outputs, generator=generator)


def _from_file(file: Path, n_outputs: int) -> Iterator[Tensor]:
    size = BLOCK * n_outputs * 4
    with file.open("rb") as opened:
        while block := opened.read(size):
            yield torch.frombuffer(bytearray(block), dtype=torch.float32).reshape(-1, n_outputs)


def _write(folder: Path, run: int, n_checkpoints: int, n_outputs: int) -> Path:
    file = folder / f"run{run}.f32"
    with file.open("wb") as opened:
        for block in _blocks(run, n_checkpoints, n_outputs):
            opened.write(block.numpy().tobytes())
    return file


def main() -> None:
    """Print sizes, time and peak; exit with 1 where the limit is reached or the planted plane is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--checkpoints", type=int, default=2203)
    parser.add_argument("--outputs", type=int, default=8192)
    parser.add_argument("--files", type=Path, help="a folder for the rows, instead of making them on the fly")
    parser.add_argument("--limit", type=float, default=LIMIT_GB, help="in GB of 10^9 bytes")
    parser.add_argument("--repeats", type=int, default=1, help="how often; the best time and the largest peak count")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats needs at least 1, got {options.repeats}")
    torch.set_num_threads(1)
    runs: dict[str, Rows] = {}
    for run in range(options.runs):
        if options.files is None:
            runs[f"run {run}"] = partial(_blocks, run, options.checkpoints, options.outputs)
        else:
            file = _write(options.files, run, options.checkpoints, options.outputs)
            runs[f"run {run}"] = partial(_from_file, file, options.outputs)
    before = _peak_gb()
    measured = [_measure(runs, options.outputs) for _ in range(options.repeats)]
    seconds, overlap = min(each[0] for each in measured), min(each[1] for each in measured)
    peak = _peak_gb()
    stack = options.runs * options.checkpoints * options.outputs * 4 / 1e9
    print(
        f"{options.runs} runs x {options.checkpoints} checkpoints x {options.outputs} outputs: {stack:.2f} GB of rows, "
        f"peak {peak:.2f} GB ({before:.2f} GB before), {seconds:.1f} s (best of {options.repeats}), planted plane "
        f"found to {overlap:.4f}"
    )
    sys.exit(peak >= options.limit or overlap < 0.999)


def _measure(runs: dict[str, Rows], n_outputs: int) -> tuple[float, float]:
    start = time.perf_counter()
    found = joint_trajectory_pca(runs)
    seconds = time.perf_counter() - start
    # Two planes agree where the product of their bases has two singular values of 1.
    return seconds, float(torch.linalg.svdvals(found.components @ _directions(n_outputs).double().T).min())


def _peak_gb() -> float:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
