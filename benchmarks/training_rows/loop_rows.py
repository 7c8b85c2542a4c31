"""Our loop against the published one and against TransformerLens' class under the plain loop around it."""

from collections.abc import Iterator

from model_rivals import Side, transformer_lens
from published_loop import published_step
from row import Row, at_least, best_of
from sizes import BATCH, CALLS, SIZES, config_of

from icl_interp.training.batches import draw_batch
from icl_interp.training.loop import Trainer

WANTED = {"tiny": 1.45, "small": 1.15, "standard": 1.15}
LARGEST_DATA_SHARE = 0.05


def published_rows(name: str, repeats: int) -> list[Row]:
    """Compare steps per second, and measure what drawing the data costs.

    Returns:
        Two rows.
    """
    shape = SIZES[name]
    trainer = Trainer(config_of(shape))
    ours, published = best_of([trainer.advance, published_step(shape, BATCH)], calls=CALLS[name], repeats=repeats)
    (data,) = best_of([lambda: draw_batch(trainer.config, 7)], calls=50, repeats=repeats)
    share, ratio = data / ours, published / ours
    return [
        at_least(f"steps/s, {name}, published loop", 1 / ours, 1 / published, ratio, WANTED[name]),
        Row(f"data share of a step, {name}", data, ours, share, LARGEST_DATA_SHARE, share < LARGEST_DATA_SHARE),
    ]


def lens_rows(name: str, repeats: int) -> list[Row]:
    """Compare with TransformerLens' class: Adam, the loss read at every step.

    Returns:
        A row for each class that is installed.
    """
    config = config_of(SIZES[name])
    trainer = Trainer(config)
    rows = []
    for rival, side in transformer_lens(config.model, lambda _: False).items():
        prompts = iter(range(1, 10**6))

        def step(side: Side = side, prompts: Iterator[int] = prompts) -> float:
            batch = draw_batch(config, next(prompts))
            return side.train(batch.xs, batch.ys).item()

        ours, theirs = best_of([trainer.advance, step], calls=CALLS[name], repeats=repeats)
        rows.append(at_least(f"steps/s, {name}, {rival}", 1 / ours, 1 / theirs, theirs / ours, 1.0))
    return rows
