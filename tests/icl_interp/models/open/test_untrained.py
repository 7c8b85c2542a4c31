"""Untrained networks of somebody's module: each way to make them, and a planted offender for each rule."""

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from plain_decoder import PlainDecoder
from torch import Tensor, nn

import icl_interp as icl
from icl_interp.models.architecture import NO_RECIPE
from icl_interp.models.open.untrained import _seeded, recipe_for

TASK = icl.LinearRegression(n_dims=3, n_points=6)
PROMPTS = TASK.sample(8, seed=0)
EXAMPLE = PROMPTS.xs, PROMPTS.ys


def fresh() -> PlainDecoder:
    return PlainDecoder(3, 6)


@pytest.fixture
def net() -> PlainDecoder:
    torch.manual_seed(0)
    return fresh()


def test_make_builds_one_network_per_seed(net: PlainDecoder) -> None:
    model = icl.wrap(net, make=fresh, example=EXAMPLE)
    first, second = model.untrained([11, 12])
    torch.manual_seed(11)
    wanted = fresh()
    for name, weight in first.module.named_parameters():
        assert torch.equal(weight, wanted.get_parameter(name))
    assert not torch.equal(first.module.enter.weight, second.module.enter.weight)
    assert list(first.hook_dict) == list(model.hook_dict)
    assert not torch.equal(first(*EXAMPLE), model(*EXAMPLE))
    assert model.cfg.notes == ("Untrained networks come from the function make.",)
    assert model.untrained([]) == []


def test_generators_are_left_as_they_were(net: PlainDecoder) -> None:
    drawn = []

    def make() -> PlainDecoder:
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
        return fresh()

    def state() -> tuple[Any, ...]:
        return np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    model = icl.wrap(net, make=make, example=EXAMPLE)
    before = state()
    model.untrained([3, 4])
    model.untrained([3, 4])
    assert state() == before
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]

    def failing() -> None:
        torch.rand(3)
        raise KeyError

    with pytest.raises(KeyError):
        icl.wrap(net, make=failing, example=EXAMPLE).untrained([3])
    assert state() == before
    own = random.getstate()  # the type checks of these tests draw from it, so the core is asked
    with _seeded(3):
        random.random()
    assert random.getstate() == own


class Renamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 1)


def sharing(net: PlainDecoder) -> PlainDecoder:
    made = fresh()
    made.answer.weight = nn.Parameter(net.answer.weight.detach().view(-1).view(1, -1))
    return made


def trained_again(net: PlainDecoder) -> PlainDecoder:
    made = fresh()
    made.load_state_dict(net.state_dict())
    return made


def seeded() -> PlainDecoder:
    torch.manual_seed(7)
    return fresh()


def alternating() -> Callable[[], PlainDecoder]:
    seeds = iter([1, 2, 1, 2])

    def make() -> PlainDecoder:
        torch.manual_seed(next(seeds))
        return fresh()

    return make


