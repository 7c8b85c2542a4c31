"""The benchmark of false verdicts decides as `Excess` does, counts what it finds, and goes on from what it kept."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from icl_interp.measure.verdicts import excess_of_replicates

FILE = Path(__file__).parents[2] / "benchmarks" / "false_verdicts.py"
KEPT = FILE.with_suffix(".json")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_false_verdicts", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    path = list(sys.path)
    sys.path.append(str(FILE.parent))  # as if it had been started, which it takes back
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


SCALES = {"a share": "logit", "a ratio": "log", "a number": "identity"}


def networks(n: int) -> list[dict[str, dict[str, object]]]:
    generator = np.random.default_rng(1)
    return [
        {
            name: {
                "value": float(generator.uniform(0.2, 0.8))
                + 2.0 * (i == 0 and scale != "logit")
                - 2.0 * (i == 1 and scale == "identity"),
                "sampling_variance": float(generator.uniform(0, 0.01)),
                "above_chance": True,
                "scale": scale,
                "gate": "a share" if name == "a number" else None,
            }
            for name, scale in SCALES.items()
        }
        for i in range(n)
    ]


def test_its_rule_is_that_of_an_excess(benchmark: ModuleType) -> None:
    found = networks(12)
    group = replace(benchmark.gather(found), sampling=np.zeros((3, 12)))
    model, controls = benchmark.draw(12, 5, 60, seed=0)
    above, below = benchmark.decide(group, model, controls)
    assert above.any()
    assert below.any()
    for i, name in enumerate(group.claims):
        for study in range(60):
            values = [found[network][name]["value"] for network in (model[study], *controls[study])]
            # Without a variance over prompts, which a group keeps as it is.
            alike = [(value, torch.full((2,), value, dtype=torch.float64)) for value in values]
            scale = SCALES[name]
            literal = excess_of_replicates(
                alike[0], alike[1:], n_verdicts=3, scale=scale, n_prompts=benchmark.N_PROMPTS
            )
            assert (above[i, study], below[i, study]) == (literal.low > 0, literal.high < 0), (name, study)


def test_a_study_and_its_controls_are_different_networks(benchmark: ModuleType) -> None:
    model, controls = benchmark.draw(12, 11, 50, seed=3)
    assert all(sorted([own, *rest]) == list(range(12)) for own, *rest in zip(model, *controls.T, strict=True))


def test_gated_claims_count_only_where_their_gate_is_evidence(benchmark: ModuleType) -> None:
    found = networks(12)
    free = [{name: {**claim, "gate": None} for name, claim in network.items()} for network in found]
    gated, all_claims = (benchmark.false_verdicts(benchmark.gather(each), 5, 300) for each in (found, free))
    assert "a number" in all_claims["by claim"]
    assert gated["by claim"].get("a number", 0) < all_claims["by claim"]["a number"]
    assert gated["rate"] == gated["with any evidence or opposite"] / 300


def test_larger_effects_are_found_more_often(benchmark: ModuleType) -> None:
    found = [row["found"] for row in benchmark.power(benchmark.gather(networks(30)), 10, 200)]
    assert len(found) == 8
    assert found == sorted(found)
    assert found[-1] > found[0]


def test_an_atlas_of_alike_networks_shows_something_in_one_study_of_twenty(benchmark: ModuleType) -> None:
    aurocs = np.random.default_rng(0).uniform(0.3, 0.7, size=(75, 5))
    row = benchmark.false_atlases(aurocs, 20, 200)
    assert 0 < row["rate"] <= 1 / 21 + 3 * row["standard error over networks"]


def test_a_larger_shift_of_one_cell_is_found_more_often(benchmark: ModuleType) -> None:
    aurocs = np.random.default_rng(0).normal(0.5, 0.02, size=(30, 5))
    found = [row["found"] for row in benchmark.atlas_power(aurocs, 20, 60)]
    assert found == sorted(found)
    assert found[0] < 0.5 < found[-1]


@pytest.mark.slow  # three studies
def test_it_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(FILE),
        "--kept",
        str(tmp_path / "kept"),
        "--groups",
        "small, dtsip",
        "--repeats",
        "20",
    ]
    for n, measured in ((2, 2), (3, 1)):
        done = subprocess.run([*command, "--networks", str(n)], capture_output=True, text=True, timeout=300, check=True)
        assert done.stderr.count(": network ") == measured


def test_what_is_committed_was_measured_by_it(benchmark: ModuleType) -> None:
    record = json.loads(KEPT.read_text())
    assert record["settings"]["shifts"] == list(benchmark.SHIFTS)
    assert "/" not in record["provenance"]["command"].replace("benchmarks/false_verdicts.json", "")
    for group in record["groups"].values():
        for row in group["as judged"]["false"]:
            assert row["rate"] <= 0.05 + 2 * row["standard error over networks"]
        for one, other in zip(group["as judged"]["power"], group[benchmark.SPREAD_ALONE]["power"], strict=True):
            assert one["least"] <= one["found"] <= one["most"]
            assert one["found"] <= other["found"]
        for row in group["atlas"]["false"]:
            assert row["rate"] <= 0.05 + 2 * row["standard error over networks"]
