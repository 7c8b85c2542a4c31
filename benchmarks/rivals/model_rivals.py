"""The same network as others would build it, behind the four questions that models.py asks."""

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor, nn

from icl_interp import ModelConfig, build_model
from icl_interp.models.layout import _interleave

Answer = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Side:
    """One way to have the network: a module, and how it is asked."""

    def __init__(self, module: nn.Module, answer: Answer, keep: Answer | None, cache: Answer | None) -> None:
        self.module, self.answer, self.keep, self.cache = module, answer, keep, cache
        self.optimiser = torch.optim.Adam(module.parameters(), lr=1e-4)

    def train(self, xs: Tensor, ys: Tensor) -> Tensor:
        """Take one step.

        Args:
            xs: Inputs.
            ys: Labels.

        Returns:
            The loss before it.
        """
        self.optimiser.zero_grad()
        loss = (self.answer(self.module, xs, ys) - ys).square().mean()
        loss.backward()
        self.optimiser.step()
        return loss


class _Silence:
    # What stands where a hook point was, in the network without hook points.
    fwd_hooks = bwd_hooks = _forward_hooks = _forward_pre_hooks = _backward_hooks = _backward_pre_hooks = ()

    def __call__(self, activation: Tensor) -> Tensor:
        return activation


def _without_hook_points(config: ModelConfig) -> nn.Module:
    model = build_model(config, seed=0)
    for name, point in list(model.hook_dict.items()):
        parent, _, leaf = name.rpartition(".")
        del point, model.get_submodule(parent)._modules[leaf]
        setattr(model.get_submodule(parent), leaf, _Silence())
    model.hook_dict = {}
    return model


