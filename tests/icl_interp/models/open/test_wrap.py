"""Modules of every form: their sites are found, read and written, and they are left as they came."""
# ruff: noqa: ARG005  # hooks and calls take arguments that not all of them read

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_decoder import SITES, PlainDecoder
from random_modules import AXES, OUTPUTS, Drawn, Sketch, _tokens, _turned
from torch import Tensor, nn

import icl_interp as icl
from icl_interp.interventions import patch, predict_under, project_out
from icl_interp.models.open.discover import first_tensor, with_first_tensor
from icl_interp.models.open.wrap import wrap

PLAIN = Sketch(
    n_dims=2, n_points=5, layers=3, heads=2, d_head=3, layout="interleaved", query_only=False, full=False,
    norm="layer", final_norm=True, mlp=True, places=False, output="tensor", axes=AXES[0], dtype="float32",
    looped=False, sites="found", make="nothing", constant=False,
)  # fmt: skip
TASK = icl.LinearRegression(n_dims=2, n_points=5)
PROMPTS = TASK.sample(6, seed=0)
XS, YS = PROMPTS.xs, PROMPTS.ys


def drawn(**changes: Any) -> Drawn:
    torch.manual_seed(1)
    return Drawn(dataclasses.replace(PLAIN, **changes))


def wrapped(net: Drawn, **options: Any) -> Any:
    of = net.of
    return icl.wrap(net, positions=of.layout, axes=of.axes, query_only=of.query_only, **options)


def by_hand(net: Drawn, edit: Callable[[Tensor], Tensor], after: int) -> Tensor:
    """Run it without hooks, and change the stream [batch pos width] after so many blocks."""
    stream = net.enter(_tokens(net.of.layout, XS, YS))
    for done, piece in enumerate([*net.pieces] * (net.of.layers if net.of.looped else 1), start=1):
        stream = _turned(OUTPUTS[net.of.output][1](piece(_turned(stream, net.of.axes))), net.of.axes)
        stream = edit(stream) if done == after else stream
    return net.answer(net.leave(stream))[:, ::2, 0]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("looped", [False, True])
def test_what_a_site_holds_is_put_back_where_it_was(output: str, axes: str, looped: bool) -> None:
    net = drawn(output=output, axes=axes, looped=looped)
    model = wrapped(net, example=(XS, YS))
    norm = ["final norm"] if axes == AXES[0] else []  # elsewhere it reads other axes than the blocks
    assert list(model.hook_dict) == ["read-in", "block 0", "block 1", "block 2", *norm]
    directions = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0))).Q
    with torch.no_grad():
        said = predict_under(model, PROMPTS, project_out(directions, "block 1"))
        wanted = by_hand(net, lambda stream: stream - stream @ directions @ directions.T, after=2)
        torch.testing.assert_close(said, wanted)
        assert (said - net(XS, YS)).abs().max() > 1e-3
        _, cache = model.run_with_cache(XS, YS, names_filter="block 0")
        held: list[Tensor] = []
        by_hand(net, lambda stream: held.append(stream) or stream, after=1)
        torch.testing.assert_close(cache["block 0"], held[0])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize("axes", AXES)
def test_inputs_are_written_too(axes: str) -> None:
    net = drawn(axes=axes)
    model = wrapped(net, sites={"before": "pieces.2:input", "after": "pieces.2"})
    said = model.run_with_hooks(XS, YS, fwd_hooks=[("before", lambda stream, hook: 2 * stream)])
    torch.testing.assert_close(said, by_hand(net, lambda stream: 2 * stream, after=2))


def test_patching_a_whole_site_gives_the_other_prompts_predictions() -> None:
    model = wrapped(drawn(output="namedtuple", axes=AXES[1]))
    found = patch(model, PROMPTS, TASK.sample(6, seed=1), "block 0", axes=())
    torch.testing.assert_close(found.recovered, torch.ones((), dtype=torch.float64))


