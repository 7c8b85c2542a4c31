"""Answers from where an intervention changes something are those of a whole pass."""

import pytest
import torch
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.interventions import Intervention, ablate_heads, predict_under, project_out, swap
from icl_interp.interventions.replay import Replay
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression

TASK = LinearRegression(n_dims=3, n_points=6)
PROMPTS = TASK.sample(7, seed=0)
AXES = torch.linalg.qr(torch.randn(8, 2, generator=torch.Generator().manual_seed(0))).Q
POST, NORM = "blocks.1.hook_resid_post", "ln_final.hook_normalized"
MODELS = {
    "softmax": ModelConfig(n_dims=3, n_points=6, n_layers=3, n_heads=2, d_model=8),
    "no final norm": ModelConfig(n_dims=3, n_points=6, n_layers=3, n_heads=2, d_model=8, normalization_type=None),
}
CHANGES: dict[str, Intervention] = {
    "after a block": project_out(AXES, POST),
    "before a block": project_out(AXES, "blocks.1.hook_resid_pre"),
    "inside a block": ablate_heads([(2, 1)]),
    "at two places": project_out(AXES, POST) & ablate_heads([(2, 0)]),
    "between prompts": swap(AXES, POST),
    "at the read-in": project_out(AXES, "hook_embed"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_it_answers_as_a_whole_pass_does(config: ModelConfig, change: Intervention) -> None:
    model = build_model(config, seed=0)
    replay = Replay(model, PROMPTS, [edit.name for edit in change.edits], batch_size=4)
    torch.testing.assert_close(replay.answers, predict_under(model, PROMPTS, batch_size=4))
    whole = predict_under(model, PROMPTS, change, batch_size=4)
    assert not torch.allclose(whole, replay.answers)
    torch.testing.assert_close(replay.under(change), whole)


def test_after_the_final_norm_and_where_nothing_was_kept() -> None:
    model, change = build_model(MODELS["softmax"], seed=0), project_out(AXES, NORM)
    replay = Replay(model, PROMPTS, [NORM, POST])
    torch.testing.assert_close(replay.under(change), predict_under(model, PROMPTS, change))
    torch.testing.assert_close(replay.activations(NORM), collect(model, PROMPTS, NORM)[NORM])
    other = CHANGES["inside a block"]
    torch.testing.assert_close(replay.under(other), predict_under(model, PROMPTS, other))


def test_only_the_blocks_that_may_change_run_again() -> None:
    model, ran = build_model(MODELS["softmax"], seed=0), []
    for layer, block in enumerate(model.blocks):
        original = block.forward

        def counted(resid: Tensor, *, layer: int = layer, original: object = original, **options: object) -> Tensor:
            ran.append(layer)
            return original(resid, **options)  # type: ignore[operator]

        block.forward = counted
    replay = Replay(model, PROMPTS, [POST, NORM])
    assert ran == [0, 1, 2]
    replay.under(project_out(AXES, POST))
    assert ran[3:] == [1, 2]
    replay.under(project_out(AXES, NORM))
    assert ran[5:] == []


@pytest.mark.parametrize("family", ["lsa", "listened to"])
def test_other_models_read_the_prompts_anew(family: str) -> None:
    model, hook = build_model(MODELS["softmax"], seed=0), POST
    if family == "lsa":
        model, hook = build_model(ModelConfig(family="lsa", n_dims=7, n_points=6), seed=0), "blocks.0.hook_resid_pre"
    else:
        model.add_hook("blocks.0.hook_resid_post", lambda resid, hook: 2 * resid, is_permanent=True)  # noqa: ARG005
    prompts = LinearRegression(n_dims=model.cfg.n_dims, n_points=6).sample(5, seed=0)
    replay, change = Replay(model, prompts, [hook]), project_out(AXES, hook)
    torch.testing.assert_close(replay.answers, predict_under(model, prompts))
    torch.testing.assert_close(replay.under(change), predict_under(model, prompts, change))
