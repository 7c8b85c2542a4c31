"""Keep the numbers of a fixed set of commands in a folder, or compare them with those kept there: `make compare`.

    python tests/compare.py FOLDER                  keeps them if FOLDER has none, else compares (exit code 1: differs)
    python tests/compare.py FOLDER --words          reports changed sentences as well
    python tests/compare.py FOLDER --only demo,ltb  a part of the commands
    python tests/compare.py FOLDER --now OTHER      compares with another folder that was kept, without running anything

Everything under the key `provenance` is left out. Lists of records with names are compared by name.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
NAMES = ("key", "id", "name", "label")
SHOWN = 60


# What is compared: each case writes its JSON files into the folder in which it runs.


def probe(*arguments: object) -> None:
    command("probe", *arguments, "--threads", 1, "--json", "numbers.json", "--plotlyjs", "directory", "--quiet")


def reproduce(paper: str) -> None:
    command("reproduce", paper, "--preset", "smoke", "--out", ".", "--quiet")


def command(name: str, *arguments: object) -> None:
    code = f"from icl_interp.cli.{name} import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def ltb() -> None:
    import icl_interp

    config = icl_interp.ModelConfig(family="ltb", n_dims=3, n_points=9, n_layers=2)
    model = icl_interp.build_model(config, seed=3)
    path = icl_interp.save_checkpoint("model.pt", model, task=icl_interp.LinearRegression(3, n_points=9))
    probe(path, "--prompts", 32)


def timeline() -> None:
    config = {
        "model": {"n_dims": 2, "n_points": 6, "n_layers": 2, "n_heads": 2, "d_model": 16},
        "task": {"n_dims": 2, "noise_std": 0.3, "n_points": 6},
        "steps": 60, "batch_size": 32, "lr": 0.003, "seed": 5, "checkpoints": {"every": 20}, "eval_every": 20,
    }  # fmt: skip
    Path("config.yaml").write_text(json.dumps(config))  # JSON is YAML
    command("train", "config.yaml", "--out", "run", "--quiet")
    sampler = ("num_chains=2", "num_draws=20", "num_burnin_steps=5", "batch_size=16")
    probe("run", "--prompts", 32, "--llc", 2, *(word for each in sampler for word in ("--llc-set", each)))


CASES: dict[str, Callable[[], None]] = {
    "carroll2025": lambda: reproduce("carroll2025"),
    "demo": lambda: probe("--prompts", 32),
    "hill2025": lambda: reproduce("hill2025"),
    "zhang2024": lambda: reproduce("zhang2024"),
    "timeline": timeline,
    "dtsip": lambda: probe(DATA / "dtsip_tiny", "--prompts", 16),
    "timaeus": lambda: probe(DATA / "timaeus_icl" / "checkpoint.pt", "--heads", 4, "--prompts", 16),
    "hooked_transformer": lambda: probe(DATA / "hooked_transformer_3_9" / "model.pt", "--prompts", 16),
    "ltb": ltb,
}
KEPT = ("numbers.json", *(f"{paper}{end}.json" for paper in CASES for end in ("", "-tables")))


def make(case: str, folder: Path) -> str:
    """Run a case in a process of its own and keep its JSON files; what went wrong, or nothing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        ran = subprocess.run(
            [sys.executable, __file__, "--run", case],
            cwd=place, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode != 0:
            return f"{case} failed:\n{ran.stdout}{ran.stderr}"
        for path in sorted(Path(place).iterdir()):
            if path.name in KEPT:
                (folder / f"{case}.{path.name}").write_bytes(path.read_bytes())
    return ""


# How two values are compared.


@dataclass(frozen=True)
class Difference:
    path: str
    kind: str
    said: str
    size: float = 0.0


def differences(kept: Any, now: Any, path: str, *, words: bool, tolerance: float) -> Iterator[Difference]:
    """Walk two JSON values side by side."""
    if named(kept) or named(now):
        kept, now = by_name(kept), by_name(now)
    again = {"words": words, "tolerance": tolerance}
    if isinstance(kept, dict) and isinstance(now, dict):
        renamed = reworded(kept, now)
        for new, old in renamed.items() if words else ():
            yield Difference(path, "has a name worded anew", f"\n    - {old}\n    + {new}")
        now = {renamed.get(key, key): value for key, value in now.items()}
        for key in (key for key in {**kept, **now} if key != "provenance"):
            below = f"{path} / {key}"
            if key not in now:
                yield Difference(below, "is missing", shortly(kept[key]))
            elif key not in kept:
                yield Difference(below, "is new", shortly(now[key]))
            else:
                yield from differences(kept[key], now[key], below, **again)
    elif isinstance(kept, list) and isinstance(now, list):
        if len(kept) != len(now):
            yield Difference(path, "has another length", f"{len(kept)} -> {len(now)}")
        for one, other in zip(kept, now, strict=False):
            yield from differences(one, other, f"{path} [*]", **again)
    elif is_number(kept) and is_number(now):
        if not (math.isclose(kept, now, rel_tol=tolerance, abs_tol=tolerance / 1000) or kept != kept != now != now):
            size = abs(now - kept) / max(abs(kept), abs(now))
            yield Difference(path, "changed", f"{kept!r} -> {now!r}", size)
    elif isinstance(kept, str) and isinstance(now, str) and " " in kept and not path.endswith("/ verdict"):
        if words and kept != now:
            yield Difference(path, "is worded anew", f"\n    - {kept}\n    + {now}")
    elif kept != now or type(kept) is not type(now):
        yield Difference(path, "changed", f"{shortly(kept)} -> {shortly(now)}", math.inf)


def reworded(kept: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Names of several words that stand in the place of others: what each was before."""
    if len(kept) != len(now):
        return {}
    pairs = zip(kept, now, strict=True)
    return {new: old for old, new in pairs if " " in old and " " in new and old not in now and new not in kept}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def named(value: Any) -> str | None:
    """By which key a list of records is named, if each name occurs once."""
    if not isinstance(value, list) or not value or not all(isinstance(record, dict) for record in value):
        return None
    for key in NAMES:
        names = [record.get(key) for record in value]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return key
    return None


def by_name(value: Any) -> Any:
    key = named(value)
    return {record[key]: {k: v for k, v in record.items() if k != key} for record in value} if key else value


def shortly(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."


def report(found: list[Difference]) -> list[str]:
    """A line for each path and kind, the largest relative change as the example."""
    groups: dict[tuple[str, str], list[Difference]] = {}
    for each in found:
        groups.setdefault((each.path, each.kind), []).append(each)
    lines = []
    for (path, kind), group in groups.items():
        largest = max(group, key=lambda each: each.size)
        count = f" ({len(group)} times, the largest here)" if len(group) > 1 else ""
        lines.append(f"  {path} {kind}{count}: {largest.said}")
    return lines


def compare(kept: Path, now: Path, *, only: list[str], words: bool, tolerance: float) -> bool:
    """Print what differs; whether nothing does."""
    same = True
    of_cases = [
        {path.name for path in folder.glob("*.json") if path.name.split(".")[0] in only} for folder in (kept, now)
    ]
    for name in sorted(set.union(*of_cases)):
        if not all(name in names for names in of_cases):
            print(f"{name}: {'is new' if name in of_cases[1] else 'is missing'}")
            same = False
            continue
        one, other = (json.loads((folder / name).read_text()) for folder in (kept, now))
        lines = report(list(differences(one, other, "", words=words, tolerance=tolerance)))
        print(f"{name}: {'differs' if lines else 'equal'}", *lines[:SHOWN], sep="\n")
        if len(lines) > SHOWN:
            print(f"  and {len(lines) - SHOWN} more")
        same = same and not lines
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the JSON files are kept")
    parser.add_argument("--only", default=",".join(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument("--words", action="store_true", help="report changed sentences as well")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="relative")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--now", type=Path, help="a kept folder, compared instead of what the commands write")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        CASES[given.run]()
        return 0
    only = given.only.split(",")
    if given.folder is None or not set(only) <= set(CASES):
        parser.error(f"compare needs a folder and cases out of {', '.join(CASES)}, got {given.folder} and {given.only}")
    how = {"only": only, "words": given.words, "tolerance": given.tolerance}
    if given.now is not None:
        return 0 if compare(given.folder, given.now, **how) else 1
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(given.processes) as pool:
        now = Path(place)
        failures = [said for said in pool.map(lambda case: make(case, now), only) if said]
        print(*failures, sep="\n", end="\n" if failures else "")
        if failures:
            return 1
        if any(given.folder.glob("*.json")):
            return 0 if compare(given.folder, now, **how) else 1
        given.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(now.iterdir()):
            (given.folder / path.name).write_bytes(path.read_bytes())
        print(f"kept in {given.folder}: {', '.join(sorted(path.name for path in now.iterdir()))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
