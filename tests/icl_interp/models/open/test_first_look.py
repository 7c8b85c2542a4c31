"""A planted offender for every check of the first look at somebody's module, and what is fine."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from plain_decoder import PlainDecoder
from torch import Tensor, nn

import icl_interp as icl

TASK = icl.LinearRegression(n_dims=3, n_points=6)
PROMPTS = TASK.sample(8, seed=0)
EXAMPLE = PROMPTS.xs, PROMPTS.ys


def look(call: Callable[..., Any], **options: Any) -> Any:
    torch.manual_seed(0)
    return icl.wrap(PlainDecoder(3, 6), call=call, example=EXAMPLE, **options)


def leaking_at(point: int) -> Callable[..., Tensor]:
    def call(module: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        said = module(xs, ys).clone()
        said[:, point] = said[:, point] + 1e-2 * ys[:, point]
        return said

    return call


def from_the_batch(module: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
    # As a norm over the batch does that kept its training mode.
    return module(xs - xs.mean(0), ys)


OFFENDERS: dict[str, tuple[Callable[..., Any], str]] = {
    "random": (lambda m, xs, ys: m(xs, ys) + 0.01 * torch.randn(ys.shape), "other predictions when it is asked the"),
    "an axis too many": (
        lambda m, xs, ys: m(xs, ys)[..., None],
        r"needs to give predictions [batch point] = [8, 6], got [8, 6, 1]; select the predictions in call.",
    ),
    "one prediction per prompt": (
        lambda m, xs, ys: m(xs, ys)[:, -1],
        "[batch point] = [8, 6], got [8]; pass query_only=True.",
    ),
    "a prediction per token": (
        lambda m, xs, ys: m(xs, ys).repeat_interleave(2, dim=1),
        "got [8, 12]; select the predictions in call.",
    ),
    "a tuple": (lambda m, xs, ys: (m(xs, ys), None), "a tensor of predictions (real numbers), got tuple; take it out"),
    "classes": (lambda m, xs, ys: m(xs, ys).long(), "(real numbers), got one of torch.int64; take it out in call."),
    "the first label": (leaking_at(0), "its prediction for point 0 (counted from 0) changes with ys[:, 0:]; mask them"),
    "one label in the middle": (leaking_at(3), "its prediction for point 3 (counted from 0) changes with ys[:, 3:]"),
    "the last label": (leaking_at(5), "its prediction for point 5 (counted from 0) changes with ys[:, 5:]; mask them"),
    "a later label": (
        lambda m, xs, ys: m(xs, ys) + ys.roll(-1, 1) * torch.tensor([0, 0, 1, 0, 0, 0]),
        "its prediction for point 2 (counted from 0) changes",
    ),
    "the batch": (from_the_batch, "prediction for a prompt depends on the other prompts of its batch"),
    "not a number": (lambda m, xs, ys: m(xs, ys) / 0, "finite predictions, got NaN or infinity; check its weights."),
}


@pytest.mark.parametrize("name", OFFENDERS)
def test_an_offender_is_refused_in_one_sentence(name: str) -> None:
    call, sentence = OFFENDERS[name]
    with pytest.raises(icl.InputError, match=re.escape(sentence)) as refused:
        look(call)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_query_only_offenders() -> None:
    with pytest.raises(icl.InputError, match=re.escape("predictions [batch] = [8], got [8, 6]; select")):
        look(lambda m, xs, ys: m(xs, ys), query_only=True)
    with pytest.raises(icl.InputError, match=re.escape("its prediction for point 5 (counted from 0) changes")):
        look(lambda m, xs, ys: leaking_at(5)(m, xs, ys)[:, -1], query_only=True)


def test_honest_modules_pass() -> None:
    seen: list[bool] = []

    def call(module: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return module(xs, ys)

    assert look(call).cfg.n_layers == 2
    assert not any(seen)
    assert look(lambda m, xs, ys: 0 * m(xs, ys)).cfg.n_layers == 2  # whoever predicts zero leaks nothing
    assert look(lambda m, xs, ys: m(xs, ys)[:, -1], query_only=True).cfg.query_only


def test_dropout_and_batch_norm_are_in_evaluation_mode_and_come_back() -> None:
    class Net(PlainDecoder):
        def __init__(self) -> None:
            super().__init__(3, 6)
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)

        def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
            return super().forward(self.drop(self.norm(xs.flatten(0, 1)).view_as(xs)), ys)

    torch.manual_seed(0)
    net = Net().train()
    net.norm(torch.randn(40, 3) + 2)
    net.stack[1].eval()
    modes = {name: part.training for name, part in net.named_modules()}
    statistics = net.norm.running_mean.clone()
    model = icl.wrap(net, example=EXAMPLE)
    said = model(*EXAMPLE)
    assert {name: part.training for name, part in net.named_modules()} == modes
    torch.testing.assert_close(net.norm.running_mean, statistics)
    torch.testing.assert_close(said, net.eval()(*EXAMPLE))


def test_sixteen_bits_round_more() -> None:
    """A prompt that is read alone is rounded otherwise than beside others."""
    net = PlainDecoder(3, 6, width=64, heads=4).bfloat16()
    model = icl.wrap(net, example=EXAMPLE)
    assert model(*EXAMPLE).dtype == torch.float32
    with pytest.raises(icl.InputError, match="depends on the other prompts"):
        icl.wrap(net, call=from_the_batch, example=EXAMPLE)


def test_the_look_changes_nothing() -> None:
    """Neither the generator, nor the gradients, nor hooks."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.get_rng_state()
    net = PlainDecoder(3, 6)
    torch.set_rng_state(before)
    icl.wrap(net, example=EXAMPLE)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in net.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize(
    "example",
    [(torch.zeros(4, 5), torch.zeros(4, 5)), (torch.zeros(4, 5, 3), torch.zeros(4, 6)), (torch.zeros(0, 5, 3),) * 2],
)
def test_prompts_of_other_shapes(example: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(icl.InputError, match=r"the model needs xs \[batch point dim\] and ys \[batch point\], got"):
        icl.wrap(PlainDecoder(3, 6), example=example)
