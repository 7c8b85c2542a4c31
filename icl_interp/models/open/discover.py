"""A dry run through somebody's module: which submodules ran, what they gave, and which of them are the blocks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from icl_interp.errors import InputError, InputTypeError
from icl_interp.prompts import Prompts
from probes._core.arrays import takes_arrays

if TYPE_CHECKING:
    ModuleLike = nn.Module
else:  # so that these functions say what is wrong, and no type checker before them
    ModuleLike = object

INPUT = ":input"
"""After the name of a submodule: what goes into it, instead of what comes out."""
Call = Callable[..., Any]


def plain_call(module: nn.Module, *given: Tensor) -> Any:
    """Call a module on inputs and labels, or on tokens."""
    return module(*given)


def first_tensor(value: Any) -> Tensor | None:
    """Take the first tensor out of what a submodule returned."""
    if isinstance(value, Tensor):
        return value
    return next((part for part in _parts(value).values() if isinstance(part, Tensor)), None)


def with_first_tensor(value: Any, tensor: Tensor) -> Any:
    """Put a tensor where `first_tensor` found one."""
    if isinstance(value, Tensor):
        return tensor
    name = next(name for name, part in _parts(value).items() if isinstance(part, Tensor))
    if isinstance(value, Mapping):  # Hugging Face's ModelOutput is one, and takes its entries by name only
        changed = {**value, name: tensor}
        return type(value)(**changed) if is_dataclass(value) else changed
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        return value._replace(**{name: tensor})
    if isinstance(value, tuple | list):
        return type(value)(tensor if i == name else part for i, part in enumerate(value))
    return replace(value, **{name: tensor})


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return {}


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of one submodule in one pass."""

    path: str
    """Path, as in `named_modules`."""
    kind: str
    """Its class."""
    run: int
    """Number of this run of the submodule in the pass, from 0."""
    n_before: int
    """Runs of any submodule that ended before this one did."""
    given: tuple[int, ...] | None
    """Shape of its first tensor input; None without one."""
    gave: tuple[int, ...] | None
    """Shape of its first tensor output; None without one."""
    is_leaf: bool
    """Whether it has no submodules."""


