"""Peak memory of a streamed signature: many prompts against few."""

import subprocess
import sys

from row import Row, Sizes

FEW, BATCH = 2_000, 500

# In a process of its own, so that nothing else counts towards the peak.
PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from probes.signature import fit_signature
torch.set_num_threads(1)
n, size = int(sys.argv[1]), int(sys.argv[2])
generator = torch.Generator().manual_seed(0)
base = torch.randn(size, 82, 12, generator=generator) @ (torch.randn(12, 256, generator=generator)
    / torch.arange(1, 13)[:, None])
def batches():
    for start in range(0, n, size):
        yield base * (1 + torch.rand(size, 82, 1, generator=generator))
assert fit_signature(batches()).n_samples == n
if sys.platform == "linux":  # not ru_maxrss, which a child inherits from its parent
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / 2**20)
"""


def _peak(n_prompts: int) -> float:
    command = [sys.executable, "-c", PROGRAM, str(n_prompts), str(BATCH)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory_rows(sizes: Sizes) -> list[Row]:
    """Compare peaks, of which the large one may exceed the small one by a tenth.

    Returns:
        One row, in MiB.
    """
    name = f"peak MiB, signature of {sizes.many} prompts: of {FEW}"
    return [Row(name, _peak(sizes.many - sizes.many % BATCH), _peak(FEW), 1 / 1.1)]
