"""Training against the loop that people would write, one thread, ratios from one run.

Run `python benchmarks/training.py`; it prints one table, writes nothing unless `--json FILE` is given, and exits with 1
if a wanted ratio is missed. `--sizes tiny --parts published --repeats 3` makes it shorter. Both sides of a ratio take
turns and the best processor time of each counts, so that other work on the machine counts little.

The loop of comparison is written after dtsip/in-context-learning as published: a GPT-2 of Hugging Face between two
linear maps, torch's Adam with its defaults, prompts drawn on the fly, the loss read at every step.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The script probes.py beside this one is called like a package, so this folder must not be searched.
sys.path.remove(str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "rivals"))

import joblib
import torch
from model_rivals import Side, transformer_lens
from torch import Tensor, nn

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.batches import draw_batch
from icl_interp.training.loop import Trainer

BATCH = 64
SIZES = {"tiny": (5, 11, 3, 2, 64), "small": (20, 41, 6, 4, 128), "standard": (20, 41, 12, 8, 256)}
"""n_dims, points, layers, heads, width."""
WANTED = {"tiny": 1.45, "small": 1.15, "standard": 1.15}
WANTED_MANY, WANTED_PEAK, LARGEST_DATA_SHARE = 4.0, 0.65, 0.05
MEMBERS = 16
PARTS = ("published", "lens", "peak", "linear", "many", "options")


@dataclass(frozen=True)
class Row:
    """One number, with the least (or, for data, the most) that is wanted; 0 where nothing is."""

    name: str
    ours: float
    other: float
    ratio: float
    wanted: float
    reached: bool


def _row(name: str, ours: float, other: float, ratio: float, wanted: float = 0.0) -> Row:
    # A row whose ratio should be at least what is wanted.
    return Row(name, ours, other, ratio, wanted, ratio >= wanted)


class _PublishedModel(nn.Module):
    # What the published loop trains.

    def __init__(self, n_dims: int, n_points: int, n_layers: int, n_heads: int, d_model: int) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model  # seconds, which --help need not take

        self.backbone = GPT2Model(
            GPT2Config(
                n_positions=2 * n_points, n_embd=d_model, n_layer=n_layers, n_head=n_heads, resid_pdrop=0.0,
                embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
            )
        )  # fmt: skip
        self.read_in, self.read_out = nn.Linear(n_dims, d_model), nn.Linear(d_model, 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        batch, points, dims = xs.shape
        wide = torch.cat([ys[..., None], torch.zeros(batch, points, dims - 1)], dim=2)
        tokens = torch.stack([xs, wide], dim=2).reshape(batch, 2 * points, dims)
        return self.read_out(self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state)[:, ::2, 0]


def _published_step(sizes: tuple[int, ...]) -> Callable[[], object]:
    # Make a function that takes one step of the published loop.
    model = _PublishedModel(*sizes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    n_dims, n_points = sizes[:2]

    def step() -> float:
        xs, w = torch.randn(BATCH, n_points, n_dims), torch.randn(BATCH, n_dims, 1)
        ys = (xs @ w)[:, :, 0]
        optimizer.zero_grad()
        loss = (ys - model(xs, ys)).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach().item()

    return step


def _our_config(sizes: tuple[int, ...], **changes: object) -> TrainConfig:
    # Make the config of the same run.
    n_dims, n_points, n_layers, n_heads, d_model = sizes
    model = ModelConfig(n_dims=n_dims, n_points=n_points, n_layers=n_layers, n_heads=n_heads, d_model=d_model)
    task = LinearRegression(n_dims, n_points=n_points)
    return TrainConfig(**{"model": model, "task": task, "steps": 10_000, "lr": 1e-4, "batch_size": BATCH, **changes})


def _best_of(sides: list[Callable[[], object]], *, calls: int, repeats: int) -> list[float]:
    # Time sides in turn; seconds of processor time a call, the best of the repeats.
    best = [float("inf")] * len(sides)
    for side in sides:
        side()
    for _ in range(repeats):
        for number, side in enumerate(sides):
            start = time.process_time()
            for _ in range(calls):
                side()
            best[number] = min(best[number], (time.process_time() - start) / calls)
    return best


def _against_published(name: str, repeats: int) -> list[Row]:
    # Compare steps a second, and say what drawing the data costs.
    sizes = SIZES[name]
    trainer, calls = Trainer(_our_config(sizes)), {"tiny": 20, "small": 3, "standard": 1}[name]
    ours, published = _best_of([trainer.advance, _published_step(sizes)], calls=calls, repeats=repeats)
    (data,) = _best_of([lambda: draw_batch(trainer.config, 7)], calls=50, repeats=repeats)
    share, ratio = data / ours, published / ours
    return [
        _row(f"steps/s, {name}, published loop", 1 / ours, 1 / published, ratio, WANTED[name]),
        Row(f"data share of a step, {name}", data, ours, share, LARGEST_DATA_SHARE, share < LARGEST_DATA_SHARE),
    ]


def _against_transformer_lens(name: str, repeats: int) -> list[Row]:
    # Compare with TransformerLens' class under the plain loop around it: Adam, the loss read at every step.
    config = _our_config(SIZES[name])
    trainer, calls = Trainer(config), {"tiny": 20, "small": 3, "standard": 1}[name]
    rows = []
    for rival, side in transformer_lens(config.model, lambda _: False).items():
        prompts = iter(range(1, 10**6))

        def step(side: Side = side, prompts: Iterator[int] = prompts) -> float:
            batch = draw_batch(config, next(prompts))
            return side.train(batch.xs, batch.ys).item()

        ours, theirs = _best_of([trainer.advance, step], calls=calls, repeats=repeats)
        rows.append(_row(f"steps/s, {name}, {rival}", 1 / ours, 1 / theirs, theirs / ours, 1.0))
    return rows


def _flops(sizes: tuple[int, ...], positions: int) -> float:
    # Count multiplications and additions of a step in matrix products, backward at twice forward.
    n_dims, _, n_layers, _, d_model = sizes
    tokens = BATCH * positions
    layer = 2 * tokens * 12 * d_model**2 + 2 * 2 * tokens * positions * d_model
    return 3 * (n_layers * layer + 2 * tokens * d_model * (n_dims + 1))


def _matmul_peak(sizes: tuple[int, ...], positions: int, repeats: int) -> float:
    # Measure products of the layer's own shapes, forward and backward; operations a second.
    d_model, tokens = sizes[4], BATCH * positions
    x, wide = torch.randn(tokens, d_model), torch.randn(tokens, 4 * d_model)
    weight = torch.randn(d_model, 4 * d_model)
    products = [lambda: x @ weight, lambda: wide @ weight.T, lambda: x.T @ wide]
    seconds = sum(_best_of([product], calls=10, repeats=repeats)[0] for product in products)
    return 3 * 2 * tokens * d_model * 4 * d_model / seconds


def _against_peak(name: str, repeats: int) -> Row:
    # Say how much of the measured matmul peak a step reaches.
    sizes = SIZES[name]
    trainer = Trainer(_our_config(sizes))
    (ours,) = _best_of([trainer.advance], calls=10 if name == "tiny" else 1, repeats=repeats)
    reached, peak = _flops(sizes, 2 * sizes[1]) / ours, _matmul_peak(sizes, 2 * sizes[1], repeats)
    wanted = WANTED_PEAK if name != "tiny" else 0.0
    return _row(f"GFLOP/s of matmul peak, {name}", reached / 1e9, peak / 1e9, reached / peak, wanted)


def _growth(repeats: int) -> list[Row]:
    # Double points, width and depth of the small size: growth of cost (ours) beside growth of operations (other).
    base = (20, 21, 3, 4, 64)
    changed = {"points": (20, 42, 3, 4, 64), "width": (20, 21, 3, 4, 128), "depth": (20, 21, 6, 4, 64)}
    trainers = {name: Trainer(_our_config(sizes)).advance for name, sizes in {"base": base, **changed}.items()}
    seconds = dict(zip(trainers, _best_of(list(trainers.values()), calls=5, repeats=repeats), strict=True))
    rows = []
    for name, sizes in changed.items():
        cost = seconds[name] / seconds["base"]
        operations = _flops(sizes, 2 * sizes[1]) / _flops(base, 2 * base[1])
        rows.append(_row(f"cost and operations at twice the {name}", cost, operations, cost / operations))
    return rows


def _members(model: ModelConfig, batch_size: int, steps: int, **changes: object) -> list[TrainConfig]:
    # Make the configs of an ensemble: one shape, sixteen seeds.
    task = LinearRegression(model.n_dims, w_mean=1.0, n_points=model.n_points)
    common = {"model": model, "task": task, "steps": steps, "batch_size": batch_size, **changes}
    return [TrainConfig(**common, seed=seed) for seed in range(MEMBERS)]


def _many_at_once(name: str, configs: list[TrainConfig], repeats: int, wanted: float = 0.0) -> Row:
    # Compare one batched ensemble with its members one after the other.
    from icl_interp import train_many  # seconds, which --help need not take

    def apart() -> None:
        for config in configs:
            trainer = Trainer(config)
            for _ in range(config.steps):
                trainer.advance()

    together, alone = _best_of([lambda: train_many(configs), apart], calls=1, repeats=repeats)
    made = sum(config.steps for config in configs)
    return _row(f"train_many of {MEMBERS}, {name}", made / together, made / alone, alone / together, wanted)


def _many_linear(repeats: int) -> Iterator[Row]:
    # The families that are small enough for calls to cost more than products do, at the recipe's batch.
    for family in ("lsa", "ltb"):
        model = ModelConfig(family=family, n_dims=5, n_points=6)
        yield _many_at_once(f"{family}, d=5, batch 128", _members(model, 128, 30), repeats, WANTED_MANY)


def _many_transformers(repeats: int) -> Iterator[Row]:
    # Batching over models beside two processes, whose gain is wall time alone and at most the number of free cores.
    for width, batch_size in ((8, 16), (16, 64), (64, 64)):
        model = ModelConfig(n_dims=5, n_points=11, n_layers=2, n_heads=2, d_model=width)
        configs = _members(model, batch_size, 20)
        shape = f"2 layers, width {width}, batch {batch_size}"
        batched = _many_at_once(f"{shape}", configs, repeats)
        yield batched
        with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
            run = [joblib.delayed(_steps_alone)(config) for config in configs]
            parallel(run[:2])  # both processes import everything first
            two = min(_wall(partial(parallel, run)) for _ in range(repeats))
            one = min(_wall(partial(_all, configs)) for _ in range(repeats))
        made = sum(config.steps for config in configs)
        yield _row(f"two processes, {shape}", made / two, made / one, one / two)
        faster = "batching" if batched.ratio > one / two else "two processes"
        yield _row(f"  faster there: {faster}", batched.ratio, one / two, max(batched.ratio, one / two))


def _steps_alone(config: TrainConfig) -> None:
    torch.set_num_threads(1)
    trainer = Trainer(config)
    for _ in range(config.steps):
        trainer.advance()


def _all(configs: list[TrainConfig]) -> None:
    for config in configs:
        _steps_alone(config)


def _wall(call: Callable[[], object]) -> float:
    # Processes have processor times of their own: here the clock on the wall counts.
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _options(repeats: int) -> list[Row]:
    # Measure the gain or loss of bfloat16 and of torch.compile.
    rows = []
    for name in ("tiny", "small"):
        changes = {"bfloat16": {"precision": "bfloat16"}, "torch.compile": {"compile": True}}
        for option, change in changes.items():
            plain, other = Trainer(_our_config(SIZES[name])), Trainer(_our_config(SIZES[name], **change))
            calls = 10 if name == "tiny" else 2
            with_option, without = _best_of([other.advance, plain.advance], calls=calls, repeats=repeats)
            rows.append(_row(f"steps/s with {option}, {name}", 1 / with_option, 1 / without, without / with_option))
    return rows


def _rows(parts: list[str], names: list[str], repeats: int) -> Iterator[Row]:
    # Measure one after the other.
    if "published" in parts:
        for name in names:
            yield from _against_published(name, repeats)
    if "peak" in parts:
        for name in names:
            yield _against_peak(name, repeats)
        yield from _growth(repeats)
    if "lens" in parts:
        for name in names:
            yield from _against_transformer_lens(name, repeats)
    if "linear" in parts:
        yield from _many_linear(repeats)
    if "many" in parts:
        yield from _many_transformers(repeats)
    if "options" in parts:
        yield from _options(repeats)


def main() -> int:
    """Run everything and print one table.

    Returns:
        1 if a wanted ratio was missed, else 0.
    """
    parser = argparse.ArgumentParser(description="Training against the loop that people would write.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:5], help="options takes minutes to compile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':54} {'ours':>9} {'other':>9} {'ratio':>7} {'wanted':>7}")
    rows = []
    for row in _rows(arguments.parts, arguments.sizes, arguments.repeats):
        rows.append(row)
        mark = "" if row.reached else "  missed"
        print(
            f"{row.name:54} {row.ours:9.4g} {row.other:9.4g} {row.ratio:7.3f} {row.wanted or '':>7}{mark}", flush=True
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
