"""Arrays in files are measured in far less memory than they take on the disk."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

POSITIONS, WIDTH = 4096, 32
SIZES = {"in distribution": 512, "other": 256}
MEGABYTE = 2**20

PROGRAM = """
import json, resource, sys
import numpy as np
import icl_interp as icl

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

small = {label: np.random.default_rng(i).standard_normal((32, 8, 32)) for i, label in enumerate(("a", "b"))}
icl.activation_study(small)  # imports everything
before, (how, *paths) = peak(), sys.argv[1:]
if how == "mapped":
    given = {path.split("/")[-1].removesuffix(".npy"): np.load(path, mmap_mode="r") for path in paths}
else:
    given = paths[0]
found = icl.activation_study(given)
print(json.dumps({
    "grown": peak() - before,
    "read": [len(found.families.fit)] + [len(f.prompts) for f in found.families.by_label.values()],
    "auroc": found.ood.shifts["other"].signature.auroc,
}))
"""


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> list[Path]:
    """About 400 MB, written piece by piece; the other family shares no direction."""
    folder = tmp_path_factory.mktemp("large")
    generator, paths = np.random.default_rng(0), []
    for label, size in SIZES.items():
        path = folder / f"{label}.npy"
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(size, POSITIONS, WIDTH))
        for start in range(0, size, 64):
            part = generator.standard_normal((64, POSITIONS, WIDTH), dtype=np.float32)
            array[start : start + 64] = part + (np.eye(WIDTH, dtype=np.float32)[0] if label != "other" else 0)
        array.flush()
        paths.append(path)
    return paths


def measured(*arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=True
    )
    return json.loads(done.stdout)


def check(found: dict[str, float]) -> None:
    size = sum(SIZES.values()) * POSITIONS * WIDTH * 4
    assert size > 350 * MEGABYTE
    assert found["read"] == [256, 256, 256]
    assert found["auroc"] > 0.95
    assert found["grown"] < size / 3


@pytest.mark.slow
def test_memory_mapped_arrays(arrays):
    check(measured("mapped", *arrays))


@pytest.mark.slow
def test_a_file_of_arrays(arrays, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.npz", "w") as archive:
        for path in arrays:
            archive.write(path, path.name)
    check(measured("file", tmp_path / "all.npz"))
