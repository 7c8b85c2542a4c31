"""What is measured on trained models: exact errors beside those of many prompts."""

import pytest
import torch

from icl_interp.experiments.experiment import Means, TrainedRuns
from icl_interp.experiments.linear_risk import query_risks
from icl_interp.experiments.trained import train_all
from icl_interp.experiments.zhang2024.measures import DISTANCES, Measures, count, measure
from icl_interp.experiments.zhang2024.setting import FIGURE_NORM, N_PAIRS, SIZES, Run, plan, task_of
from icl_interp.models.hooked import HookedModel

SMOKE = SIZES["smoke"]
LARGE = 10 * SMOKE.transformer.n_dims**0.5
LINEAR = (
    Run("figure 1", "ltb", FIGURE_NORM, N_PAIRS, 0),
    Run("norms", "lsa", 10.0, N_PAIRS, 0),
    Run("lengths", "lsa", FIGURE_NORM, 10, 0),
    Run("noise", "ltb", FIGURE_NORM, N_PAIRS, 0),
    Run("ablation", "ltb no skip", FIGURE_NORM, N_PAIRS, 0),
    Run("table 1", "ltb", LARGE, SMOKE.transformer.n_pairs, 0),
)
Trained = tuple[Measures, dict[Run, HookedModel]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The smallest preset: as far from its optimum as a few steps leave it."""
    folder, configs, done = tmp_path_factory.mktemp("zhang"), plan(SMOKE), []
    models = train_all(configs, folder)
    found = measure(TrainedRuns(configs, models, folder, Means(), done.append), SMOKE)
    assert sum(done) == count(configs) == 4
    assert {weight.dtype for model in models.values() for weight in model.parameters()} == {torch.float32}
    return found, models


def assert_sampling_agrees(model: HookedModel, run: Run, exact: float) -> None:
    task = task_of(run, model.cfg.n_dims)
    sampled = query_risks({"f": model}, task, 100_000, seed=7)["f"]
    # Five standard errors.
    assert abs(sampled.value - exact) < 5 * sampled.standard_error


@pytest.mark.parametrize("run", LINEAR, ids=lambda run: f"{run.part}, {run.kind}")
def test_errors_of_linear_models_are_exact(trained: Trained, run: Run) -> None:
    found, models = trained
    risk = found.runs[run].risk
    assert risk.standard_error == 0
    assert_sampling_agrees(models[run], run, risk.value)


@pytest.mark.parametrize("distance", DISTANCES)
def test_errors_where_the_mean_has_moved(trained: Trained, distance: float) -> None:
    found, models = trained
    run = LINEAR[0]
    assert_sampling_agrees(models[run], run._replace(norm=FIGURE_NORM + distance), found.runs[run].moved[distance])


def test_the_last_point_of_the_curve_is_the_risk(trained: Trained) -> None:
    found, _ = trained
    curves = {run: one for run, one in found.runs.items() if one.along}
    assert {run.part for run in curves} == {"figure 1"}
    assert all(one.along[SMOKE.steps] == one.risk.value for one in curves.values())


def test_gpt2_is_tested_on_prompts(trained: Trained) -> None:
    found, _ = trained
    tested = {run for run, one in found.runs.items() if one.risk.standard_error > 0}
    assert tested == {run for run in found.runs if "gpt2" in run.kind}