OFFENDERS: dict[str, tuple[Callable[[PlainDecoder], Callable[[], Any]], str]] = {
    "the module itself": (lambda net: lambda: net, "gave the trained network itself; let it build a fresh one."),
    "the compiled module": (lambda net: lambda: torch.compile(net), "gave the trained network itself"),
    "the wrapped module": (lambda net: lambda: icl.wrap(net), "gave the trained network itself"),
    "shared memory": (lambda net: lambda: sharing(net), "shares answer.weight with the trained one; build a fresh one"),
    "trained weights": (lambda net: lambda: trained_again(net), "gave a network with the trained weights"),
    "one seed": (lambda _: seeded, "gave equal weights for two seeds; let it draw them from torch's global generator"),
    "two seeds in turn": (lambda _: alternating(), "gave equal weights for two seeds"),
    "other names": (lambda _: Renamed, "it differs in answer.bias, answer.weight, enter.bias and"),
    "other shapes": (
        lambda _: lambda: PlainDecoder(3, 9),
        "it differs in places; build it with the same settings.",
    ),
    "nothing": (lambda _: lambda: None, "needs to give a torch module, got NoneType; return the fresh network."),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch.compile imports
@pytest.mark.parametrize("name", OFFENDERS)
def test_an_offender_is_refused_in_one_sentence(name: str, net: PlainDecoder) -> None:
    make, sentence = OFFENDERS[name]
    model = icl.wrap(net, make=make(net), example=EXAMPLE)
    with pytest.raises(icl.InputError, match=re.escape(sentence)) as refused:
        model.untrained([1, 2, 3])
    assert str(refused.value).endswith(".")
    assert str(refused.value).count("\n") == 0


def test_make_of_another_kind(net: PlainDecoder) -> None:
    with pytest.raises(icl.InputError, match='make needs a function without arguments, "reset" or None, got 3'):
        recipe_for.__wrapped__(net, 3)


def test_the_precision_is_that_of_the_trained_network(net: PlainDecoder) -> None:
    model = icl.wrap(net.double(), make=fresh, example=EXAMPLE)
    (made,) = model.untrained([1])
    assert {p.dtype for p in made.module.parameters()} == {torch.float64}


class Attending(nn.Module):
    """PyTorch's own parts: every parameter has somebody who resets it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.answer = nn.Linear(4, 8), nn.Linear(8, 1)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)])

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        stream = self.enter(torch.cat([xs, torch.nn.functional.pad(ys, (1, 0))[:, :-1, None]], dim=2))
        hidden = nn.Transformer.generate_square_subsequent_mask(ys.shape[1], dtype=stream.dtype)
        for layer in self.layers:
            stream = layer(stream, hidden, is_causal=True)
        return self.answer(stream)[..., 0]


def test_reset_gives_what_a_constructor_gives() -> None:
    """Parts are reset before wholes, as they are built: else biases that an attention layer zeroes would be random."""
    torch.manual_seed(0)
    net = Attending()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(2)  # more would saturate attention, and rounding would decide
    model = icl.wrap(net, positions="sequence", make="reset", example=EXAMPLE)
    first, second = model.untrained([1, 2])
    for made in (first, second):
        attention = made.module.layers[0].self_attn
        assert not attention.out_proj.bias.any()
        assert not attention.in_proj_bias.any()
        assert bool((made.module.layers[1].norm1.weight == 1).all())
        assert 0 < made.module.enter.weight.abs().max().item() <= 0.5
    assert not torch.equal(first.module.enter.weight, second.module.enter.weight)
    assert net.enter.weight.min().item() > 1
    assert model.cfg.notes == ("Untrained networks come from PyTorch's default initialisation (reset_parameters).",)


def test_reset_names_what_nothing_resets(net: PlainDecoder) -> None:
    model = icl.wrap(net, make="reset", example=EXAMPLE)
    with pytest.raises(icl.InputError, match=re.escape("none sets places; pass make=lambda: MyModel(config).")):
        model.untrained([1])
    assert not net.places.isnan().any()


def test_without_a_recipe_there_are_no_untrained_networks_and_no_verdicts(net: PlainDecoder) -> None:
    model = icl.wrap(net)
    found = icl.study(model, TASK, n_prompts=8, shifts=["x_scale=3"])
    assert found.untrained == ()
    assert {excess.verdict for excess in found.verdicts.values()} == {"not applicable"}
    assert model.cfg.notes == (NO_RECIPE,)
    assert model.untrained([1]) == []


def test_hugging_face_classes_know_how_they_are_built() -> None:
    transformers = pytest.importorskip("transformers")

    class InContext(transformers.GPT2PreTrainedModel):
        """As authors write it: a backbone, a read-in and a read-out, in one PreTrainedModel."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.enter = nn.Linear(3, config.n_embd)
            self.transformer = transformers.GPT2Model(config)
            self.answer = nn.Linear(config.n_embd, 1)
            self.post_init()

        def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
            labels = torch.nn.functional.pad(ys[..., None], (0, 2))
            tokens = torch.stack([xs, labels], dim=2).flatten(1, 2)
            hidden = self.transformer(inputs_embeds=self.enter(tokens)).last_hidden_state
            return self.answer(hidden)[:, ::2, 0]

    config = transformers.GPT2Config(vocab_size=1, n_positions=12, n_embd=8, n_layer=2, n_head=2)
    torch.manual_seed(0)
    net = InContext(config)
    model = icl.wrap(net, example=EXAMPLE)
    assert model.cfg.notes == ("Untrained networks come from InContext(config).",)
    assert list(model.hook_dict) == ["read-in", "block 0", "block 1", "final norm"]
    first, second = model.untrained([5, 6])
    torch.manual_seed(5)
    wanted = InContext(config)
    for name, weight in first.module.named_parameters():
        assert torch.equal(weight, wanted.get_parameter(name))
    assert not torch.equal(first.module.enter.weight, second.module.enter.weight)
    result = icl.spectral_signature(model, TASK.sample(16, seed=0), n_controls=2)
    assert result.control is not None
    assert len(result.control.overlaps) == 2


def test_a_native_bridge_knows_how_it_is_booted() -> None:
    bridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    if not hasattr(bridge, "boot_native"):
        pytest.skip("this TransformerLens has no native bridge")
    cfg = {"d_model": 8, "d_head": 4, "n_heads": 2, "n_layers": 2, "n_ctx": 12, "d_vocab": 11, "act_fn": "relu"}
    cfg |= {"seed": 4}
    net = bridge.boot_native(cfg)
    recipe = recipe_for(net, None)
    assert recipe is not None
    assert recipe.name == "TransformerBridge.boot_native(cfg)"
    torch.manual_seed(1)
    made = [recipe.build() for _ in range(2)]
    shapes = {name: p.shape for name, p in net.named_parameters()}
    for other in made:
        assert {name: p.shape for name, p in other.named_parameters()} == shapes
    name = next(name for name, p in net.named_parameters() if p.ndim == 2)
    weights = [dict(other.named_parameters())[name] for other in (net, *made)]
    assert not torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
