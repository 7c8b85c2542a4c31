"""Checks of compiled models, run by test_model_transforms.py in a process of their own: names in, names passed out."""

import sys
from collections.abc import Callable

import torch
from linear_cases import linear_model
from linear_cases import prompts as linear_prompts
from model_cases import OPTIONS, SMALL, large_weights, pairs, prompts_for
from torch import nn

from icl_interp import HookedICLTransformer

CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # outputs of order 1 in float32, summed in another order
ONE_LAYER = SMALL.model_copy(update={"n_layers": 1})


def double(tensor: torch.Tensor, hook: object) -> torch.Tensor:  # noqa: ARG001  # TransformerLens' hook protocol
    return 2 * tensor


# The backend that only traces: graphs and guards are the same.
def wrapped(model: HookedICLTransformer) -> nn.Module:
    return torch.compile(model, fullgraph=True, backend="eager")


def in_place(model: HookedICLTransformer) -> nn.Module:
    model.compile(fullgraph=True, backend="eager")
    return model


@torch.no_grad()
def hooks() -> None:
    """A hook added after compiling fires; one that is gone fires no more."""
    for compiled in (wrapped, in_place):
        torch.compiler.reset()
        plain = large_weights(ONE_LAYER)
        model = compiled(plain)
        before = model(*pairs())
        torch.testing.assert_close(before, plain._call_impl(*pairs()), **CLOSE)
        for name in ("blocks.0.attn.hook_pattern", "blocks.0.hook_mlp_out"):
            plain.hook_dict[name].add_hook(double)
            expected = plain._call_impl(*pairs())
            assert float((expected - before).abs().max()) > 1e-3
            torch.testing.assert_close(model(*pairs()), expected, **CLOSE)
            plain.reset_hooks()
            torch.testing.assert_close(model(*pairs()), before, **CLOSE)


@torch.no_grad()
def stale() -> None:
    """The control: without the guard a hook that is added later never fires."""
    torch.compiler.reset()
    plain = large_weights(ONE_LAYER)
    plain._guard_hooks = lambda: None  # type: ignore[method-assign]
    # Asking whether anybody listens reads the hooks too.
    plain.__class__ = type("Deaf", (type(plain),), {"is_listened_to": False})
    model = in_place(plain)
    before = model(*pairs())
    plain.hook_dict["blocks.0.hook_mlp_out"].add_hook(double)
    torch.testing.assert_close(model(*pairs()), before, **CLOSE)
    assert float((plain._call_impl(*pairs()) - before).abs().max()) > 1e-3


@torch.no_grad()
def raw_tokens() -> None:
    """The same for `forward_tokens`."""
    torch.compiler.reset()
    plain = large_weights(ONE_LAYER)
    outputs = torch.compile(plain.forward_tokens, fullgraph=True, backend="eager")
    outputs(torch.ones(1, 4, 3))
    plain.add_hook("blocks.0.hook_resid_post", lambda tensor, hook: 0 * tensor)  # noqa: ARG005
    torch.testing.assert_close(outputs(torch.ones(1, 4, 3)), plain.forward_tokens(torch.ones(1, 4, 3)), **CLOSE)


@torch.no_grad()
def cache() -> None:
    """A compiled model caches like any other."""
    torch.compiler.reset()
    plain = large_weights(ONE_LAYER)
    model = wrapped(plain)
    before = model(*pairs())
    predictions, found = model.run_with_cache(*pairs())
    torch.testing.assert_close(predictions, before, **CLOSE)
    assert set(found.keys()) == set(plain.hook_dict)


@torch.no_grad()
def families() -> None:
    """Linear families are whole graphs too, and a hook that is added later fires."""
    for case in ("lsa, 3 layers, 2 heads", "ltb", "softmax"):
        torch.compiler.reset()
        plain = linear_model(case)
        model = wrapped(plain)
        xs, ys = linear_prompts()
        torch.testing.assert_close(model(xs, ys), plain(xs, ys))
        before = model(xs, ys, points=[-1])
        plain.add_hook("blocks.0.hook_attn_out", double)
        torch.testing.assert_close(model(xs, ys, points=[-1]), plain(xs, ys, points=[-1]))
        assert float((model(xs, ys, points=[-1]) - before).abs().max()) > 1e-3


def _gradient_is_the_same(name: str, backend: str) -> None:
    torch.compiler.reset()
    model = large_weights(OPTIONS[name])
    xs, ys = prompts_for(OPTIONS[name])
    (model(xs, ys) - ys).square().mean().backward()
    expected = {weight: value.grad.clone() for weight, value in model.named_parameters()}
    model.zero_grad()
    (torch.compile(model, fullgraph=True, backend=backend)(xs, ys) - ys).square().mean().backward()
    largest = max(float(value.abs().max()) for value in expected.values())
    for weight, value in model.named_parameters():
        # Sums in another order: float32 rounds against the largest gradient, which matters where one is 0 by symmetry
        # (key biases) and nothing but rounding on both sides.
        tolerance = 1e-4 * float(expected[weight].abs().max()) + 1e-5 * largest
        torch.testing.assert_close(value.grad, expected[weight], rtol=0, atol=tolerance)


def gradient() -> None:
    """The whole graph with its backward pass."""
    _gradient_is_the_same("defaults", "aot_eager")


def every_option() -> None:
    """With torch's default backend, which generates code."""
    for name in ("defaults", "joint, full, query masked", "pinned", "timaeus", "attention only", "no norms"):
        _gradient_is_the_same(name, "inductor")


if __name__ == "__main__":
    torch.set_num_threads(1)
    checks: dict[str, Callable[[], None]] = {
        check.__name__: check for check in (hooks, stale, families, raw_tokens, cache, gradient, every_option)
    }
    for asked in sys.argv[1:]:
        checks[asked]()
        sys.stdout.write(f"{asked}\n")
