"""Pictures: what is planted in a model is found in the data of its figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import icl_interp as icl
from icl_interp.measure.attention_patterns import COPY, INDUCTION, PREVIOUS, CodedPatterns, _keys
from icl_interp.models.linear.attention import HookedLinearAttention, HookedLinearTransformerBlock
from icl_interp.predictors import gradient_descent, least_squares
from icl_interp.prompts import derive_seed

TASK = icl.LinearRegression(n_dims=2, n_points=4)
NO_NORM = {"n_dims": 2, "n_points": 4, "normalization_type": None, "attn_only": True}
LOUD = 200.0
INIT = torch.tensor([0.5, -2.0, 0.0])


def visible(figure):
    (trace,) = [trace for trace in figure.data if trace.visible is not False]
    return trace


@pytest.fixture(scope="module")
def copying():
    """Head 1.1 of four looks from each position at the one before; the others look everywhere alike."""
    model = icl.build_model(icl.ModelConfig(n_layers=2, n_heads=2, d_model=16, **NO_NORM), seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.pos_embed.W_pos[:, :8] = torch.eye(8)
        model.blocks[1].attn.W_K[1, :8] = torch.eye(8)
        model.blocks[1].attn.W_Q[1, 1:8] = LOUD * torch.eye(8)[:7]  # position p asks for p - 1
    return icl.attention_patterns(model, TASK, n_prompts=3)


def test_a_head_that_copies_is_found(copying):
    assert copying.positions == ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
    assert copying.most_telling == (1, 1)
    for name in (PREVIOUS, COPY):
        expected = torch.full((2, 2), copying.chance[name])
        expected[1, 1] = 1.0
        torch.testing.assert_close(copying.scores[name], expected)
    assert copying.kind(1, 1) == (PREVIOUS, 1.0)  # uniform attention copies a little more
    np.testing.assert_allclose(copying.chance[COPY], np.mean([1 / 2, 1 / 4, 1 / 6, 1 / 8]), rtol=1e-6)


@pytest.mark.parametrize("of", ["mean", "one prompt"])
def test_its_picture_is_the_line_below_the_diagonal(copying, of):
    trace = visible(copying.plot(of=of))
    assert (trace.name, trace.meta) == ("head 1.1", {"layer": 1, "head": 1})
    expected = np.eye(8, k=-1)
    expected[0, 0] = 1  # which sees nothing else
    np.testing.assert_array_equal(trace.z, 255 * expected)
    assert trace.z.dtype == np.uint8
    other = visible(copying.plot(0, 1, of=of))
    np.testing.assert_array_equal(other.z[7], np.full(8, round(255 / 8)))
    assert [t.meta["layer"] * 2 + t.meta["head"] for t in copying.plot().data] == [0, 1, 2, 3]


def test_hovers_tables_and_frames_tell_the_same_weights(copying):
    figure = copying.plot()
    assert "%{z}/255<" in visible(figure).hovertemplate
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 255)
    assert list(figure.layout.coloraxis.colorbar.ticktext) == ["0", "1"]
    frame = copying.pattern_frame(1, 1)
    assert [*frame.itertuples(index=False, name=None)][1:] == [
        (here, before, 1.0) for before, here in zip(copying.positions, copying.positions[1:], strict=False)
    ]
    table = copying.to_frame()
    assert set(table["quantity"]) == {PREVIOUS, COPY, INDUCTION, "largest weight, mean", "largest weight, one prompt"}
    assert visible(copying.plot_scores()).z[1][3] == 1.0
    assert "copy=1.00" in repr(copying)


def test_a_head_that_looks_at_the_most_similar_input_is_an_induction_head():
    config = icl.ModelConfig(n_layers=1, n_heads=1, d_model=4, tokens="joint", attention="full", mask_query=True,
                             positional_embedding_type="none", **NO_NORM)  # fmt: skip
    model = icl.build_model(config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.W_E[:2, :2] = torch.eye(2)
        model.blocks[0].attn.W_Q[0, :2, :2] = 1e5 * torch.eye(2)
        model.blocks[0].attn.W_K[0, :2, :2] = torch.eye(2)
    xs = torch.nn.functional.normalize(torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(1)), dim=2)
    # Of inputs of one length the nearest is the one with the largest product.
    found = icl.attention_patterns(model, icl.FixedPrompts({"in distribution": (xs, xs[..., 0])}), n_prompts=4)
    assert found.positions == ("xy1", "xy2", "xy3", "query")
    assert list(found.scores) == [INDUCTION]
    torch.testing.assert_close(found.scores[INDUCTION], torch.ones(1, 1))
    np.testing.assert_allclose(found.chance[INDUCTION], 1 / 3, rtol=1e-6)  # the query is no key


@pytest.mark.parametrize(
    ("tokens", "n_positions", "expected"),
    [
        ("interleaved", 8, [-1, -1, -1, -1, 1, -1, 3, -1]),
        ("sequence", 4, [-1, -1, -1, 2]),  # the value after the one before last
        ("joint", 4, [-1, -1, -1, 1]),
    ],
)
def test_induction_asks_for_the_label_of_the_nearest_earlier_input(tokens, n_positions, expected):
    xs = torch.tensor([[[0.0], [5.0], [0.1], [4.0]]])
    assert _keys(tokens, xs, n_positions)[INDUCTION][0].tolist() == expected


def test_weights_of_linear_attention_have_signs():
    config = icl.ModelConfig(family="lsa", n_dims=3, n_points=6, output_sign=-1)
    task = icl.LinearRegression(n_dims=3, n_points=6)
    found = icl.attention_patterns(HookedLinearAttention.gradient_descent(config, 0.3), task, n_prompts=2)
    prompts = task.sample(2, 6, seed=derive_seed(0, "evaluation: attention"))
    products = (prompts.xs[0] @ prompts.xs[0].T) / 5
    products[:, -1] = 0  # the query is no key
    np.testing.assert_allclose(found.one.values[0, 0], products, rtol=0, atol=float(products.abs().max()) / 253)
    trace = visible(found.plot(of="one prompt"))
    assert trace.z.dtype == np.int8
    assert f"%{{z}}/127 of {found.one.largest:.3g}<" in trace.hovertemplate
    assert (found.scores, found.kind(0, 0), found.is_distribution) == ({}, None, False)
    with pytest.raises(ValueError, match="plot_scores needs attention that is a distribution"):
        found.plot_scores()


def test_many_heads_on_long_prompts_stay_small(copying):
    """24 layers of 16 heads take 1.3 MB for each of the two figures."""
    codes = torch.randint(0, 256, (24, 16, 48, 48), dtype=torch.uint8)
    scores = {COPY: torch.rand(24, 16)}
    names = tuple(f"{role}{k}" for k in range(18, 42) for role in "xy")
    large = replace(copying, mean=CodedPatterns(codes, 1.0), scores=scores, positions=names, n_positions=82)
    figure = large.plot(3, 2)
    assert len(figure.to_json()) < 1.4e6
    np.testing.assert_array_equal(visible(figure).z, codes[3, 2])


def test_the_last_positions_of_a_long_prompt_are_kept():
    model = icl.build_model(icl.ModelConfig(n_dims=2, n_points=30, n_layers=1, n_heads=1, d_model=8), seed=0)
    found = icl.attention_patterns(model, TASK, n_points=30, n_prompts=1)
    assert (found.positions[0], found.positions[-1], len(found.positions), found.n_positions) == ("x7", "y30", 48, 60)
    torch.testing.assert_close(found.mean.codes, found.one.codes)


def test_an_answer_is_on_the_map_where_it_is_written(solving_model, tiny_task):
    lens = icl.lens_map(solving_model, tiny_task, n_prompts=64)
    assert lens.points == (1, 2, 3, 4, 5, 6, 7)
    assert lens.arrives("block 1") == 3  # as many as dimensions
    assert lens.arrives("block 0") is None
    assert lens.best_reference.startswith("least squares")
    trace = visible(lens.plot())
    rows = dict(zip(trace.y, trace.z, strict=True))
    np.testing.assert_allclose(rows["block 1"][2:], -4)  # 1e-4 and less
    assert min(rows["block 0"]) > -0.5
    assert trace.customdata[trace.y.index("block 0")][0] == f"{float(lens.errors[1, 0]):.3g}"
    frame = lens.to_frame()
    assert list(frame.columns) == ["site", "examples", "error"]
    assert set(frame["site"]) == {*lens.sites, "this model", lens.best_reference}


def test_long_prompts_are_thinned_out_and_end_with_the_last(tiny_model):
    model = icl.build_model(icl.ModelConfig(n_dims=2, n_points=60, n_layers=1, n_heads=1, d_model=4), seed=0)
    lens = icl.lens_map(model, TASK, n_points=60, n_prompts=8, layers=[])
    assert (lens.points[0], lens.points[1], lens.points[-1], len(lens.points)) == (2, 5, 59, 20)
    with pytest.raises(ValueError, match="lens_map needs at least 8 prompts of 2 points, got 8 of 1"):
        icl.lens_map(tiny_model, TASK, n_points=1, n_prompts=8)
    with pytest.raises(ValueError, match="arrives needs one of read-in, block 0, final norm, got 'block 7'"):
        lens.arrives("block 7")


@pytest.fixture(scope="module")
def known_weights():
    """A linear transformer block that answers by one fixed weight vector, whatever the examples."""
    config = icl.ModelConfig(family="ltb", n_dims=3, n_points=7)
    model = HookedLinearTransformerBlock.gd_learned_init(config, INIT, torch.zeros(3, 3))
    return icl.induced_weights(model, icl.LinearRegression(n_dims=3, n_points=7), n_prompts=4)


def test_known_weights_are_found(known_weights):
    assert known_weights.asked == (1, 6)
    torch.testing.assert_close(known_weights.weights, INIT.expand(2, 4, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(known_weights.path, INIT.expand(6, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(known_weights.r2, torch.ones(2, 4))
    drawn = {trace.name: trace for trace in known_weights.plot().data}
    np.testing.assert_allclose(np.reshape(drawn["model"].y, (4, 3)), INIT.expand(4, 3), atol=1e-5)
    np.testing.assert_allclose(drawn["model"].x, known_weights.true.flatten())
    (name,) = known_weights.references
    np.testing.assert_allclose(drawn[name].y, drawn[name].x, atol=1e-4)  # six examples determine three weights
    path = {trace.name: trace for trace in known_weights.plot_path(1).data}
    np.testing.assert_allclose(path["model"].y, [-2.0] * 6, atol=1e-5)
    assert set(path["true weight"].y) == {float(known_weights.true[0, 1])}


def test_distances_of_weights_are_their_formula(known_weights):
    true = known_weights.true
    expected = float((INIT - true).square().sum() / true.square().sum())
    np.testing.assert_allclose(known_weights.distance(), expected, rtol=1e-4)
    (name,) = known_weights.references
    assert known_weights.distance(name) < 1e-8 < 0.05 < known_weights.distance(name, examples=1)
    np.testing.assert_allclose(known_weights.distance("least squares", other="model"), expected, rtol=1e-4)
    frame = known_weights.to_frame()
    assert list(frame.columns) == ["examples", "prompt", "coordinate", "true weight", "model", name]
    assert len(frame) == 2 * 4 * 3
    assert known_weights.largest_coordinates[0] == int(true[0].abs().argmax())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.distance("lasso"), "distance needs two of model, true weight, least squares.*, got 'lasso'"),
        (lambda w: w.plot(3), "examples needs one of 1, 6, got 3"),
        (lambda w: w.plot_path(3), "plot_path needs a coordinate from 0 to 2, got 3"),
        (lambda _: icl.induced_weights(least_squares(), icl.SineRegression()), "needs a task with weights"),
        (
            lambda _: icl.induced_weights(least_squares(), icl.LinearRegression(2, x_cov=(1.0, 0.0))),
            "inputs do not span all dimensions",
        ),
        (lambda _: icl.induced_weights(least_squares(), TASK, n_points=1), "1 prompt of 2 points, got 32 of 1"),
        (lambda _: icl.step_by_step(icl.build_model(icl.ModelConfig(family="lsa", n_dims=2, n_points=4), seed=0), TASK,
                                    prompt=-1), "the number of a prompt from 0 on, got -1"),
    ],
    ids=["name", "examples", "coordinate", "sine", "flat inputs", "one point", "prompt"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(known_weights, call, message):
    with pytest.raises(ValueError, match=message):
        call(known_weights)


@pytest.mark.parametrize(("layer", "head"), [(2, 0), (0, -1)])
def test_a_head_that_is_not_there_is_refused(copying, layer, head):
    with pytest.raises(ValueError, match="a pattern needs a layer from 0 to 1 and a head from 0 to 1, got layer"):
        copying.plot(layer, head)
    with pytest.raises(ValueError, match="of needs 'mean' or 'one prompt', got 'median'"):
        copying._coded("median")  # plot itself is type-checked in tests


def test_one_prompt_of_a_known_algorithm():
    config = icl.ModelConfig(family="lsa", n_dims=3, n_points=6, output_sign=-1)
    task = icl.LinearRegression(n_dims=3, n_points=6)
    steps = icl.step_by_step(HookedLinearAttention.gradient_descent(config, 0.3), task, prompt=2)
    prompts = task.sample(3, seed=derive_seed(0, "evaluation: score"))[2:]
    drawn = {trace.name: trace for trace in steps.plot().data}
    np.testing.assert_allclose(drawn["label"].y, prompts.ys[0])
    said = gradient_descent(1, 0.3)(prompts.xs, prompts.ys)[0]
    np.testing.assert_allclose(drawn["model"].y, said, atol=1e-6)
    assert set(drawn) == {"label", "model", *steps.shown}
    assert steps.positions == ("xy1", "xy2", "xy3", "xy4", "xy5", "query")
    tokens = torch.cat([prompts.xs[0], prompts.ys[0, :, None]], 1)
    tokens[-1, -1] = 0
    np.testing.assert_allclose(steps.norms[0], tokens.double().norm(dim=1), rtol=1e-6)
    norms = visible(steps.plot_norms())
    np.testing.assert_allclose(norms.z[0], steps.norms[0].log10(), rtol=1e-6)
    assert list(steps.norm_frame().columns) == ["site", "position", "norm"]
    assert list(steps.to_frame().columns)[:3] == ["examples before", "label", "model"]


def test_a_module_without_sites_has_predictions_alone():
    net = torch.nn.Linear(2, 1)
    model = icl.wrap(net, sites={}, call=lambda m, xs, _ys: m(xs)[..., 0], positions="sequence")
    steps = icl.step_by_step(model, TASK)
    assert (steps.sites, steps.positions, steps.norms.numel()) == ((), (), 0)
    with pytest.raises(ValueError, match="plot_norms needs a place of the residual stream"):
        steps.plot_norms()
    with pytest.raises(ValueError, match=r"attention_patterns needs attention that can be read, got .* No site shows"):
        icl.attention_patterns(model, TASK)
    with pytest.raises(ValueError, match="lens_map needs a place of the residual stream"):
        icl.lens_map(model, TASK)