class Outside(nn.Module):
    """Calls its parts by keyword alone, with a mask before the stream, and one norm twice."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(6, 6)

        def forward(self, *, stream: Tensor, scale: float = 1.0) -> dict[str, Any]:
            return {"scale": scale, "stream": stream + scale * self.mix(stream).cumsum(1)}

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.enter, self.answer, self.parts = (
            nn.Linear(2, 6),
            nn.Linear(6, 1),
            nn.ModuleList([self.Part(), self.Part()]),
        )
        self.same_norm = self.norm

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        stream = self.enter(_tokens("interleaved", xs, ys))
        for part in self.parts:
            stream = part(scale=0.5, stream=stream)["stream"]
            stream = self.norm(stream)
        return self.answer(stream)[:, ::2, 0]


def test_keyword_arguments_and_a_norm_used_twice() -> None:
    torch.manual_seed(0)
    net = Outside()
    model = icl.wrap(net, sites={"in": "parts.1:input", "norm": "same_norm"}, example=(XS, YS))
    assert list(model.hook_dict) == ["in", "norm, run 0", "norm, run 1"]
    _, cache = model.run_with_cache(XS, YS)
    torch.testing.assert_close(cache["in"], cache["norm, run 0"])
    torch.testing.assert_close(net.answer(cache["norm, run 1"])[:, ::2, 0], net(XS, YS))
    zero = model.run_with_hooks(XS, YS, fwd_hooks=[("in", lambda stream, hook: 0 * stream)])
    torch.testing.assert_close(
        zero, model.run_with_hooks(XS, YS, fwd_hooks=[("norm, run 0", lambda stream, hook: 0 * stream)])
    )
    assert (zero - net(XS, YS)).abs().max() > 1e-3
    assert list(icl.wrap(net, example=(XS, YS)).hook_dict) == ["read-in", "block 0", "block 1", "final norm"]


def test_outputs_of_hugging_face() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    given = outputs.BaseModelOutputWithPast(last_hidden_state=torch.zeros(2), attentions=(torch.ones(1),))
    assert first_tensor(given) is given.last_hidden_state
    changed = with_first_tensor(given, torch.ones(3))
    assert isinstance(changed, outputs.BaseModelOutputWithPast)
    assert torch.equal(changed.last_hidden_state, torch.ones(3))
    assert changed.attentions is given.attentions
    assert torch.equal(given.last_hidden_state, torch.zeros(2))


def test_one_block() -> None:
    assert list(wrapped(drawn(layers=1), example=(XS, YS)).hook_dict) == ["read-in", "block 0", "final norm"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch.compile imports
def test_a_compiled_module_runs_as_the_original() -> None:
    net = drawn()
    model = icl.wrap(torch.compile(net), example=(XS, YS))
    assert model.module is net
    torch.testing.assert_close(model(XS, YS), net(XS, YS))


def test_float64_comes_back_as_the_prompts_are() -> None:
    net = drawn().double()
    model = wrapped(net)
    said, cache = model.run_with_cache(XS, YS)
    assert said.dtype == torch.float32
    assert cache["block 0"].dtype == torch.float64
    written = model.run_with_hooks(XS, YS, fwd_hooks=[("block 0", lambda stream, hook: stream.float())])
    torch.testing.assert_close(written, said)


def test_the_first_call_with_hooks_finds_the_sites() -> None:
    """None of them knows a name before; an empty cache would be a silent one."""
    _, cache = wrapped(drawn()).run_with_cache(XS, YS)
    assert set(cache) == {"read-in", "block 0", "block 1", "block 2", "final norm"}
    seen: list[tuple[int, ...]] = []
    wrapped(drawn()).run_with_hooks(
        xs=XS, ys=YS, fwd_hooks=[("block 2", lambda stream, hook: seen.append(stream.shape))]
    )
    assert seen == [(6, 10, 6)]
    _, cache = wrapped(drawn()).run_with_cache(XS, YS, names_filter=lambda name: name.startswith("block"))
    assert set(cache) == {"block 0", "block 1", "block 2"}


def test_prompts_of_two_lengths() -> None:
    net = drawn()
    model = wrapped(net, example=(XS, YS))
    for length in (1, 2, 9):
        longer = TASK.sample(3, length, seed=2)
        torch.testing.assert_close(model(longer.xs, longer.ys), net(longer.xs, longer.ys))
        _, cache = model.run_with_cache(longer.xs, longer.ys)
        assert cache["block 1"].shape == (3, 2 * length, 6)
    assert model(XS, YS, points=[-1, 0]).shape == (6, 2)


@pytest.mark.parametrize("layout", ["joint", "interleaved", "separate"])
@pytest.mark.parametrize("full", [False, True])
def test_query_only_reads_one_sequence_per_point(layout: str, full: bool) -> None:
    net = drawn(layout=layout, query_only=True, full=full)
    model = wrapped(net)
    said = model(XS, YS)
    for k in range(5):
        torch.testing.assert_close(said[:, k], net(XS[:, : k + 1], YS[:, : k + 1]))
    _, cache = model.run_with_cache(XS, YS, points=[-1])
    assert cache["block 0"].shape[1] == net.of.n_positions
    with pytest.raises(icl.InputError, match="needs exactly one point"):
        model.run_with_hooks(XS, YS, points=[0, 1], fwd_hooks=[("block 0", lambda stream, hook: None)])


class Begun(nn.Module):
    """A token of its own stands before x1, y1, x2, y2, ...."""

    def __init__(self) -> None:
        super().__init__()
        self.net = drawn()
        self.start = nn.Parameter(torch.randn(6))

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        stream = self.net.enter(_tokens("interleaved", xs, ys))
        stream = torch.cat([self.start.expand(len(xs), 1, 6), stream], dim=1)
        for piece in self.net.pieces:
            stream = piece(stream)
        return self.net.answer(self.net.leave(stream))[:, 1::2, 0]


def test_roles_of_the_users_own() -> None:
    model = icl.wrap(Begun(), positions=lambda n_points: ["start", *["x", "y"] * n_points], example=(XS, YS))
    found = icl.linear_probes(model, TASK, n_prompts=16, n_controls=0)
    assert found.n_prompts == 16
    icl.spectral_signature(model, PROMPTS, tokens="y", n_controls=0)
    said = predict_under(model, PROMPTS, project_out(torch.eye(6)[:, :1], "block 0", positions="y"))
    seen: list[Tensor] = []
    model.run_with_hooks(XS, YS, fwd_hooks=[("block 1", lambda stream, hook: seen.append(stream.clone()))])
    assert seen[0].shape[1] == 11
    assert (said[:, 0] == model(XS, YS)[:, 0]).all()  # nothing before x1 was touched
    assert (said - model(XS, YS)).abs().max() > 1e-4


def test_roles_of_a_query() -> None:
    net = drawn(layout="joint", query_only=True)
    own = icl.wrap(net, query_only=True, positions=lambda n: ["context"] * (n - 1) + ["query"], example=(XS, YS))
    named = wrapped(net, example=(XS, YS))
    how: dict[str, Any] = {"n_prompts": 16, "n_controls": 0}
    a, b = (icl.linear_probes(model, TASK, **how).to_frame() for model in (own, named))
    assert a.equals(b)
    a, b = (icl.spectral_signature(m, PROMPTS, tokens="context", n_controls=0).spectra for m in (own, named))
    torch.testing.assert_close(a, b)


def test_hooks_are_off_after_an_exception() -> None:
    class Failing(Drawn):
        broken = False

        def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
            said = super().forward(xs, ys)
            if self.broken:
                raise ZeroDivisionError
            return said

    torch.manual_seed(0)
    net = Failing(PLAIN).train()
    model = wrapped(net, example=(XS, YS))
    net.broken = True
    with pytest.raises(ZeroDivisionError):
        model.run_with_cache(XS, YS)
    with pytest.raises(ZeroDivisionError):
        icl.collect(model, PROMPTS, "block 0")
    with pytest.raises(ZeroDivisionError):
        icl.sites(net, XS, YS)
    net.broken = False
    with pytest.raises(RuntimeError):
        model.run_with_hooks(XS, YS, fwd_hooks=[("block 0", lambda stream, hook: stream[:, :2, :3])])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert all(part.training for part in net.modules())
    assert not model.is_listened_to
    torch.testing.assert_close(model(XS, YS), net(XS, YS))


def test_hooks_of_the_modules_own_stay() -> None:
    net = drawn()
    seen: list[int] = []
    net.pieces[0].register_forward_hook(lambda *_: seen.append(1))
    model = wrapped(net, example=(XS, YS))
    before = len(seen)
    model.run_with_cache(XS, YS)
    assert len(seen) == before + 1
    assert not model.is_listened_to
    assert len(net.pieces[0]._forward_hooks) == 1


def test_gradients_flow_back() -> None:
    net = drawn(output="tuple")
    model = wrapped(net)
    model(XS, YS).square().mean().backward()
    assert net.enter.weight.grad is not None
    assert net.enter.weight.grad.abs().max() > 0


def test_the_table_of_sites() -> None:
    table = icl.sites(PlainDecoder(2, 5), XS, YS)
    lines = str(table).splitlines()
    assert lines[0].split() == ["submodule", "class", "runs", "input", "output"]
    assert [line.split()[0] for line in lines if line.endswith("block")] == ["stack.0", "stack.1"]
    assert any(line.split()[:3] == ["stack.0.looking", "Looking", "1"] for line in lines)
    assert "blocks: stack.0, stack.1" in repr(table)
    (looped,) = [line for line in str(icl.sites(drawn(looped=True), XS, YS)).splitlines() if line.endswith("block")]
    assert looped.split()[2] == "3"


def test_what_is_understood() -> None:
    model = icl.wrap(PlainDecoder(2, 5), sites=SITES, example=(XS, YS), max_points=5)
    cfg = model.cfg
    assert (cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.has_patterns, cfg.max_points) == (2, 2, 8, True, 5)
    assert cfg.describe() == "PlainDecoder (wrapped), 2 blocks, width 8, inputs of 2 dimensions"
    assert [name for name in model.hook_dict if name.startswith("blocks.")] == [
        f"blocks.{layer}.attn.hook_{kind}" for kind in ("z", "pattern") for layer in (0, 1)
    ]
    assert [site.label for site in cfg.residual_sites([0])] == ["read-in", "block 0", "block 1", "final norm"]
    assert (cfg.site("resid_pre", 1).label, cfg.site("resid_pre", 0).label) == ("block 0", "read-in")
    assert "block 1" in str(model.describe())
    patterns = icl.wrap(PlainDecoder(2, 5), sites={k: v for k, v in SITES.items() if "heads" not in k})
    assert icl.attention_summary(patterns, TASK, n_prompts=4, n_controls=0).untrained["entropy"].shape == (0, 2, 2)


def test_as_many_heads_as_positions() -> None:
    """Patterns and outputs of heads then have one shape, and prompts that are one point shorter tell them apart."""
    net = PlainDecoder(2, 5, width=16, heads=4)
    two = TASK.sample(8, 2, seed=0)
    model = icl.wrap(net, sites=SITES, example=(two.xs, two.ys))
    assert model.cfg.n_heads == 4
    _, cache = model.run_with_cache(XS, YS)
    torch.testing.assert_close(cache["blocks.0.attn.hook_pattern"].sum(-1), torch.ones(6, 4, 10))


def test_one_point_does_not_tell_two_heads_from_two_positions() -> None:
    one = TASK.sample(8, 1, seed=0)
    with pytest.raises(icl.InputError, match="which fits both; pass prompts of more than one point"):
        icl.wrap(PlainDecoder(2, 5), sites=SITES, example=(one.xs, one.ys))


def test_a_site_that_holds_nothing_at_other_prompts() -> None:
    class Fickle(nn.Module):
        def forward(self, stream: Tensor) -> Tensor | None:
            return stream if stream.shape[1] == 10 else None

    net = drawn()
    net.fickle = Fickle()
    net.pieces[0].register_forward_hook(lambda part, args, output: (net.fickle(output) is None and None) or None)
    model = wrapped(net, sites={"here": "fickle"}, example=(XS, YS))
    with pytest.raises(icl.InputError, match="the site 'here' needs a tensor, got NoneType; name another submodule"):
        model.run_with_cache(XS[:, :3], YS[:, :3])
    assert not net.fickle._forward_hooks


def test_without_sites_of_heads_the_sentence_says_what_to_name() -> None:
    model = wrapped(drawn())
    with pytest.raises(icl.InputError, match=r"blocks, .*: no site shows the outputs of heads; name one per block in"):
        icl.head_importance(model, TASK, n_prompts=8)
    with pytest.raises(icl.InputError, match=r"blocks, .*: no site shows attention patterns; name one per block in"):
        icl.attention_summary(model, TASK, n_prompts=8)
    left_out = icl.detector_report(model, TASK, shifts=["x_scale=3"], n_prompts=8, n_controls=0).left_out
    assert left_out["null space of the read-out"] == "no weight of a wrapped module is known to be its read-out"


def test_without_a_read_in_nothing_is_said_of_what_blocks_add() -> None:
    model = wrapped(drawn(), sites={"one": "pieces.0", "two": "pieces.1"})
    found = icl.layer_readouts(model, TASK, n_prompts=16, n_controls=0)
    assert (found.sites, found.blocks) == (("one", "two"), [0, 1])
    with pytest.raises(icl.InputError, match="what blocks add needs a site 'read-in' before them, got 'one' first"):
        found.excess()
    assert (
        icl.linear_probes(model, TASK, n_prompts=16, n_controls=0).selectivity("averaging")[0] != "the embedding layer"
    )


def test_no_blocks_no_sites() -> None:
    net = nn.Sequential(nn.Linear(2, 1))
    call = lambda m, xs, ys: m(xs)[..., 0]  # noqa: E731
    with pytest.raises(icl.InputError, match="no blocks were found in this module; name places of its residual stream"):
        icl.wrap(net, call=call, positions="sequence", example=(XS, YS))
    model = icl.wrap(net, call=call, positions="sequence", sites={}, example=(XS, YS))
    assert model.cfg.describe() == "Sequential (wrapped), no sites, inputs of 2 dimensions"
    sentence = "No place of its residual stream is known; name submodules in sites."
    with pytest.raises(icl.InputError, match=re.escape(sentence)):
        icl.spectral_signature(model, PROMPTS, n_controls=0)
    with pytest.raises(icl.InputError, match=re.escape(sentence)):
        model.run_with_cache(XS, YS)
    assert icl.error_curves(model, TASK, shifts=["x_scale=3"], n_prompts=8).in_distribution


SENTENCES: dict[str, tuple[dict[str, Any], str]] = {
    "positions": ({"positions": "paired"}, "positions needs one of interleaved, separate, joint, sequence or a"),
    "joint": ({"positions": "joint"}, "positions='joint' means that only the last position asks, which needs"),
    "axes": ({"axes": "batch width"}, "axes needs batch, pos and width in some order, got 'batch width'; write"),
    "sites": ({"sites": ["pieces.0"]}, "sites needs a mapping of labels to names of submodules, got ['pieces.0'];"),
    "call": ({"call": "forward"}, "call needs a function of module, xs and ys, got 'forward'; pass a function."),
    "attention": ({"attention": "banded"}, "attention needs 'causal' or 'full', got 'banded'; choose one."),
    "max_points": ({"max_points": 0}, "max_points needs at least 1, got 0; leave it out if there is no bound."),
    "too long": ({"max_points": 4}, "this model has positions for 4 points, got 5; pass fewer points."),
    "unknown place": ({"sites": {"a": "h.0"}}, "sites needs names of submodules that run, got 'h.0'; near names: "),
    "other axes": (
        {"axes": "pos batch width"},
        "no blocks were found in this module; name places of its residual stream with",
    ),
    "a site with other axes": (
        {"axes": "pos batch width", "sites": {"a": "pieces.0"}},
        "the site 'a' (pieces.0) needs the axes 'pos batch width' with 3 prompts, or four axes where it shows heads",
    ),
    "a place before blocks alone": ({"sites": {"read-in": "enter"}}, "a place of the stream after a block, got read"),
    "heads alone": ({"sites": {"z": "pieces.0.collected"}}, "a place of the stream after a block, got z alone"),
    "heads of one block": (
        {"sites": {"a": "pieces.0", "b": "pieces.1", "z": "pieces.0.collected"}},
        "sites needs one site of head outputs per block, 2 in all, got 1; name the others as well, or none.",
    ),
    "positions that differ": (
        {"sites": {"a": "pieces.0", "b": "short"}},
        "all sites need equally many positions, got {'a': 10, 'b': 5}; name other submodules.",
    ),
    "a layout that does not fit": (
        {"positions": "sequence"},
        "positions='sequence' needs 5 positions for 5 points, and the sites have 10; pass positions=\"interleaved\"",
    ),
    "one network as make": ({"make": nn.Linear(1, 1)}, "got one network, Linear; pass make=lambda: Linear(...)."),
    "too few roles": (
        {"positions": lambda n: ["x"] * n},
        "a function that gives 10 roles for 5 points, as many as the sites have positions, got 5; change the function.",
    ),
    "roles that do not grow": (
        {"positions": lambda n: ["x", "y"] * n + ["pad", "pad"] * (5 - n)},
        "a function whose number of roles grows with the number of points, and it gives 10 of them for fewer than 5",
    ),
    "nothing asks": (
        {"positions": lambda n: ["a", "b"] * n},
        'positions needs a role "query" (or else "x") where predictions are asked for, one per point, 5 in all, got 0',
    ),
    "other numbers of heads": (
        {"sites": {"a": "pieces.0", "b": "pieces.1", "z": "pieces.0.collected", "w": "split"}},
        "sites needs as many heads in every block, got 2, 3; leave the sites of heads out.",
    ),
    "patterns that are none": (
        {"sites": {"a": "pieces.0", "p": "scores"}},
        "those of site 'blocks.0.attn.hook_pattern' are none; leave the patterns out.",
    ),
    "patterns that look ahead": (
        {"sites": {"a": "pieces.0", "p": "even"}},
        "which attention='causal' rules out; pass attention='full'.",
    ),
    "something with four axes": (
        {"sites": {"a": "pieces.0", "z": "odd"}},
        "the site 'z' needs to show head outputs [batch pos head d_head] or patterns [batch head query key] of 10",
    ),
}  # fmt: skip


class Varied(Drawn):
    """Has parts with other shapes besides."""

    def __init__(self, of: Sketch) -> None:
        super().__init__(of)
        for name in ("short", "odd", "split", "scores", "even"):
            setattr(self, name, nn.Identity())

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        self.short(xs)
        self.odd(xs[..., None])
        self.split(xs.new_zeros(len(xs), 2 * xs.shape[1], 3, 2))
        self.scores(xs.new_ones(len(xs), 2, 2 * xs.shape[1], 2 * xs.shape[1]))
        self.even(xs.new_ones(len(xs), 2, 2 * xs.shape[1], 2 * xs.shape[1]).softmax(-1))
        return super().forward(xs, ys)


@pytest.mark.parametrize("name", SENTENCES)
def test_an_option_that_does_not_fit_is_refused_in_one_sentence(name: str) -> None:
    options, sentence = SENTENCES[name]
    with pytest.raises(icl.InputError, match=re.escape(sentence)) as refused:
        wrap.__wrapped__(Varied(PLAIN), example=(XS, YS), **options)
    assert str(refused.value).count("\n") == 0
    assert str(refused.value).endswith(".")


def test_what_is_no_module_of_somebody_else() -> None:
    ours = icl.build_model(icl.ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=4), seed=0)
    with pytest.raises(TypeError, match=r"wrap needs a torch\.nn\.Module, got int; pass the network"):
        wrap.__wrapped__(3)
    with pytest.raises(TypeError, match="got a model of ours; every measure takes it as it is"):
        icl.wrap(ours)
    with pytest.raises(TypeError, match=r"got one that is wrapped already; pass its \.module\."):
        icl.wrap(wrapped(drawn()))
    for given, came in (
        (Drawn, r"the class Drawn; pass a network, Drawn\(\.\.\.\)\."),
        ("weights.pt", r"the path 'weights\.pt'; build the network, load its weights, and pass it\."),
        (drawn().state_dict(), "a mapping, such as a state dict; build the network"),
        (icl.load_checkpoint(icl.demo_path()), "a model of ours; every measure takes it as it is"),
    ):
        with pytest.raises(TypeError, match=f"got {came}"):
            icl.wrap(given)
    with pytest.raises(TypeError, match=r"sites needs a torch\.nn\.Module first, got Tensor; pass the network"):
        icl.sites(XS, YS)


def test_prompts_and_arrays_are_taken_where_tensors_are() -> None:
    net = drawn()
    table = str(icl.sites(net, XS, YS))
    assert "block" in table
    assert str(icl.sites(net, PROMPTS)) == table
    assert str(icl.sites(net, XS.double().numpy(), YS.double().numpy())) == table
    for example in (PROMPTS, (XS.numpy(), YS.numpy())):
        assert wrapped(net, example=example).cfg.n_layers == 3


def test_a_tensor_alone_is_no_prompt() -> None:
    for given in (XS, torch.zeros(2, 5, dtype=torch.long)):
        with pytest.raises(TypeError, match="reads inputs and labels, got one tensor alone; pass xs and ys, or"):
            wrapped(drawn())(given)


def test_an_error_of_the_module_names_the_shapes_that_it_was_given() -> None:
    with pytest.raises(RuntimeError) as failed:
        wrapped(drawn())(torch.zeros(2, 5, 3), torch.zeros(2, 5))
    assert failed.value.__notes__ == ["The module was asked with xs [2, 5, 3] and ys [2, 5]."]


def test_a_module_that_has_seen_no_prompt_says_so() -> None:
    model = wrapped(drawn())
    sentence = "known once it has seen prompts, and this one has seen none; pass example=(xs, ys) to icl_interp.wrap"
    for ask in (
        lambda: model.cfg,
        lambda: model.add_hook("block 0", lambda stream, hook: None),
        lambda: project_out(torch.eye(6)[:, :1], "block 0").on(model).__enter__(),
    ):
        with pytest.raises(icl.InputError, match=re.escape(sentence)):
            ask()
    model(XS, YS)
    with pytest.raises(icl.InputError, match="no hook point 'block 7'; near names: block"):
        model.run_with_cache(XS, YS, names_filter="block 7")
    with pytest.raises(icl.InputError, match="has the sites read-in, block 0, block 1, block 2, final norm, got 'mlp"):
        icl.spectral_signature(model, PROMPTS, site="mlp_out", n_controls=0)
    with pytest.raises(icl.InputError, match="this model reads inputs of 2 dimensions, got 3"):
        model(torch.zeros(2, 5, 3), torch.zeros(2, 5))


def test_a_module_that_fails_at_first_is_asked_again() -> None:
    net = drawn()
    model = wrapped(net)
    with pytest.raises(icl.InputError, match="the model needs xs"):
        model.prepare(XS[0], YS[0])
    assert model.hook_dict == {}
    assert model(XS, YS).shape == (6, 5)


def test_another_length_that_the_module_gets_wrong() -> None:
    model = icl.wrap(drawn(), call=lambda m, xs, ys: m(xs, ys)[:, :5], example=(XS, YS))
    longer = TASK.sample(3, 8, seed=0)
    with pytest.raises(icl.InputError, match=r"predictions of shape \(3, 5\) for prompts of another length, needs"):
        model(longer.xs, longer.ys)


def test_sites_needs_parts_that_run() -> None:
    with pytest.raises(icl.InputError, match="sites needs a module whose submodules run, and none ran; pass the"):
        icl.sites(nn.Identity(), XS, YS, call=lambda m, xs, ys: ys)
