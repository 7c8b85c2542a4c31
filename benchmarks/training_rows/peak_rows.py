"""What a step costs beside the floating-point operations that it needs."""

import torch
from row import Row, at_least, best_of
from sizes import BATCH, SIZES, Shape, config_of

from icl_interp.training.loop import Trainer

WANTED_PEAK = 0.65


def _flops(shape: Shape, positions: int) -> float:
    # Count multiplications and additions of a step in matrix products, backward at twice forward.
    n_dims, _, n_layers, _, d_model = shape
    tokens = BATCH * positions
    layer = 2 * tokens * 12 * d_model**2 + 2 * 2 * tokens * positions * d_model
    return 3 * (n_layers * layer + 2 * tokens * d_model * (n_dims + 1))


def _matmul_peak(shape: Shape, positions: int, repeats: int) -> float:
    # Measure products of the layer's own shapes, forward and backward; operations a second.
    d_model, tokens = shape[4], BATCH * positions
    x, wide = torch.randn(tokens, d_model), torch.randn(tokens, 4 * d_model)
    weight = torch.randn(d_model, 4 * d_model)
    products = [lambda: x @ weight, lambda: wide @ weight.T, lambda: x.T @ wide]
    seconds = sum(best_of([product], calls=10, repeats=repeats)[0] for product in products)
    return 3 * 2 * tokens * d_model * 4 * d_model / seconds


def peak_row(name: str, repeats: int) -> Row:
    """Say how much of the measured matmul peak a step reaches.

    Returns:
        One row; for the tiny size nothing is wanted.
    """
    shape = SIZES[name]
    trainer = Trainer(config_of(shape))
    (ours,) = best_of([trainer.advance], calls=10 if name == "tiny" else 1, repeats=repeats)
    reached, peak = _flops(shape, 2 * shape[1]) / ours, _matmul_peak(shape, 2 * shape[1], repeats)
    wanted = WANTED_PEAK if name != "tiny" else 0.0
    return at_least(f"GFLOP/s of matmul peak, {name}", reached / 1e9, peak / 1e9, reached / peak, wanted)


def growth_rows(repeats: int) -> list[Row]:
    """Double points, width and depth of the small size.

    Returns:
        Three rows: growth of cost (ours) beside growth of operations (other).
    """
    base = (20, 21, 3, 4, 64)
    changed = {"points": (20, 42, 3, 4, 64), "width": (20, 21, 3, 4, 128), "depth": (20, 21, 6, 4, 64)}
    trainers = {name: Trainer(config_of(shape)).advance for name, shape in {"base": base, **changed}.items()}
    seconds = dict(zip(trainers, best_of(list(trainers.values()), calls=5, repeats=repeats), strict=True))
    rows = []
    for name, shape in changed.items():
        cost = seconds[name] / seconds["base"]
        operations = _flops(shape, 2 * shape[1]) / _flops(base, 2 * base[1])
        rows.append(at_least(f"cost and operations at twice the {name}", cost, operations, cost / operations))
    return rows
