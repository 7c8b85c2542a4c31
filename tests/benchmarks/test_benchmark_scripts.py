"""Every benchmark starts from its own folder, says how it is used, and takes `probes` for the package."""

import json
import runpy
from pathlib import Path

import pytest
from fresh import Ended, run_fresh

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Ended]:
    """Each script, asked how it is used."""
    commands = [[str(script), "--help"] for script in SCRIPTS]
    return dict(zip(SCRIPTS, run_fresh(commands, folder=tmp_path_factory.mktemp("helped")), strict=True))


def test_the_scripts_are_found() -> None:
    assert {"llc.py", "predictors.py", "probes.py", "training.py"} <= {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_says_how_it_is_used(script: Path, helped: dict[Path, Ended]) -> None:
    done = helped[script]
    assert done.code == 0, done.complained
    assert done.said.startswith(f"usage: {script.name}")
    assert "--repeats" in done.said or "--cases" in done.said


def test_ridge_probes_agree_with_scikit_learn(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    sizes = ["ridge", "--layers", "1", "--ridge-prompts", "10", "--json", str(written)]
    (done,) = run_fresh([[FOLDER / "probes.py", *sizes]], folder=tmp_path)
    by_target, at_once = json.loads(written.read_text())
    # Sizes are too small for ratios, but never for errors.
    assert by_target["error"] <= by_target["allowed_error"] == 1e-6
    assert at_once["error"] <= at_once["allowed_error"] == 1e-6
    assert (by_target["wanted_ratio"], at_once["wanted_ratio"]) == (10.0, 0.0)
    assert by_target["name"] in done.said
    assert done.code == (0 if by_target["passed"] and at_once["passed"] else 1)


@pytest.mark.parametrize(
    ("ratio", "error", "passed"),
    [(10.0, 1e-6, True), (9.9, 0.0, False), (20.0, 2e-6, False), (20.0, float("nan"), False)],
)
def test_a_row_needs_its_ratio_and_its_error(ratio: float, error: float, passed: bool) -> None:
    row = runpy.run_path(str(FOLDER / "probes_rows" / "row.py"))["Row"]
    assert row("ridge", 1.0, ratio, 10.0, error, 1e-6).passed is passed
