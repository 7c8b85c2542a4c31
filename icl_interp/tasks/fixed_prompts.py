"""Saved prompts in place of a task, and the choice of samples that are fitted and scored."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import PrivateAttr
from torch import Tensor

from icl_interp.arrays import as_tensor, keeps_order, stored_arrays
from icl_interp.errors import InputError, InputTypeError
from icl_interp.prompts import Prompts, stream
from icl_interp.tasks.base import Task, check_counts
from probes._core.results import short_repr

REFERENCE = "in distribution"
"""The family that is the reference; the first one where none has this name."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which samples of saved families are fitted, and which are scored."""

    fit: list[int]
    """Samples of the first family that are fitted."""
    scored: Mapping[str, list[int]]
    """Scored samples of each family, equally many; sample i of one is compared with sample i of another."""

    __repr__ = short_repr


def most_scored(sizes: Mapping[str, int]) -> int:
    """Say how many samples can be scored of each family, with as many of the first one to fit."""
    first, *others = sizes.values()
    return min([first // 2, *(size for size in others if size != first)])


def split_rows(sizes: Mapping[str, int], n_scored: int, n_fit: int, *, seed: int) -> Split:
    """Choose samples of saved families, the reference first.

    Families as large as the reference count as the same prompts, changed: where sample i of the reference is scored, so
    is sample i there, and what was fitted is scored nowhere. Of the others the first samples are taken. Samples that
    are no pairs lose nothing by being treated as pairs.
    """
    label, *_ = sizes
    order = torch.randperm(sizes[label], generator=stream(seed, "saved samples")).tolist()
    scored = sorted(order[n_fit : n_fit + n_scored])
    return Split(
        fit=sorted(order[:n_fit]),
        scored={name: scored if size == sizes[label] else list(range(n_scored)) for name, size in sizes.items()},
    )


def reference_of(families: Mapping[str, Any]) -> str:
    """Name the family that is the reference."""
    return REFERENCE if REFERENCE in families else str(next(iter(families)))


def renamed(families: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """Put the reference first, where it is there, under the name that it has everywhere."""
    found = {REFERENCE if str(label) == reference else str(label): value for label, value in families.items()}
    return {**({REFERENCE: found[REFERENCE]} if REFERENCE in found else {}), **found}


def check_order(path: str | Path, families: Sequence[str]) -> None:
    """Refuse a file that does not say which family is the reference."""
    if len(families) > 1 and REFERENCE not in families and not keeps_order(path):
        raise InputError(
            f"a file that keeps no order of its arrays needs a family named {REFERENCE!r}, got {', '.join(families)}: "
            f"{path}; rename one."
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Saved:
    # Compared by the digest, which is a field of the task.
    families: Mapping[str, Prompts]
    named: str
    origin: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Saved)


class FixedPrompts(Task):
    """Saved prompts in place of a task, with families by name instead of shifts.

    Goes wherever a task goes: `study`, `ood_report`, `linear_probes`, `error_curves`, ... `sample` returns prompts of
    the reference family, chosen at random by the seed, each at most once. The reference predictors are those that work
    for any prompts (least squares, ridge, gradient descent, ...). What needs the distribution is left out: Bayes, the
    targets that are weights, shifts that draw new prompts, agreement at fresh queries. Checkpoints cannot hold saved
    prompts.

    Args:
        prompts: `(xs, ys)` or `Prompts` by the name of the family: xs [prompt point dim], ys [prompt point], arrays of
            any framework; or an .npz or .safetensors file with arrays named `NAME.xs` and `NAME.ys`. "in distribution"
            is the reference, or the first one where none has this name. Families with as many prompts as the reference
            count as the same prompts, changed, one by one.
        n_points: Number of examples per prompt if `sample` gets none; None takes all that were saved.

    Raises:
        InputTypeError: If there is something else than a mapping or a path, or arrays do not hold real numbers.
        InputError: If there is no family, shapes do not fit, or numbers are not finite.

    Example:
        >>> xs = torch.randn(40, 6, 2, generator=torch.Generator().manual_seed(0))
        >>> ys = xs[..., 0] - xs[..., 1]
        >>> mine = FixedPrompts({"in distribution": (xs, ys), "larger": (3 * xs, 3 * ys)})
        >>> mine.sample(8, seed=0)
        Prompts(8 prompts x 6 points x 2 dims, saved prompts, seed 0)
    """

    family: Literal["fixed_prompts"] = "fixed_prompts"
    digest: str
    """Digest of all prompts and names."""
    _saved: _Saved = PrivateAttr()

    def __init__(self, prompts: Mapping[str, Any] | str | os.PathLike[str], *, n_points: int | None = None) -> None:
        saved = _read(prompts)
        first = next(iter(saved.families.values()))
        super().__init__(n_dims=first.n_dims, n_points=n_points, digest=_digest(saved.families))
        self._saved = saved
        if n_points is not None and n_points > first.n_points:
            raise InputError(
                f"FixedPrompts has prompts of {first.n_points} points, got n_points={n_points}; ask for fewer."
            )

    @property
    def families(self) -> Mapping[str, Prompts]:
        """All prompts by family, "in distribution" first."""
        return self._saved.families

    @property
    def n_saved(self) -> int:
        """Number of prompts in distribution."""
        return len(self._first)

    @property
    def most_prompts(self) -> int:
        """Largest number of prompts per family that can be scored, with as many to fit."""
        return most_scored(self._sizes)

    @property
    def default_points(self) -> int:
        """Number of examples per prompt if `sample` gets none: all that were saved."""
        return self.n_points if self.n_points is not None else self._first.n_points

    @property
    def _first(self) -> Prompts:
        return next(iter(self.families.values()))

    @property
    def _sizes(self) -> dict[str, int]:
        return {label: len(prompts) for label, prompts in self.families.items()}

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Return prompts of the reference family, chosen at random by the seed, none twice.

        Args:
            n_prompts: Number of prompts, at most all that were saved.
            n_points: Number of examples to take from the start of each; None takes `default_points`.
            seed: The only source of randomness.

        Returns:
            float32 prompts on the CPU.

        Raises:
            InputError: If a count is below 1, or more than was saved.
        """
        n_points = self.default_points if n_points is None else n_points
        check_counts(n_prompts, n_points)
        self._check_asked(n_prompts, n_points)
        order = torch.randperm(len(self._first), generator=stream(seed, "saved samples"))[:n_prompts].tolist()
        return self._take(REFERENCE, order, n_points, seed)

    def draw(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> tuple[Prompts, dict[str, Prompts]]:
        """Return prompts to fit, and others to score: `n_prompts` of each family.

        Args:
            n_prompts: Number of prompts to fit, and to score of each family.
            n_points: Number of examples to take from the start of each prompt of the reference's length; None takes
                `default_points`.
            seed: The only source of randomness.

        Returns:
            Prompts to fit, and by family prompts to score.

        Raises:
            InputError: If there are not as many.
        """
        n_points = self.default_points if n_points is None else n_points
        check_counts(n_prompts, n_points)
        self._check_asked(1, n_points)
        sizes = self._sizes
        if n_prompts > (most := most_scored(sizes)):
            had = ", ".join(f"{size} of {label!r}" for label, size in list(sizes.items())[:4])
            raise InputError(
                f"FixedPrompts has {had}, of which {most} can be scored with as many in distribution to fit, got "
                f"{n_prompts}; ask for at most {most} (n_prompts=, --prompts), or save more."
            )
        split = split_rows(sizes, n_prompts, n_prompts, seed=seed)
        usual = self._first.n_points
        return self._take(REFERENCE, split.fit, n_points, seed), {
            label: self._take(label, rows, n_points if self.families[label].n_points == usual else None, seed)
            for label, rows in split.scored.items()
        }

    def _take(self, label: str, rows: Sequence[int], n_points: int | None, seed: int) -> Prompts:
        saved = self.families[label]
        where = "saved prompts" if label == REFERENCE else f"saved prompts {label!r}"
        points = slice(n_points)
        return Prompts(xs=saved.xs[rows][:, points], ys=saved.ys[rows][:, points], source=f"{where}, seed {seed}")

    def _check_asked(self, n_prompts: int, n_points: int) -> None:
        first = self._first
        if n_prompts > len(first) or n_points > first.n_points:
            raise InputError(
                f"FixedPrompts has {len(first)} prompts of {first.n_points} points in distribution, got {n_prompts} of "
                f"{n_points} asked for; ask for fewer (n_prompts=, n_points=), or save more."
            )

    def label_second_moment(self) -> float:
        """Give the mean of y^2 over the saved prompts in distribution, in squared units of y."""
        return self.second_moment_of(REFERENCE)

    def second_moment_of(self, label: str) -> float:
        """Give the mean of y^2 over the saved prompts of a family.

        Args:
            label: Name of the family.

        Returns:
            In squared units of y.
        """
        return float(self.families[label].ys.double().square().mean())

    def mean_label(self) -> float:
        """Give the mean of y over the saved prompts in distribution, in units of y.

        Returns:
            The best prediction of a label without any example.
        """
        return float(self._first.ys.double().mean())

    def describe(self) -> str:
        """Describe the prompts in one clause."""
        first, others = self._first, len(self.families) - 1
        more = "" if not others else f" and {others} other famil{'y' if others == 1 else 'ies'}"
        named = "" if self._saved.named == REFERENCE else f" ({self._saved.named!r})"
        return f"{len(first)} prompts of {first.n_points} points{named}{more}, saved in {self._saved.origin}"


def _read(given: object) -> _Saved:
    origin = "arrays"
    if isinstance(given, str | os.PathLike):
        origin, given = Path(given).name, _of_file(Path(given))
    if not isinstance(given, Mapping):
        raise InputTypeError(
            f"FixedPrompts needs (xs, ys) by the name of the family, or a file, got {type(given).__name__}; write "
            "FixedPrompts({'in distribution': (xs, ys)})."
        )
    if not given:
        raise InputError("FixedPrompts needs at least one family, got none; give prompts in distribution.")
    named = reference_of(given)
    families = {label: _prompts(label, pair) for label, pair in renamed(given, named).items()}
    widths = {label: prompts.n_dims for label, prompts in families.items()}
    if len(set(widths.values())) > 1:
        raise InputError(f"FixedPrompts needs inputs of one width, got {widths}; leave the others out.")
    return _Saved(families, named, origin)


def _prompts(label: str, pair: Any) -> Prompts:
    if isinstance(pair, Prompts):
        pair = pair.xs, pair.ys
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputTypeError(
            f"FixedPrompts needs (xs, ys) of {label!r}, got {type(pair).__name__}; give the inputs and the labels."
        )
    xs, ys = (as_tensor(part, what=f"{name} of {label!r}") for name, part in zip(("xs", "ys"), pair, strict=True))
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape or not xs.numel():
        raise InputError(
            f"FixedPrompts needs xs [prompt point dim] and ys [prompt point] of {label!r}, got shapes {list(xs.shape)} "
            f"and {list(ys.shape)}."
        )
    for name, part in (("xs", xs), ("ys", ys)):
        if not bool(part.isfinite().all()):
            raise InputError(
                f"FixedPrompts needs finite numbers, got NaN or inf in {name} of {label!r}; leave those prompts out."
            )
    return Prompts(xs=_own(xs), ys=_own(ys))


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().float().clone()


def holds_prompts(path: Path) -> bool:
    """Tell whether a file holds saved prompts, by the names of its arrays."""
    with suppress(InputError):
        return bool(_pairs(stored_arrays(path) or {}))
    return False


def _pairs(arrays: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    # Nothing unless all arrays are inputs and labels.
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        label, _, part = name.rpartition(".")
        parts.setdefault(label, {})[part] = array
    if any(not label or set(found) != {"xs", "ys"} for label, found in parts.items()):
        return {}
    return {label: (found["xs"], found["ys"]) for label, found in parts.items()}


def _of_file(path: Path) -> dict[str, tuple[Any, Any]]:
    arrays = stored_arrays(path)
    pairs = _pairs(arrays or {})
    if not pairs:
        named = ", ".join(list(arrays or ())[:6]) or "(none)"
        came = "a file of another kind" if arrays is None else f"arrays named {named}"
        raise InputError(
            f"FixedPrompts needs an .npz or .safetensors file with arrays NAME.xs and NAME.ys, got {came}: {path}."
        )
    check_order(path, list(pairs))
    return pairs


def _digest(families: Mapping[str, Prompts]) -> str:
    found = hashlib.sha256()
    for label, prompts in sorted(families.items()):  # .safetensors files keep no order
        found.update(f"{label}:{tuple(prompts.xs.shape)}".encode())
        found.update(prompts.xs.contiguous().numpy().tobytes())
        found.update(prompts.ys.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
