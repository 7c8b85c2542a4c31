"""What hill2025 trains: five laws of equal energy, at the preset's sizes."""

import pytest
import torch

from icl_interp.experiments.experiment import Means, experiment
from icl_interp.experiments.hill2025.setting import KINDS, SIZES, Run, plan, shifts_of, task_of
from icl_interp.tasks.shifts.select import select_shifts
from icl_interp.training.loop import Trainer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_dims", [2, 4, 20])
def test_every_law_has_the_same_energy_and_length(kind, n_dims):
    task = task_of(kind, n_dims)
    assert task.default_points == 2 * n_dims + 1
    assert float(task.input_second_moment.trace()) == pytest.approx(n_dims)
    assert float(task.weight_second_moment.trace()) == pytest.approx(n_dims)
    noise = 0.25 if kind == "noise" else 0.0
    assert task.label_second_moment() == pytest.approx(n_dims + noise)


def test_the_laws_are_restricted_as_named():
    assert task_of("weights", 4).weight_rank == 2
    assert torch.linalg.matrix_rank(task_of("inputs", 4).input_second_moment) == 2
    assert float(task_of("scale", 4).sample(500, seed=0).xs.abs().max()) <= 3**0.5
    assert float(task_of("isotropic", 4).sample(500, seed=0).xs.abs().max()) > 3


def test_each_law_is_tested_outside_of_its_own_support():
    labels = {kind: {s.label for s in select_shifts(task_of(kind, 4), shifts_of(kind))} for kind in KINDS}
    assert {"x_scale=1/4", "x_scale=4", "x_mean=1", "x_skewed", "x_half_subspace"} <= labels["isotropic"]
    assert labels["isotropic"] == labels["scale"] == labels["noise"]
    rotations = {f"w_rotation={share}" for share in ("1/4", "1/3", "1/2", "2/3", "3/4", "1")}
    assert rotations <= labels["weights"] - labels["isotropic"]
    assert labels["inputs"] - labels["isotropic"] == {"x_complement"}


def test_the_laptops_network():
    configs = plan(SIZES["laptop"])
    assert len(configs) == 5 * 8
    assert {(c.model.n_layers, c.model.n_heads, c.model.d_model) for c in configs.values()} == {(6, 4, 32)}
    assert {(run.kind, c.steps) for run, c in configs.items()} == {
        ("isotropic", 10_000), ("weights", 6000), ("inputs", 6000), ("scale", 10_000), ("noise", 10_000),
    }  # fmt: skip
    assert configs[Run("weights", 2)].seed == 2
    assert configs[Run("weights", 2)].task == task_of("weights", 4)


def test_the_papers_network_is_garg_and_others_standard_model():
    configs = plan(SIZES["paper"])
    assert {(c.model.n_layers, c.model.n_heads, c.model.d_model) for c in configs.values()} == {(12, 8, 256)}
    assert {(c.steps, c.batch_size, c.lr) for c in configs.values()} == {(500_000, 64, 1e-4)}
    assert {c.n_points_at(500_000) for c in configs.values()} == {41}
    assert {c.n_dims_at(1) for c in configs.values()} == {5}


@pytest.mark.parametrize("kind", ["scale", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[:3])])
def test_the_papers_sizes_start(kind):
    config = plan(SIZES["paper"])[Run(kind, 0)]
    assert Trainer(config).advance().loss > 0


def test_other_seeds_replace_the_presets():
    chosen = experiment("hill2025").configs("laptop", Means(seeds=(7,)))
    assert set(chosen) == {Run(kind, 7) for kind in KINDS}
