"""First steps of each kind of run: what they cost, and that the paper's sizes start; how long measuring took."""

import json
import time
from pathlib import Path

import pytest

from icl_interp.experiments.cost import (
    Cost,
    PresetCost,
    _kinds_of,
    first_steps,
    measuring,
    read_cost,
    seconds_of_measuring,
)
from icl_interp.experiments.experiment import _EXPERIMENTS, Means, experiment
from icl_interp.experiments.zhang2024.setting import SIZES, plan


def test_hours_are_runs_times_steps():
    cost = Cost("a network", n_runs=3, steps=1200, seconds_per_step=0.5, loss=1.0)
    assert cost.hours == 0.5
    assert repr(cost) == "a network: 3 runs of 1,200 steps, 0.5 s a step, 0.5 h"


def test_kinds_share_all_but_seed_and_task():
    configs = plan(SIZES["laptop"])
    kinds = _kinds_of(configs)
    assert sum(len(kind) for kind in kinds) == len(configs)
    for kind in kinds:
        assert len({(c.model, c.steps, c.batch_size) for c in kind}) == 1


def test_each_kind_takes_its_steps():
    said = []
    configs = dict(list(plan(SIZES["smoke"]).items())[:3])
    costs = first_steps(configs, 3, on_kind=said.append)
    assert said == costs
    assert [cost.n_runs for cost in costs] == [1, 2]
    assert all(cost.seconds_per_step > 0 < cost.loss for cost in costs)


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="needs at least one step, got 0"):
        first_steps({}, 0)


def test_the_papers_gpt2_starts():
    sizes = [(run, c) for run, c in plan(SIZES["paper"]).items() if run.kind == "gpt2" and run.seed == 0]
    (cost,) = first_steps(dict(sizes), 1)
    assert (cost.n_runs, cost.steps) == (3, 200_000)


def test_costs_survive_the_file(tmp_path):
    costs = (Cost("a", 3, 1200, 0.5, 1.0), Cost("b", 1, 3600, 1.0, 2.0))
    found = PresetCost(paper="who2024", preset="paper", n_steps=100, costs=costs, provenance={"torch": "2"})
    path = found.write(tmp_path / "who2024-cost.json")
    assert (found.hours, json.loads(path.read_text())["hours"]) == (1.5, 1.5)
    assert read_cost(path) == found
    assert repr(found) == "PresetCost(who2024, paper, 1.5 h)"


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON"])
def test_what_is_no_cost_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="a cost needs "):
        read_cost(path)
    with pytest.raises(ValueError, match=r"a cost needs a JSON file, got .*missing"):
        read_cost(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"costs": 3}, "costs: Input should be"),
        ({"costs": [{"what": "a"}]}, "costs.0.n_runs: Field required"),
        ({"costs": [{"x": 1}]}, "costs.0.what: Field required"),
        ({"costs": [{"what": "a", "n_runs": "x", "steps": 1, "seconds_per_step": 1.0, "loss": 1.0}]}, "costs.0.n_runs"),
        ({"costs": [{"what": "a", "n_runs": -1, "steps": 1, "seconds_per_step": 3600, "loss": 1.0}]}, "costs.0.n_runs"),
        ({"preset": None}, "preset: Field required"),
    ],
)
def test_a_broken_cost_is_one_sentence(tmp_path, change, reason):
    found = PresetCost(paper="who2024", preset="paper", n_steps=100, costs=(Cost("a", 3, 1200, 0.5, 1.0),))
    path = found.write(tmp_path / "who2024-cost.json")
    contents = {key: value for key, value in (json.loads(path.read_text()) | change).items() if value is not None}
    path.write_text(json.dumps(contents))
    with pytest.raises(
        ValueError, match="a cost needs all fields as icl-reproduce --first-steps writes them"
    ) as caught:
        read_cost(path)
    assert reason in str(caught.value)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its last entry is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[-1])
    return now


def test_blocks_add_up_also_where_they_end_in_an_error(tmp_path: Path, clock: list[float]) -> None:
    assert seconds_of_measuring(tmp_path) == 0.0
    with measuring(tmp_path):
        clock.append(112.5)
    assert seconds_of_measuring(tmp_path) == 12.5
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path, clock)
    assert seconds_of_measuring(tmp_path) == 15.0


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"minutes": 3})])
def test_a_broken_file_is_told_before_anything_is_measured(tmp_path: Path, text: str) -> None:
    (tmp_path / "measuring.json").write_text(text)
    told = r"the time of measuring needs a file with a number of seconds, got .*remove"
    with pytest.raises(ValueError, match=told), measuring(tmp_path):
        pytest.fail("measured")
    assert (tmp_path / "measuring.json").read_text() == text


def _interrupted(folder: Path, clock: list[float]) -> None:
    with measuring(folder):
        clock.append(115.0)
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("name", _EXPERIMENTS)
def test_the_papers_sizes_run_for_a_hundred_steps(name):
    chosen = experiment(name).configs("paper", Means())
    costs = first_steps(chosen, 100)
    assert len(costs) == len(_kinds_of(chosen))
    assert all(cost.loss < float("inf") for cost in costs)
