"""The gain or loss of options that change how a step is computed."""

from row import Row, at_least, best_of
from sizes import SIZES, config_of

from icl_interp.training.loop import Trainer

OPTIONS = {"bfloat16": {"precision": "bfloat16"}, "torch.compile": {"compile": True}}


def option_rows(repeats: int) -> list[Row]:
    """Compare steps a second with bfloat16 and with torch.compile with those without.

    Returns:
        A row for each size and option.
    """
    rows = []
    for name in ("tiny", "small"):
        for option, change in OPTIONS.items():
            plain, other = Trainer(config_of(SIZES[name])), Trainer(config_of(SIZES[name], **change))
            calls = 10 if name == "tiny" else 2
            with_option, without = best_of([other.advance, plain.advance], calls=calls, repeats=repeats)
            rows.append(at_least(f"steps/s with {option}, {name}", 1 / with_option, 1 / without, without / with_option))
    return rows
