"""Make an embedded model of a finished run, as `make demo-models` does.

`python -m icl_interp.data.pack RUN NAME` takes its last checkpoint, with `all` at the end all of them.
"""

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.checkpoints.safe_load import numbered_files
from icl_interp.data.models import FOLDER, demo_models
from icl_interp.errors import InputError
from icl_interp.files import write_atomically
from icl_interp.prompts import Prompts
from icl_interp.runs.folder import read_manifest

_WITHIN = 1e-3  # of the root of E[y^2]: how far predictions may move, as a root mean square
_PROMPTS = 512
_TOLD = (
    "time", "python", "platform", "processor", "threads", "icl_interp", "torch", "transformer_lens", "numpy", "seed",
    "seconds",
)  # fmt: skip


def pack(run: Path, name: str, *, whole: bool = False, folder: Path = FOLDER) -> Path:
    """Write the last checkpoint of a run, or all, with recipe and manifest; half precision where that suffices."""
    known, manifest, files = demo_models(), read_manifest(run), numbered_files(run)
    if name not in known or not manifest.get("finished"):
        raise InputError(f"an embedded model needs a finished run and a name among {', '.join(known)}, got {name!r}.")
    home, prefix = (folder / name, "") if whole else (folder, f"{name}_")
    (home / "checkpoints" if whole else home).mkdir(parents=True, exist_ok=True)
    facts = {}
    for step in sorted(files) if whole else [max(files)]:
        place = home / "checkpoints" / f"step_{step:08d}.pt" if whole else home / f"{name}.pt"
        facts[place.name] = _write(files[step], place)
    told = {key: manifest[key] for key in _TOLD if key in manifest}
    text = json.dumps({"command": f"icl-train {known[name].preset}", **told, "files": facts}, indent=2) + "\n"
    write_atomically(home / f"{prefix}manifest.json", lambda out: out.write(text.encode()))
    shutil.copyfile(run / "config.yaml", home / f"{prefix}config.yaml")
    if whole:
        shutil.copyfile(run / "metrics.jsonl", home / "metrics.jsonl")
    return home if whole else home / f"{name}.pt"


def _write(source: Path, place: Path) -> dict[str, Any]:
    contents = torch.load(source, weights_only=True)
    exact = load_checkpoint(source)
    prompts = exact.task.sample(_PROMPTS, exact.n_points_trained, seed=exact.step or 0)
    before = _answers(exact, prompts)
    half = {**contents, "weights": {key: weight.half() for key, weight in contents["weights"].items()}}
    write_atomically(place, lambda out: torch.save(half, out))
    moved = (_answers(load_checkpoint(place), prompts) - before) / exact.task.label_second_moment() ** 0.5
    change = {"change_rms": float(moved.square().mean().sqrt()), "change_max": float(moved.abs().max())}
    if change["change_rms"] > _WITHIN:
        write_atomically(place, lambda out: torch.save(contents, out))
    kept = {"dtype": "float32"} if change["change_rms"] > _WITHIN else {"dtype": "float16", **change}
    return {**kept, "sha256": sha256(place.read_bytes()).hexdigest()}


def _answers(checkpoint: Checkpoint, prompts: Prompts) -> torch.Tensor:
    points = None if checkpoint.model.cfg.family == "gpt2" else [-1]
    with torch.no_grad():
        return checkpoint.model(prompts.xs, prompts.ys, points=points).double()


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]), sys.argv[2], whole=sys.argv[3:] == ["all"]))  # noqa: T201
