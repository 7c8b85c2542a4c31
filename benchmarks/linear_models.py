"""Linear models with hooks against the same networks without hook points, and all points at once against one by one.

Run `python benchmarks/linear_models.py`; it prints one table and writes nothing unless `--json FILE` is given, and
fails if a wanted ratio is missed. Ratios come from one run on one thread and from processor time, the best of many
repetitions of both sides in turn, so that other work on the machine counts little.

"plain" is the same network written down by hand without hook points: einsum over heads, keys^T values in every layer,
every token updated. "kept" keeps the residual stream after each block, which plain puts into a list; where hooks go on
and off with every pass (`run_with_cache`), TransformerLens' bookkeeping comes on top, a constant that only tiny
networks feel.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))

import torch
from torch import Tensor, nn

from icl_interp import ModelConfig, build_model

if TYPE_CHECKING:  # it takes seconds, which --help need not
    from icl_interp.models.hooked import HookedModel


@dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds of processor time."""

    name: str
    ours_ms: float
    other_ms: float
    ratio: float
    wanted_ratio: float
    difference: float


class Plain(nn.Module):
    """A linear network or a merged softmax layer without hook points, on the weights of one of ours."""

    def __init__(self, model: "HookedModel") -> None:
        super().__init__()
        self.weights = nn.ParameterDict({k.replace(".", "_"): v.clone() for k, v in model.named_parameters()})
        self.config = model.cfg

    def forward(self, xs: Tensor, ys: Tensor, kept: list[Tensor] | None = None) -> Tensor:
        """Answer the last point.

        Args:
            xs: Inputs.
            ys: Labels.
            kept: Gets the tokens after each layer.

        Returns:
            One number per prompt.
        """
        labels = torch.cat([ys[:, :-1], torch.zeros_like(ys[:, -1:])], dim=1)
        tokens = torch.cat([xs, labels[..., None]], dim=2)
        for layer in range(self.config.n_layers):
            tokens = self._layer(tokens, f"blocks_{0 if self.config.share_layers else layer}_")
            if kept is not None:
                kept.append(tokens)
        return tokens[:, -1, -1]

    def _layer(self, tokens: Tensor, at: str) -> Tensor:
        w, context = self.weights, tokens[:, :-1]
        if self.config.family == "softmax_layer":
            scores = tokens[..., :-1] @ w[at + "attn_W_KQ"].mT @ context[..., :-1].mT
            written = scores.softmax(-1) @ context[..., -1:]
            return torch.cat([torch.zeros_like(tokens[..., :-1]), written], dim=2)
        q = torch.einsum("bpm,hmc->bhpc", tokens, w[at + "attn_W_Q"])
        k = torch.einsum("bpm,hmc->bhpc", context, w[at + "attn_W_K"])
        v = torch.einsum("bpm,hmc->bhpc", context, w[at + "attn_W_V"])
        z = q @ (k.mT @ v / context.shape[1])
        tokens = tokens + torch.einsum("bhpc,hcm->bpm", z, w[at + "attn_W_O"])
        return tokens if self.config.attn_only else tokens @ w[at + "mlp_W_in"] @ w[at + "mlp_W_out"]


def _compare(
    name: str, ours: Callable[[], Tensor], other: Callable[[], Tensor], wanted_ratio: float, repeats: int
) -> Row:
    best = {ours: float("inf"), other: float("inf")}
    answers = {}
    for _ in range(repeats):
        for side in best:
            start = time.process_time()
            answers[side] = side()
            best[side] = min(best[side], time.process_time() - start)
    difference = float((answers[ours] - answers[other]).abs().max() / (1 + answers[other].abs().max()))
    return Row(name, 1e3 * best[ours], 1e3 * best[other], best[ours] / best[other], wanted_ratio, difference)


def _keep(model: "HookedModel", kept: list[Tensor]) -> None:
    for name in model.hook_dict:
        if name.endswith("hook_resid_post"):
            model.add_hook(name, lambda tensor, hook: kept.append(tensor))  # noqa: ARG005


def _step(model: nn.Module, answer: Callable[[], Tensor], target: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss = (answer() - target).square().mean()
    loss.backward()
    return loss.detach()


def _rows_of(name: str, config: ModelConfig, batch: int, n_points: int, repeats: int) -> list[Row]:
    model = build_model(config, seed=0)
    plain = Plain(model)
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(batch, n_points, config.n_dims, generator=generator)
    ys = torch.randn(batch, n_points, generator=generator)

    def one_by_one() -> Tensor:
        return torch.stack([plain(xs[:, : k + 1], ys[:, : k + 1]) for k in range(1, n_points)], dim=1)

    kept: list[Tensor] = []
    listened = build_model(config, seed=0)
    _keep(listened, kept)
    posts = [name for name in model.hook_dict if name.endswith("hook_resid_post")]
    at_once = 0.5 if config.n_layers == 1 else 1.0

    def hooked() -> Tensor:
        kept.clear()
        return listened(xs, ys)[:, 0]

    def on_and_off() -> Tensor:
        return model.run_with_cache(xs, ys, names_filter=posts)[0][:, 0]

    def last() -> Tensor:
        return model(xs, ys, points=[-1])[:, 0]

    with torch.no_grad():
        rows = [
            _compare(f"{name}: last point", last, lambda: plain(xs, ys), 1.1, repeats),
            _compare(f"{name}: kept", hooked, lambda: plain(xs, ys, []), 1.1, repeats),
            _compare(f"{name}: kept, hooks on and off", on_and_off, lambda: plain(xs, ys, []), 0, repeats),
            _compare(f"{name}: all points", lambda: model(xs, ys)[:, 1:], one_by_one, at_once, max(3, repeats // 10)),
        ]
    ours, other = lambda: _step(model, last, ys[:, -1]), lambda: _step(plain, lambda: plain(xs, ys), ys[:, -1])
    return [*rows, _compare(f"{name}: training step, no optimiser", ours, other, 1.1, repeats)]


def main() -> None:
    """Print the table, and write it as JSON where asked.

    Raises:
        SystemExit: If a wanted ratio is missed.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="repetitions; the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    von_oswald = {"n_dims": 10, "n_points": 11, "init_std": 0.1}
    settings = {
        "ltb, d = M = 5, batch 128": (ModelConfig(family="ltb", n_dims=5, n_points=6), 128, 6),
        "ltb, d = 20, M = 40, batch 256": (ModelConfig(family="ltb", n_dims=20, n_points=41, init_std=0.1), 256, 41),
        "lsa, d = M = 10, batch 2048": (ModelConfig(family="lsa", **von_oswald), 2048, 11),
        "lsa, 5 layers, batch 256": (ModelConfig(family="lsa", n_layers=5, **von_oswald), 256, 11),
        "softmax layer, d = 10, N = 200": (ModelConfig(family="softmax_layer", n_dims=10, n_points=201), 64, 201),
    }
    found = [row for name, setting in settings.items() for row in _rows_of(name, *setting, options.repeats)]
    print(f"{'':62}{'ours ms':>9}{'plain ms':>10}{'ratio':>7}{'wanted':>8}{'difference':>12}")
    for row in found:
        wanted = f"<= {row.wanted_ratio:g}" if row.wanted_ratio else "-"
        print(f"{row.name:62}{row.ours_ms:9.3f}{row.other_ms:10.3f}{row.ratio:7.2f}{wanted:>8}{row.difference:12.1e}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")
    missed = [row.name for row in found if row.wanted_ratio and row.ratio > row.wanted_ratio]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
