"""What zhang2024 trains: the paper's setting, and what its presets spend."""

import math

import pytest
import torch

from icl_interp.experiments.experiment import _EXPERIMENTS, PRESETS, Means, experiment
from icl_interp.experiments.zhang2024.measures import _weight_errors
from icl_interp.experiments.zhang2024.setting import SIZES, Run, plan, task_of
from icl_interp.models.linear.constructions import EffectiveParameters


def test_figure_1_is_the_papers():
    config = plan(SIZES["paper"])[Run("figure 1", "ltb", math.sqrt(5), 5, 0)]
    assert (config.model.n_dims, config.task.n_points, config.batch_size, config.steps) == (5, 6, 128, 20_000)
    torch.testing.assert_close(config.task.weight_mean, torch.ones(5).double())
    assert (config.model.head_width, config.model.value_width, config.model.mlp_width) == (6, 6, 24)
    assert config.task.noise_std == 0
    assert len(config.checkpoint_steps) > 20


def test_table_1_is_the_papers():
    runs = {run: config for run, config in plan(SIZES["paper"]).items() if "gpt2" in run.kind}
    shape = {
        (c.model.n_layers, c.model.n_heads, c.model.d_model, c.task.n_dims, c.task.n_points) for c in runs.values()
    }
    assert shape == {(6, 4, 128, 20, 41)}
    assert {(c.steps, c.batch_size, c.lr, c.schedule) for c in runs.values()} == {(200_000, 256, 1e-4, "constant")}
    assert {(run.kind, c.model.attn_only, c.model.read_out) for run, c in runs.items()} == {
        ("gpt2", False, "free"),
        ("gpt2 no MLP", True, "free"),
        ("gpt2 pinned", False, "pinned"),
        ("gpt2 no MLP pinned", True, "pinned"),
    }
    assert {round(c.task.label_second_moment(), 6) for c in runs.values()} == {20.0, 200.0, 2020.0}


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_linear_models_on_gpt2s_tasks_train_longer(preset):
    linear = {run: config for run, config in plan(SIZES[preset]).items() if "gpt2" not in run.kind}
    steps = {(run.part == "table 1", config.steps) for run, config in linear.items()}
    assert steps == {(True, 60_000), (False, 20_000)}


def test_the_noisy_setting_has_noise_of_the_signals_size():
    task = task_of(Run("noise", "ltb", math.sqrt(5), 5, 0))
    assert task.noise_std**2 == pytest.approx(float(task.weight_cov.trace()))


def test_the_ablated_block_has_no_skip():
    runs = plan(SIZES["laptop"])
    skips = {run.kind: config.model.attn_skip for run, config in runs.items() if run.part in ("ablation", "figure 1")}
    assert skips == {"lsa": True, "ltb": True, "ltb no skip": False}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_plan(preset):
    for name in _EXPERIMENTS:
        chosen = experiment(name)
        assert chosen.configs(preset, Means())
        assert chosen.n_measurements(chosen.configs(preset, Means())) > 0
        assert name in repr(chosen)


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_what_is_judged_has_three_seeds_and_a_million_tasks(preset):
    sizes = SIZES[preset]
    assert len(sizes.seeds) >= 3
    assert sizes.ridge_tasks >= 1_000_000
    assert {0.0, 10.0} <= set(sizes.norms)


def test_other_seeds_replace_the_presets():
    chosen = experiment("zhang2024").configs("laptop", Means(seeds=(7,)))
    assert {run.seed for run in chosen} == {7}
    assert {(*run[:-1], 0) for run in chosen} == {run for run in plan(SIZES["laptop"]) if run.seed == 0}


def test_fewer_seeds_train_gpt2_than_linear_models():
    n_seeds = {kind: {run.seed for run in plan(SIZES["laptop"]) if run.kind == kind} for kind in ("ltb", "gpt2")}
    assert n_seeds == {"ltb": set(range(8)), "gpt2": set(range(5))}


def test_weight_errors_vanish_at_the_optimum_and_name_what_is_off():
    one, zero = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    scale = torch.tensor(2.0, dtype=torch.float64)
    v11 = 5 / 11 / 2 * torch.eye(5, dtype=torch.float64)
    best = _weight_errors(EffectiveParameters(one, -2 * one, scale, v11, zero))
    assert max(best.values()) < 1e-12
    off = _weight_errors(EffectiveParameters(0.9 * one, -2.4 * one, scale, v11 + 0.1, zero + 0.05))
    assert off == pytest.approx({
        "|gamma - b*|": 0.1, "|-v21 / v_-1 - b*|": 0.2, "|v_-1 v12|": 0.1, "|v_-1 V11 - Gamma*|": 0.2,
    })  # fmt: skip


def test_an_unknown_paper_is_named_beside_the_known():
    with pytest.raises(ValueError, match="needs one of zhang2024"):
        experiment("zhang2042")
