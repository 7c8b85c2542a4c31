"""What each part writes into the answer: sums, planted writers, TransformerLens' cache, gradient descent by layers."""

import math

import numpy as np
import pytest
import torch

import icl_interp as icl
from icl_interp.errors import InputError
from icl_interp.measure.direct_contributions import contributions_of
from icl_interp.predictors import gradient_descent

TASK = icl.LinearRegression(3, n_points=6)
PLAIN = icl.ModelConfig(
    n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=16, normalization_type=None, positional_embedding_type="none"
)


SMALL = icl.ModelConfig(n_dims=3, n_points=7, n_layers=3, n_heads=2, d_model=8)


def large_weights(config: icl.ModelConfig = SMALL) -> icl.HookedICLTransformer:
    model = icl.build_model(config, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if name.endswith(".w") else 0.0, 0.5, generator=generator)
    return model


def writer(part: str) -> icl.HookedICLTransformer:
    """A network whose read-out sees nothing of the read-in, and in which one part alone writes anything."""
    model = large_weights(PLAIN)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("W_O", "W_out", "b_O", "b_out", "b_U")):
                weight.zero_()
        kind, _, place = part.partition(" ")
        block = model.blocks[int(place[0])]
        if kind == "head":
            block.attn.W_O[int(place[-1])].normal_(generator=torch.Generator().manual_seed(0))
        else:
            block.mlp.W_out.normal_(generator=torch.Generator().manual_seed(0))
        seen = torch.cat([model.W_E, model.embed.b_E[None]])
        away = torch.eye(16) - torch.linalg.pinv(seen) @ seen
        model.unembed.W_U.copy_(away @ model.unembed.W_U)
    return model


@pytest.mark.parametrize("part", ["head 0.1", "head 1.0", "MLP 0", "MLP 1"])
def test_the_part_that_alone_writes_the_answer_has_all_of_it(part):
    found = icl.direct_contributions(writer(part), TASK, n_prompts=16)
    for name, share in zip(found.components, found.shares, strict=True):
        # float32 weights
        np.testing.assert_allclose([share.value, share.low, share.high], [float(name == part)] * 3, atol=1e-5)
    assert found.components[found.ordered()[0]] == part
    np.testing.assert_allclose(found.sizes[found.components.index(part)], 1.0, atol=1e-5)
    drawn = found.plot().data[0]
    row, column = np.unravel_index(np.argmax(np.array(drawn.z, dtype=float)), (2, 3))
    assert (drawn.y[row], drawn.x[column]) == (
        f"block {part.split()[1][0]}",
        "MLP" if "MLP" in part else f"head {part[-1]}",
    )


def test_each_layer_of_gradient_descent_writes_its_own_step():
    config = icl.ModelConfig(family="lsa", n_dims=3, n_points=6, n_layers=3, output_sign=-1)
    model = icl.HookedLinearAttention.gradient_descent(config, step_size=0.2)
    prompts = TASK.sample(8, seed=0)
    names, written = contributions_of(model, prompts)
    after = [gradient_descent(steps, 0.2)(prompts.xs, prompts.ys).double() for steps in range(4)]
    for layer in range(3):
        torch.testing.assert_close(
            written[names.index(f"head {layer}.0")], after[layer + 1] - after[layer], rtol=1e-4, atol=1e-5
        )


def test_defaults_frames_and_figures():
    found = icl.direct_contributions(large_weights(), TASK)
    assert found.n_prompts == 64
    assert math.isclose(sum(share.value for share in found.shares), 1, abs_tol=1e-5)
    np.testing.assert_allclose(found.by_examples.sum(0), 1.0, atol=1e-5)
    frame = found.to_frame()
    assert list(frame["component"]) == list(found.components)
    assert found.plot().layout.meta == {
        "x": [{"head": 0}, {"head": 1}, {}],
        "y": [{"layer": 0}, {"layer": 1}, {"layer": 2}],
    }
    over = found.plot("examples")
    assert over.layout.meta["y"][1:5] == [{}, {"layer": 0, "head": 0}, {"layer": 0, "head": 1}, {"layer": 0}]
    assert list(over.data[0].y) == list(found.components)
    assert found.share("MLP 1") == found.shares[found.components.index("MLP 1")]
    with pytest.raises(InputError, match=r"a share needs one of read-in, .* got 'MLP 9'"):
        found.share("MLP 9")
    with pytest.raises(InputError, match="plot of contributions needs one of blocks, examples, got 'heads'"):
        found.plot("heads")


def test_of_many_components_the_rest_is_summed():
    config = icl.ModelConfig(n_dims=3, n_points=6, n_layers=5, n_heads=8, d_model=8)
    found = icl.direct_contributions(large_weights(config), TASK, n_prompts=8)
    drawn = found.plot("examples").data[0]
    assert drawn.y[-1] == f"{len(found.components) - 24} others"
    np.testing.assert_allclose(np.array(drawn.z, dtype=float).sum(0), 1.0, atol=1e-5)


def test_answers_of_zero_are_nobody_s():
    model = large_weights()
    with torch.no_grad():
        model.unembed.W_U.zero_()
        model.unembed.b_U.zero_()
    found = icl.direct_contributions(model, TASK, n_prompts=4)
    assert all(math.isnan(share.value) for share in found.shares)
    assert bool(found.by_examples.isnan().all())


def test_what_has_no_direct_path_is_refused_in_a_sentence():
    layer = icl.build_model(icl.ModelConfig(family="softmax_layer", n_dims=3, n_points=6), seed=0)
    with pytest.raises(InputError, match=r"direct_contributions needs a direct path .* One merged attention layer"):
        icl.direct_contributions(layer, TASK)
    with pytest.raises(InputError, match="at least 2 prompts, got 1"):
        icl.direct_contributions(large_weights(), TASK, n_prompts=1)
