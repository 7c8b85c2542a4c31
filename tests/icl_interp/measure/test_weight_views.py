"""Weights in input coordinates: literal products, what heads really write, known gradient steps and their optimum."""

import math

import numpy as np
import pytest
import torch

import icl_interp as icl
from icl_interp.errors import InputError
from icl_interp.predictors import optimal_learned_init

TASK = icl.LinearRegression(3, w_mean=1.0, noise_std=0.5, n_points=7)
DECODER = icl.ModelConfig(n_dims=3, n_points=7, n_layers=2, n_heads=2, d_model=8)
LTB = icl.ModelConfig(family="ltb", n_dims=3, n_points=7)
START, PRECONDITIONER = torch.tensor([1.0, -2.0, 0.5]), torch.diag(torch.tensor([0.3, 0.2, 0.1]))


def known_step(**options) -> icl.HookedLinearTransformerBlock:
    config = icl.ModelConfig(family="ltb", n_dims=3, n_points=7, **options)
    return icl.HookedLinearTransformerBlock.gd_learned_init(config, START, PRECONDITIONER)


def test_known_weights_give_back_the_gradient_step():
    views = icl.weight_views(known_step(), TASK)
    torch.testing.assert_close(views.step.preconditioner, PRECONDITIONER)
    torch.testing.assert_close(views.step.start, START)
    torch.testing.assert_close(views.step.without_examples, START)
    np.testing.assert_allclose(np.array(views.plot().data[0].z, dtype=float), PRECONDITIONER, rtol=1e-6)
    assert views.limits == ()
    drawn = {trace.name: list(trace.x) for trace in views.plot("start").data}
    np.testing.assert_allclose(drawn["this model, from its values"], START)
    np.testing.assert_allclose(drawn["optimum"], np.ones(3))


@pytest.mark.parametrize(
    ("options", "factor"), [({"normalise": "sum"}, 6), ({"normalise": "fixed", "normalise_by": 3}, 2)]
)
def test_the_preconditioner_is_for_a_mean_over_examples(options, factor):
    views = icl.weight_views(known_step(**options), TASK)
    torch.testing.assert_close(views.step.preconditioner, PRECONDITIONER * factor)
    assert views.step.n_pairs == 6


def test_the_optimum_of_the_task_stands_beside_the_step():
    eye, mean = torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    views = icl.weight_views(known_step(), TASK)
    best = optimal_learned_init(eye, eye, mean, 0.5, 6)
    torch.testing.assert_close(views.optimum.preconditioner, best.preconditioner)
    torch.testing.assert_close(views.optimum.init, mean)
    # Without a start the best step is that for weights of the same second moment around 0.
    lsa = icl.HookedLinearAttention.gradient_descent(icl.ModelConfig(family="lsa", n_dims=3, n_points=7), 0.5)
    frozen = optimal_learned_init(eye, eye + torch.outer(mean, mean), 0 * mean, 0.5, 6)
    views = icl.weight_views(lsa, TASK)
    torch.testing.assert_close(views.optimum.preconditioner, frozen.preconditioner)
    torch.testing.assert_close(views.step.preconditioner, 0.5 * torch.eye(3))
    torch.testing.assert_close(views.step.start, torch.zeros(3))


def test_where_there_is_no_step_or_no_optimum_a_sentence_says_so():
    several = icl.build_model(icl.ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=2), seed=0)
    views = icl.weight_views(several, TASK)
    assert views.step is None
    assert views.limits[0].startswith("The weights are no single gradient step")
    views = icl.weight_views(known_step(), icl.QuadraticRegression(3))
    assert views.optimum is None
    assert views.limits == (
        "The best step is known for Gaussian linear regression with inputs of mean 0, not for this task.",
    )
    assert icl.weight_views(known_step()).optimum is None
    assert icl.weight_views(icl.build_model(DECODER, seed=0), TASK).limits == ()
    zero = known_step()
    with torch.no_grad():
        zero.layers[0].attn.W_O.zero_()
    assert icl.weight_views(zero, TASK).limits == (
        "The weights are no gradient step: their values do not read labels.",
    )


def test_circuits_are_their_formula():
    model = icl.build_model(DECODER, seed=0)
    with torch.no_grad():
        model.blocks[1].ln1.w.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
    views = icl.weight_views(model)
    scaled = (torch.eye(8) - 1 / 8) @ torch.diag(model.blocks[1].ln1.w)
    attn = model.blocks[1].attn
    entering = model.W_E @ scaled
    qk = entering @ attn.W_Q[0] @ attn.W_K[0].T @ entering.T / math.sqrt(4)
    ov = entering @ attn.W_V[0] @ attn.W_O[0]
    torch.testing.assert_close(views.qk[1, 0], qk.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        views.ov[1, 0, :, :3], (ov @ torch.linalg.pinv(model.W_E)).detach(), rtol=1e-3, atol=1e-5
    )
    read = model.ln_final.w * model.W_U[:, 0]
    torch.testing.assert_close(views.ov[1, 0, :, 3], (ov @ (read - read.mean())).detach(), rtol=1e-4, atol=1e-6)