@contextmanager
def as_in_evaluation(module: nn.Module) -> Iterator[None]:
    """Switch dropout and batch statistics off, and leave every submodule in the mode in which it came."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def listening(pairs: Sequence[tuple[nn.Module, str, Callable[..., Any]]]) -> Iterator[None]:
    """Keep functions at the inputs or outputs of submodules for the length of a `with` block."""
    handles = []
    try:
        for part, end, function in pairs:
            if end == INPUT:
                handles.append(part.register_forward_pre_hook(function, with_kwargs=True))
            else:
                handles.append(part.register_forward_hook(function))
        yield
    finally:
        for handle in handles:
            handle.remove()


def original(module: nn.Module) -> nn.Module:
    """Take a module out of torch.compile, which calls no hooks."""
    return getattr(module, "_orig_mod", module)


def first_name(module: nn.Module, path: str) -> str:
    """Find the name by which `named_modules` lists a submodule that has several."""
    parts = dict(module.named_modules(remove_duplicate=False))
    return next(name for name, part in parts.items() if part is parts[path]) if path in parts else path


def dry_run(module: nn.Module, answer: Callable[[], Any]) -> tuple[list[Ran], Any]:
    """Run a module once and note every run of every submodule, in the order in which they ended."""
    found: list[Ran] = []
    counts: Counter[str] = Counter()
    inputs: dict[str, list[tuple[int, ...] | None]] = {}

    def note_input(path: str) -> Callable[..., None]:
        def note(_part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = first_tensor((*args, *kwargs.values()))
            inputs.setdefault(path, []).append(None if given is None else tuple(given.shape))

        return note

    def note_output(path: str) -> Callable[..., None]:
        def note(part: nn.Module, _args: Any, output: Any) -> None:
            gave = first_tensor(output)
            shape = None if gave is None else tuple(gave.shape)
            leaf = next(part.children(), None) is None
            given = inputs[path].pop() if inputs.get(path) else None
            found.append(Ran(path, type(part).__name__, counts[path], len(found), given, shape, leaf))
            counts[path] += 1

        return note

    pairs: list[tuple[nn.Module, str, Callable[..., Any]]] = []
    for path, part in module.named_modules():
        if path:
            pairs += [(part, INPUT, note_input(path)), (part, "", note_output(path))]
    with as_in_evaluation(module), torch.no_grad(), listening(pairs):
        said = answer()
    return found, said


def find_blocks(module: nn.Module, ran: Sequence[Ran], *, is_stream: Callable[[tuple[int, ...]], bool]) -> list[Ran]:
    """Find the runs of a network's blocks: of the longest stack of submodules of one class, side by side.

    Stacks that lie inside a member of another are parts of a block. Lists (ModuleList, Sequential) go before attributes
    side by side, and parts that have parts themselves before single layers. Without such a stack it is the only
    outermost submodule that has parts and whose output has the shape of its input. Our choice.
    """
    streams = [each for each in ran if each.gave is not None and is_stream(each.gave) and each.given == each.gave]
    stacks: dict[tuple[str, str], list[Ran]] = {}
    for each in streams:
        stacks.setdefault((each.path.rpartition(".")[0], each.kind), []).append(each)

    def is_list(stack: Sequence[Ran]) -> bool:
        parent = stack[0].path.rpartition(".")[0]
        return bool(parent) and isinstance(module.get_submodule(parent), nn.ModuleList | nn.Sequential | nn.ModuleDict)

    found = [stack for stack in stacks.values() if len(stack) > 1 or is_list(stack)]
    compound = [stack for stack in found if not stack[0].is_leaf]
    stacked = [stack for stack in compound if is_list(stack)] or compound
    members = tuple(f"{each.path}." for stack in stacked for each in stack)
    outer = [stack for stack in stacked if not stack[0].path.startswith(members)]
    if outer:
        return max(outer, key=len)
    whole = [each for each in streams if not each.is_leaf and each.kind != "Sequential"]
    alone = [each for each in whole if not any(each.path.startswith(f"{other.path}.") for other in whole)]
    if len({each.path for each in alone}) == 1:
        return alone
    return max(found, key=len) if found else []


def find_final_norm(ran: Sequence[Ran], blocks: Sequence[Ran]) -> Ran | None:
    """Find the norm after the last block, by the name of its class and its shape."""
    last = blocks[-1]
    inside = tuple(f"{block.path}." for block in blocks)
    after = [each for each in ran if each.n_before > last.n_before and not each.path.startswith(inside)]
    norms = [each for each in after if "norm" in each.kind.lower() and each.gave == last.gave]
    return norms[0] if norms else None


@dataclass(frozen=True, repr=False)
class SiteTable:
    """The submodules of a network that could be sites; printed, a table."""

    rows: tuple[Ran, ...]
    """Rows in the order in which the submodules ended."""
    chosen: tuple[str, ...]
    """Names that `wrap` takes by default."""

    def __str__(self) -> str:
        runs = Counter(row.path for row in self.rows)
        written = [("submodule", "class", "runs", "input", "output", "")]
        for row in (row for row in self.rows if row.run == 0):
            mark = "block" if row.path in self.chosen else ""
            shapes = (_text(row.given), _text(row.gave))
            written.append((row.path, row.kind, str(runs[row.path]), *shapes, mark))
        wide = [max(len(line[column]) for line in written) for column in range(6)]
        lines = ("  ".join(f"{cell:{w}}" for cell, w in zip(line, wide, strict=True)).rstrip() for line in written)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"SiteTable({len({row.path for row in self.rows})} submodules, blocks: {', '.join(self.chosen) or 'none'})"
        )


def _text(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else str(list(shape))


@takes_arrays
def sites(module: ModuleLike, xs: Prompts | Tensor, ys: Tensor | None = None, *, call: Call = plain_call) -> SiteTable:
    """List the submodules of a network with the shapes that they take and give, and which of them look like blocks.

    The module runs once, in evaluation mode and without gradients; its mode and its hooks stay as they were.

    Args:
        module: Any module.
        xs: A few prompts, or their inputs [batch point dim] as `call` takes them; of a language model tokens
            [batch pos].
        ys: Their labels [batch point]; none for a language model.
        call: How the module is called.

    Returns:
        A table to print; `wrap(module, sites={"block 0": "h.0", ...})` takes names of its first column, and with
        ":input" after a name what goes into a submodule.

    Raises:
        InputError: If no submodule ran.
        InputTypeError: If the first argument is no module.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 1))
        >>> print(sites(net, torch.zeros(2, 5, 3), torch.zeros(2, 5), call=lambda m, xs, ys: m(xs)[..., 0]))
        submodule  class       runs  input      output
        0          Linear      1     [2, 5, 3]  [2, 5, 8]
        1.0        Linear      1     [2, 5, 8]  [2, 5, 8]  block
        1          Sequential  1     [2, 5, 8]  [2, 5, 8]
        2          Linear      1     [2, 5, 8]  [2, 5, 1]
    """
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"sites needs a torch.nn.Module first, got {type(module).__name__}; pass the network.")
    xs, ys = (xs.xs, xs.ys) if isinstance(xs, Prompts) else (xs, ys)
    module, kind = original(module), next((p.dtype for p in module.parameters() if p.is_floating_point()), xs.dtype)
    if xs.is_floating_point():
        xs, ys = xs.to(kind), None if ys is None else ys.to(kind)
    ran, _ = dry_run(module, lambda: call(module, xs) if ys is None else call(module, xs, ys))
    if not ran:
        raise InputError("sites needs a module whose submodules run, and none ran; pass the module that holds them.")
    blocks = find_blocks(module, ran, is_stream=lambda shape: len(shape) == 3)
    return SiteTable(tuple(ran), tuple(dict.fromkeys(block.path for block in blocks)))