def ours(config: ModelConfig, names: Callable[[str], bool]) -> dict[str, Side]:
    """Our network, and the same without hook points.

    Args:
        config: Configuration of the network.
        names: Accepts the hook points to keep.

    Returns:
        Sides by name.
    """

    def answer(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model(xs, ys)

    def keep(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model.run_with_cache(xs, ys, names_filter=names)[0]  # type: ignore[operator]

    def cache(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model.run_with_cache(xs, ys)[0]  # type: ignore[operator]

    def at_every_position(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        # What is kept has all positions, so the network without hook points must not leave any out.
        return model.forward_tokens(_interleave(xs, ys))[:, ::2, 0]  # type: ignore[operator]

    return {
        "ours": Side(build_model(config, seed=0), answer, keep, cache),
        "ours without hook points": Side(_without_hook_points(config), answer, at_every_position, None),
    }


class _Ends(nn.Module):
    # Read-in, positions where the body has none, and read-out around somebody else's body.
    def __init__(self, body: nn.Module, config: ModelConfig, *, positions: bool) -> None:
        super().__init__()
        self.body = body
        self.read_in = nn.Linear(config.d_token, config.d_model)
        self.read_out = nn.Linear(config.d_model, 1)
        self.positions = nn.Parameter(torch.zeros(config.n_ctx if positions else 0, config.d_model))

    def embedded(self, xs: Tensor, ys: Tensor) -> Tensor:
        stream = self.read_in(_interleave(xs, ys))
        return stream + self.positions[: stream.shape[1]] if len(self.positions) else stream


class _Products(nn.Module):
    # The maps of all blocks and nothing between them.
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, heads = config.d_model, config.n_heads * config.head_width
        sizes = [(width, 3 * heads), (heads, width), (width, config.mlp_width), (config.mlp_width, width)]
        maps = [nn.ModuleList([nn.Linear(*size, bias=False) for size in sizes]) for _ in range(config.n_layers)]
        self.maps, self.heads = nn.ModuleList(maps), heads
        self.read_in, self.read_out = nn.Linear(config.d_token, width), nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.read_in(tokens)
        for qkv, out, first, second in self.maps:  # type: ignore[misc]
            stream = second(first(out(qkv(stream)[..., : self.heads])))
        return self.read_out(stream)


def products(config: ModelConfig) -> dict[str, Side]:
    """The matrix products that every side shares, those inside attention aside, at every position of every block.

    Args:
        config: Configuration of the network.

    Returns:
        Sides by name.
    """

    def answer(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model(_interleave(xs, ys))[:, ::2, 0]

    return {"products alone": Side(_Products(config), answer, None, None)}


def nnsight(config: ModelConfig) -> dict[str, Side]:
    """Trace Hugging Face's GPT2Model by nnsight, where that is installed, and save each block's output.

    Args:
        config: Configuration of the network.

    Returns:
        Sides by name; none without nnsight.
    """
    try:
        installed = version("nnsight")
    except PackageNotFoundError:
        return {}
    from nnsight import NNsight

    (rival,) = hugging_face(config).values()
    traced = NNsight(rival.module)

    def keep(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        kept: list[Tensor] = []
        with traced.trace(model.embedded(xs, ys)):
            for block in traced.body.h:
                kept.append(block.output.save())  # nnsight runs these lines itself
            last = traced.read_out.output.save()
        if len(kept) != config.n_layers:
            raise RuntimeError(f"nnsight needs to keep {config.n_layers} blocks, got {len(kept)}.")
        return last[:, ::2, 0]

    rival.module.forward = lambda stream: rival.module.read_out(  # type: ignore[method-assign]
        rival.module.body(inputs_embeds=stream).last_hidden_state  # type: ignore[operator]
    )
    return {f"nnsight {installed}": Side(rival.module, rival.answer, keep, None)}


def hugging_face(config: ModelConfig) -> dict[str, Side]:
    """GPT2Model between two linear maps, as dtsip/in-context-learning uses it.

    Args:
        config: Configuration of the network.

    Returns:
        Sides by name.
    """
    from transformers import GPT2Config, GPT2Model

    def answer(model: nn.Module, xs: Tensor, ys: Tensor, *, hidden: bool = False) -> Tensor:
        said = model.body(inputs_embeds=model.embedded(xs, ys), output_hidden_states=hidden)
        return model.read_out(said.last_hidden_state)[:, ::2, 0]

    def keep(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return answer(model, xs, ys, hidden=True)

    body = GPT2Model(
        GPT2Config(
            vocab_size=1, n_positions=config.n_ctx, n_embd=config.d_model, n_layer=config.n_layers,
            n_head=config.n_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    return {f"GPT2Model {version('transformers')}": Side(_Ends(body, config, positions=False), answer, keep, None)}


def transformer_lens(config: ModelConfig, names: Callable[[str], bool]) -> dict[str, Side]:
    """HookedTransformer on 3.9 and the native TransformerBridge on 4.x, entered at the residual stream.

    Args:
        config: Configuration of the network.
        names: Accepts the hook points to keep.

    Returns:
        Sides by name.
    """
    fields = {
        "d_model": config.d_model, "d_head": config.head_width, "n_heads": config.n_heads,
        "n_layers": config.n_layers, "n_ctx": config.n_ctx, "d_mlp": config.mlp_width, "d_vocab": 1, "d_vocab_out": 1,
        "act_fn": config.act_fn, "normalization_type": "LN", "device": "cpu",
    }  # fmt: skip
    installed = version("transformer-lens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 3.9 says that 4.0 removed the class
        if int(installed.partition(".")[0]) < 4:
            from transformer_lens import HookedTransformer, HookedTransformerConfig

            name, body = f"HookedTransformer {installed}", HookedTransformer(HookedTransformerConfig(**fields))
        else:
            from transformer_lens.config import TransformerBridgeConfig
            from transformer_lens.model_bridge import TransformerBridge

            cfg = TransformerBridgeConfig(**{**fields, "dtype": torch.float32})
            name, body = f"TransformerBridge {installed}", TransformerBridge.boot_native(cfg, device="cpu")

    def answer(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model.body(model.embedded(xs, ys), start_at_layer=0, return_type="logits")[:, ::2, 0]

    def keep(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model.body.run_with_cache(model.embedded(xs, ys), start_at_layer=0, names_filter=names)[0]

    def cache(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
        return model.body.run_with_cache(model.embedded(xs, ys), start_at_layer=0)[0]

    return {name: Side(_Ends(body, config, positions=True), answer, keep, cache)}