def test_a_head_writes_what_its_circuit_says():
    """Linear attention without norms: scores and writes of real tokens, from the pattern that the model has."""
    model = icl.build_model(icl.ModelConfig(family="lsa", n_dims=3, n_points=7, n_heads=2), seed=0)
    views, prompts = icl.weight_views(model), TASK.sample(2, seed=0)
    said, cache = model.run_with_cache(prompts.xs, prompts.ys)
    tokens, scores = cache["hook_embed"], cache["blocks.0.attn.hook_attn_scores"]
    for head in range(2):
        torch.testing.assert_close(
            tokens @ views.qk[0, head] @ tokens[:, :-1].mT, scores[:, head, :, :-1], rtol=1e-4, atol=1e-5
        )
    pattern = cache["blocks.0.attn.hook_pattern"][:, :, -1]
    written = torch.einsum("bhp,bpi,hi->b", pattern, tokens, views.ov[0, :, :, -1])
    torch.testing.assert_close(written, said[:, 0].detach(), rtol=1e-4, atol=1e-5)


def test_a_head_that_compares_inputs_and_brings_labels_is_found():
    """Of two heads, the second is gradient descent."""
    model = icl.build_model(icl.ModelConfig(family="lsa", n_dims=3, n_points=7, n_heads=2), seed=0)
    descent = icl.HookedLinearAttention.gradient_descent(icl.ModelConfig(family="lsa", n_dims=3, n_points=7), 0.5)
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            getattr(model.layers[0].attn, name)[1] = getattr(descent.layers[0].attn, name)[0]
    views = icl.weight_views(model)
    best = max(views.heads, key=lambda head: head.qk_identity)
    assert (best.layer, best.head) == (0, 1)
    np.testing.assert_allclose([best.qk_identity, best.from_label, best.ov_answer], [1.0, 1.0, 0.5], rtol=1e-6)
    drawn = views.plot("QK").data[1]
    assert drawn.meta == {"layer": 0, "head": 1}
    overview = views.plot("heads").data[0]
    assert list(overview.x) == ["0.0", "0.1"]
    np.testing.assert_allclose([overview.z[0][1], abs(overview.z[1][1])], [1, 0.5 / views.leader.ov_answer], rtol=1e-6)
    np.testing.assert_allclose(np.array(drawn.z, dtype=float), np.diag([1, 1, 1, 0]), atol=1e-7)


def test_one_head_is_drawn_and_the_others_can_be_chosen():
    figure = icl.weight_views(icl.build_model(DECODER, seed=0)).plot("OV")
    views = icl.weight_views(icl.build_model(DECODER, seed=0))
    shown = [trace.meta for trace in figure.data if trace.visible]
    assert shown == [{"layer": views.leader.layer, "head": views.leader.head}]
    assert [trace.meta for trace in figure.data] == [{"layer": i, "head": j} for i in (0, 1) for j in (0, 1)]
    assert list(figure.data[0].x) == ["x1 or y", "x2", "x3", "answer"]
    assert "head 0.0" in figure.data[0].name
    read_in = icl.weight_views(icl.build_model(DECODER, seed=0)).plot("read-in").data[0]
    np.testing.assert_allclose(np.square(np.array(read_in.z, dtype=float)).sum(1), 1.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"tokens": "separate"}, ("y", "x1", "x2")),
        ({"tokens": "joint"}, ("x1", "x2", "y")),
        ({"tokens": "sequence", "n_dims": 1}, ("value",)),
    ],
)
def test_coordinates_have_the_names_of_what_they_hold(options, names):
    config = icl.ModelConfig(**{"n_dims": 2, "n_points": 4, "n_layers": 1, "n_heads": 1, "d_model": 8, **options})
    views = icl.weight_views(icl.build_model(config, seed=0))
    assert views.inputs == names
    assert list(views.to_frame())[7:] == [f"{name} to answer" for name in names]
    placed = icl.ModelConfig(family="lsa", n_dims=1, n_points=4, d_position=2)
    assert icl.weight_views(icl.build_model(placed, seed=0)).inputs == ("x1", "y", "position 1", "position 2")


def test_what_is_not_known_is_refused():
    with pytest.raises(InputError, match=r"weight_views needs weights .* No weight of a wrapped module"):
        icl.weight_views(icl.wrap(torch.nn.Identity(), sites={}))
    with pytest.raises(InputError, match="needs one of heads, QK, OV, read-in, got 'start'"):
        icl.weight_views(icl.build_model(DECODER, seed=0)).plot("start")
