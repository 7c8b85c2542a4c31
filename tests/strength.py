"""What the tests catch: plant one fault at a time and run the tests that must notice it. `make strength` calls this.

    python tests/strength.py [--minutes 40] [--results FILE] [--tree FOLDER]

`strength.json` lists the faults: a file, one of its lines as it is and as it would be wrong, and the tests that must
fail then. Of each is said: caught; missed; or stale, where the file has no such line any more. What FILE has as
caught is not tried again, unless the line, the fault or the names of its tests have changed since.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
LEFT_OUT = (".git", ".venv", ".venv-tl3", "runs", "shared")
HEAVY = ("torch", "transformer_lens", "sklearn.mixture", "scipy.stats", "plotly.graph_objects", "pandas", "pytest")
"""Imported once, before the first fault; what is ours is imported anew for each."""
FAILED = 1
"""How pytest ends where a test failed; all else than this and 0 is no answer."""
PATIENCE = 600
"""Seconds for the tests of one fault; a fault that never ends is caught as well."""


def run_tests(tree: Path, tests: list[str]) -> int:
    """The exit code of pytest, in a child that has imported nothing of the tree before."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path[:] = [str(tree), *(place for place in sys.path if Path(place or ".").resolve() != HERE)]
        os._exit(_pytest(tests))
    give_up = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return FAILED
        time.sleep(0.05)


def _pytest(tests: list[str]) -> int:
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins that HEAVY has imported
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:
        return 70


def copied(tree: Path, folder: Path) -> Path:
    """A copy of a tree that may be changed, without what its tests do not read."""

    def left_out(place: str, names: list[str]) -> set[str]:
        return set(names) & set(LEFT_OUT) if Path(place) == tree else set()

    return Path(shutil.copytree(tree, folder / "tree", ignore=left_out))


def attempt(tree: Path, fault: dict[str, object]) -> str:
    """What the tests say of one fault: caught, missed, stale, or how pytest ended where that says nothing."""
    path = tree / str(fault["file"])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.splitlines(keepends=True)
    if [line.rstrip("\n") for line in lines].count(str(fault["before"])) != 1:
        return "stale"
    planted = [f"{fault['after']}\n" if line.rstrip("\n") == fault["before"] else line for line in lines]
    try:
        path.write_text("".join(planted), encoding="utf-8")
        code = run_tests(tree, list(fault["tests"]))
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "missed", FAILED: "caught"}.get(code, f"pytest ended with {code}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=40.0, help="begin no fault after this time")
    parser.add_argument("--results", type=Path, default=HERE.parent / "runs" / "strength.json")
    parser.add_argument("--tree", type=Path, default=HERE.parent, help="whose tests are tried")
    options = parser.parse_args()
    faults = json.loads((HERE / "strength.json").read_text(encoding="utf-8"))
    known = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else []
    same = [each for each in known if {name: each.get(name) for name in faults[0]} in faults]
    known = [each for each in same if each["result"] == "caught"]
    tried = {(each["file"], each["after"]) for each in known}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for name in HEAVY:
        __import__(name)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="icl-strength-") as folder:
        tree = copied(options.tree.resolve(), Path(folder))
        if (code := run_tests(tree, list(faults[0]["tests"]))) != 0:  # else everything would seem to be caught
            raise SystemExit(f"without a fault pytest ended with {code}")
        for fault in faults:
            if (fault["file"], fault["after"]) in tried or time.monotonic() - started > 60 * options.minutes:
                continue
            began = time.monotonic()
            known.append({**fault, "result": attempt(tree, fault), "seconds": round(time.monotonic() - began, 1)})
            print(f"{known[-1]['result']}: {fault['file']}: {str(fault['after']).strip()}", flush=True)
            options.results.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = {word: sum(each["result"] == word for each in known) for word in ("caught", "missed", "stale")}
    print(f"{len(known)} of {len(faults)} tried: {counts['caught']} caught, {counts['missed']} missed, "
          f"{counts['stale']} stale; {options.results}")  # fmt: skip
    return int(len(known) < len(faults) or counts["caught"] < len(known))


if __name__ == "__main__":
    raise SystemExit(main())
