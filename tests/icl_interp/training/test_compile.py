"""torch.compile for real: the same steps up to rounding, and checkpoints that anybody can read.

In processes of their own, since torch.compile cannot look through the shape checks that tests add to every function.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from icl_interp import load_checkpoint

COMMAND = """
import sys
from icl_interp.cli.train import main
sys.argv[0] = "icl-train"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
from torch._dynamo.utils import counters
print(counters["stats"]["unique_graphs"])
"""
TINY = ("model.n_layers=1", "model.d_model=8", "model.n_heads=1", "batch_size=4", "steps=3", "eval_every=null")


def trained(out: Path, *settings: str) -> int:
    """Train in `out`; the number of graphs that were compiled."""
    chosen = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "demo", "--out", str(out), "--quiet", *chosen], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(tmp_path: Path) -> None:
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    assert trained(plain) == 0
    assert trained(compiled, "compile=true") > 0
    losses = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (plain, compiled)
    ]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)  # fused kernels round differently
    one, other = (
        load_checkpoint(run / "checkpoints" / "step_00000003.pt").model.state_dict() for run in (plain, compiled)
    )
    assert set(one) == set(other)
    for name, weight in one.items():
        # Adam's first steps have the size of the learning rate, 1e-3, whatever the gradient's rounding does.
        torch.testing.assert_close(other[name], weight, rtol=1e-3, atol=1e-4)
