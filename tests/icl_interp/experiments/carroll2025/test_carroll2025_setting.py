"""What carroll2025 trains: the paper's setting as far as it is known, and runs that stay the ones that were trained."""

import itertools

import pytest
import torch
from carroll_cases import THREE

from icl_interp.experiments.carroll2025.setting import INFINITE, SIZES, Run, plan
from icl_interp.experiments.cost import first_steps
from icl_interp.experiments.experiment import Means, experiment
from icl_interp.measure.development.material import pca_task
from icl_interp.models.build import build_model
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.resume import config_hash


def test_the_papers_network_checkpoints_and_tasks():
    config = plan(SIZES["paper"])[Run(INFINITE, 0)]
    model = build_model(config.model, seed=0)
    assert sum(values.numel() for values in model.parameters()) == 2_654_217
    assert (config.steps, len(config.checkpoint_steps)) == (150_000, 2203)
    assert (config.task.n_dims, config.task.n_points, config.task.noise_std**2) == (8, 16, pytest.approx(0.125))
    assert config.task == LinearRegression(8, noise_std=0.125**0.5, n_points=16)


def test_the_papers_pools_include_those_that_it_names():
    sizes = SIZES["paper"]
    assert {1, 6, 8, 16, 24, 32, 128, 182, 256, 362, 2**15} <= set(sizes.pools)
    assert list(sizes.pools) == sorted(sizes.pools)
    assert (sizes.measured.n_pca_prompts, len(sizes.seeds)) == (512, 3)


def test_pools_are_nested_and_share_the_root_task():
    configs = [config for run, config in plan(THREE).items() if run.n_tasks is not INFINITE]
    for small, large in itertools.combinations([config.task for config in configs if config.seed == 0], 2):
        torch.testing.assert_close(large.weights[: small.n_tasks], small.weights, rtol=0, atol=0)
    assert {pca_task([config.task]).n_tasks for config in configs} == {1}


def test_runs_of_a_seed_differ_in_nothing_but_the_tasks():
    configs = [config for run, config in plan(THREE).items() if run.seed == 1]
    assert len({config.model_dump_json(exclude={"task"}) for config in configs}) == 1
    assert len(configs) == 6


@pytest.mark.parametrize(
    ("run", "name"), [(Run(4, 0), "fc50a32b798d"), (Run(16, 2), "8d095959823a"), (Run(INFINITE, 1), "56be0cfe9d82")]
)
def test_laptop_runs_keep_their_names(run, name):
    # A finished run is found by the hash of its config: another one would be trained for six minutes again.
    assert config_hash(plan(THREE)[run])[:12] == name


def test_each_class_of_m_is_run():
    for sizes in SIZES.values():
        assert {sizes.low, sizes.middle, sizes.large} <= set(sizes.pools)
        assert sizes.low <= sizes.threshold[0] <= sizes.threshold[1] <= sizes.large
        assert sizes.llc.checkpoints == 1


def test_other_seeds_replace_the_presets():
    chosen = experiment("carroll2025")
    assert {run.seed for run in chosen.configs("laptop", Means(seeds=(7,)))} == {7}
    for means, n_runs in ((Means(), 25), (Means(seeds=(7,)), 5)):
        configs = chosen.configs("laptop", means)
        assert (len(configs), chosen.n_measurements(configs)) == (n_runs, n_runs * (38 + 1))


def test_the_papers_network_starts():
    (cost,) = first_steps({run: c for run, c in plan(SIZES["paper"]).items() if run.n_tasks == 362}, 1)
    assert (cost.n_runs, cost.steps) == (3, 150_000)
