"""Any module as a model: predictions, residual sites that can be read and changed, untrained networks."""

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from icl_interp.errors import InputError, InputTypeError, users_code
from icl_interp.models.architecture import (
    FINAL_NORM,
    NO_RECIPE,
    NO_SITES,
    READ_IN,
    UNKNOWN_INIT,
    Architecture,
    Layout,
    OwnRoles,
    ResidualSite,
    Tokens,
)
from icl_interp.models.hook_names import HookMap, HookRow, normalise_layer
from icl_interp.models.hooked import HookedModel, is_hooked
from icl_interp.models.open.discover import (
    INPUT,
    Call,
    ModuleLike,
    Ran,
    as_in_evaluation,
    dry_run,
    find_blocks,
    find_final_norm,
    first_name,
    first_tensor,
    listening,
    original,
    plain_call,
    with_first_tensor,
)
from icl_interp.models.open.first_look import check_answers, check_equal
from icl_interp.models.open.untrained import Make, make_untrained, recipe_for
from icl_interp.prompts import Prompts
from probes._core.arrays import takes_arrays, tensors_in

_AXES = ("batch", "pos", "width")
_HEAD_AXES = ("batch", "pos", "head", "d_head")
_UNEVEN = 0.02
"""How far the sum of a row of a pattern may be from 1, in 16 bits."""
_TRIED = 8
"""Prompts of the first look."""


@dataclass(frozen=True)
class WrappedArchitecture(Architecture):
    """The shape of a wrapped module, found on its first prompts."""

    name: str
    """Name of its class."""
    n_dims: int
    """Coordinates of each input."""
    blocks: tuple[str, ...]
    """Labels of the sites of the stream, read-in and final norm aside."""
    read_in: bool
    """Whether there is a site before the first block."""
    final_norm: bool
    """Whether there is one after the final norm."""
    d_model: int
    """Width of the stream after the last block; 0 where no place of it is known."""
    widths: tuple[int, ...]
    """Widths of all sites of the stream."""
    n_heads: int
    """Heads per block that can be masked; 0 where no site shows them."""
    tokens: Layout
    """The layout of positions."""
    attention: Literal["causal", "full"]
    """Whether patterns look back only; "causal" where no site shows them."""
    patterns: bool
    """Whether attention patterns can be read."""
    init: str
    """How untrained networks are made, or "unknown"."""
    n_parameters: int
    """Number of parameters of the module."""
    asks_last: bool
    """Whether a pass answers the last point alone."""
    longest: int | None
    """Points of the longest prompt, where the user said so."""
    more_positions: int
    """Positions beyond those that the layout takes for its points."""
    family: str = "wrapped"
    """Family of all wrapped modules."""
    attn_only: bool = True
    """No MLP of it can be ablated."""

    @property
    def query_only(self) -> bool:
        """Whether a pass answers the last point alone."""
        return self.asks_last

    @property
    def max_points(self) -> int | None:
        """Longest prompt; None where nobody said."""
        return self.longest

    @property
    def has_patterns(self) -> bool:
        """Whether attention patterns can be read."""
        return self.patterns

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.blocks)

    @property
    def narrowest(self) -> int:
        """Width of the narrowest site."""
        return min(self.widths, default=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """How untrained networks are made, or why there are none; what no site shows."""
        recipe = NO_RECIPE if self.init == UNKNOWN_INIT else f"Untrained networks come from {self.init}."
        return (recipe,) if self.blocks else (recipe, NO_SITES)

    def describe(self) -> str:
        """Say in one clause which network this is."""
        if not self.blocks:
            return f"{self.name} (wrapped), no sites, inputs of {self.n_dims} dimensions"
        blocks = "1 block" if self.n_layers == 1 else f"{self.n_layers} blocks"
        reads = f"inputs of {'1 dimension' if self.n_dims == 1 else f'{self.n_dims} dimensions'}"
        if not self.n_dims:
            reads = "tokens"
        return f"{self.name} (wrapped), {blocks}, width {self.d_model}, {reads}"

    def residual_sites(self, layers: Sequence[int] | None = None) -> list[ResidualSite]:
        """List the sites in the order of the pass."""
        chosen = range(self.n_layers)
        if layers is not None and self.blocks:
            chosen = sorted({normalise_layer(x, self.n_layers) for x in (*layers, -1)})  # type: ignore[assignment]
        labels = [*([READ_IN] if self.read_in else []), *(self.blocks[x] for x in chosen)]
        return [ResidualSite(label, label) for label in (*labels, *([FINAL_NORM] if self.final_norm else []))]

    def site(self, kind: str, layer: int) -> ResidualSite:
        """Name one place: "resid_post" of a block by its number, or a site by its label."""
        labels = [site.label for site in self.residual_sites()]
        if not labels:
            raise InputError(NO_SITES)
        if kind == "resid_post":
            label = self.blocks[normalise_layer(layer, self.n_layers)]
        elif kind == "resid_pre" and normalise_layer(layer, self.n_layers) > 0:
            label = self.blocks[normalise_layer(layer, self.n_layers) - 1]
        else:
            label = {"resid_pre": READ_IN, "embed": READ_IN, "final_norm": FINAL_NORM}.get(kind, kind)
        if label not in labels:
            raise InputError(f"this wrapped module has the sites {', '.join(labels)}, got {kind!r}; name one of them.")
        return ResidualSite(label, label)

    def positions_for(self, n_points: int) -> int:
        """Count the positions of a sequence."""
        if isinstance(self.tokens, OwnRoles):
            return len(list(self.tokens.by_points(n_points)))
        return n_points * (2 if self.tokens in ("interleaved", "separate") else 1) + self.more_positions

    def operations(self, n_points: int) -> int:
        """Count two operations per parameter and position."""
        return 2 * self.positions_for(n_points) * max(self.n_parameters, 1)

    def model_dump(self, *, mode: Any = "json") -> dict[str, Any]:  # noqa: ARG002
        """Give plain data for the JSON."""
        tokens = "roles of your own" if isinstance(self.tokens, OwnRoles) else self.tokens
        named = ("family", "name", "n_dims", "n_layers", "n_heads", "d_model", "final_norm", "attention", "init")
        return {name: getattr(self, name) for name in named} | {"tokens": tokens, "query_only": self.asks_last}


@dataclass(frozen=True, slots=True)
class _Place:
    """A site before anything sits there: one run of a submodule, and which end of it."""

    ran: Ran
    end: str

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.ran.given if self.end == INPUT else self.ran.gave


@dataclass(frozen=True, slots=True)
class _Tap:
    """Where one hook point sits: which run of which submodule, and how its axes lie."""

    point: HookPoint
    part: nn.Module
    end: str
    run: int
    order: tuple[int, ...]

    def pass_on(self, value: Any, name: str) -> Any | None:
        """Show what is there to the hooks; what to put in its place, or None where nothing changed it."""
        tensor = first_tensor(value)
        if tensor is None:
            raise InputError(f"the site {name!r} needs a tensor, got {type(value).__name__}; name another submodule.")
        shown = tensor if self.order == tuple(range(len(self.order))) else tensor.permute(self.order)
        left = self.point(shown)
        if left is shown:
            return None
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return with_first_tensor(value, left.permute(back).to(tensor.dtype))


class WrappedModel(HookedModel):
    """A module from elsewhere with the interface of our models; made by `wrap`.

    Its hook points are its sites, by label: `model.run_with_cache(xs, ys)`, `model.run_with_hooks`, interventions and
    every measure take them. The module itself is `.module`.
    """

    def __init__(self, module: nn.Module, options: "_Options") -> None:
        HookedRootModule.__init__(self)
        self.module = module
        self.options = options
        self.setup()

    def setup(self) -> None:
        """Forget the sites; TransformerLens would take hook points of the wrapped module for ours."""
        self.hook_dict: dict[str, HookPoint] = {}
        self.mod_dict: dict[str, nn.Module] = {}
        self._architecture: WrappedArchitecture | None = None
        self._taps: dict[str, _Tap] = {}
        self._first: tuple[Tensor, Tensor | None] | None = None
        self._recipe = recipe_for(self.module, self.options.make)

    @property
    def cfg(self) -> Any:  # type: ignore[override]
        """What the first look found.

        Raises:
            InputError: If the module has not seen a prompt yet.
        """
        if self._architecture is None:
            raise InputError(
                "a wrapped module is known once it has seen prompts, and this one has seen none; pass "
                "example=(xs, ys) to icl_interp.wrap, or call the model on prompts first."
            )
        return self._architecture

    def forward(
        self,
        xs: Float[Tensor, "batch point dim"] | Int[Tensor, "batch pos"],
        ys: Float[Tensor, "batch point"] | None = None,
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict labels as every model of ours does; see `HookedModel.forward`."""
        if self.options.reads == "tokens":
            return self._read_tokens(xs, ys)
        xs, ys = tensors_in(xs), tensors_in(ys)
        self._check_kind(xs, ys)
        if ys is not None:
            self.prepare(xs, ys)
        return super().forward(xs, ys, points=points)

    def _read_tokens(self, tokens: Tensor, ys: Tensor | None) -> Tensor:
        """Let a language model read; it predicts no labels."""
        self._check_kind(tokens, ys)
        self.prepare(tokens, None)
        with self._tapped(), as_in_evaluation(self.module):
            self.options.call(self.module, tokens)
        return torch.zeros(len(tokens), 0)

    def prepare(self, xs: Tensor, ys: Tensor | None) -> None:
        """Find the sites and check how the module answers, at the first prompts that it sees."""
        if self._architecture is not None and self.options.reads == "points":
            return
        self._check_kind(xs, ys)
        if self._architecture is not None:
            return
        if ys is None:
            self._prepare_for_tokens(xs)
            return
        if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape or not len(xs):
            raise InputError(
                f"the model needs xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
                f"{tuple(ys.shape)}; pass prompts.xs and prompts.ys."
            )
        most = self.options.max_points
        if most is not None and xs.shape[1] > most:
            raise InputError(f"this model has positions for {most} points, got {xs.shape[1]}; pass fewer points.")
        few = xs[:_TRIED].to(self.device), ys[:_TRIED].to(self.device)
        check_answers(self._answer, *few, query_only=self.options.query_only)
        self._find_sites(*few)
        self._check_patterns(*few)
        self._first = few

    def _check_kind(self, xs: Tensor, ys: Tensor | None) -> None:
        tokens = ys is None and xs.ndim == 2 and not xs.is_floating_point()
        if self.options.reads == "tokens" and not tokens:
            raise InputTypeError(
                "this wrapped model reads tokens, whole numbers [batch pos], got inputs and labels; pass tokens, or "
                "wrap the module without reads='tokens'."
            )
        if self.options.reads == "points" and ys is None:
            raise InputTypeError(
                "this wrapped model reads inputs and labels, got one tensor alone; pass xs and ys, or wrap the module "
                "with reads='tokens' if it is a language model."
            )

    def _prepare_for_tokens(self, tokens: Tensor) -> None:
        few = tokens[:_TRIED].to(self.device)
        batch = _odd_one_out(len(few), few.shape[1])
        ran, _ = dry_run(self.module, lambda: self.options.call(self.module, few[:batch]))
        sites = self._sites_by_default(ran, batch) if self.options.sites is None else self._sites_as_named(ran)
        self._place(sites, batch, few.shape[1], 0)
        last = self.cfg.last_block.hook
        held = [self.run_with_cache(few[:n], None, names_filter=last)[1][last] for n in (len(few), len(few), 1)]
        check_equal(held[1], held[0], check_equal_alone=held[2])
        self._first = few, None

    def _answer(self, xs: Tensor, ys: Tensor) -> Any:
        dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), xs.dtype)
        with as_in_evaluation(self.module), self._their_code():
            try:
                return self.options.call(self.module, xs.to(dtype), ys.to(dtype))
            except Exception as error:
                error.add_note(f"The module was asked with xs {list(xs.shape)} and ys {list(ys.shape)}.")
                raise

    def _their_code(self) -> AbstractContextManager[None]:
        """Say that what is raised inside is theirs, where a command runs it; a notebook shows that by itself."""
        return users_code(self.options.code) if self.options.code else nullcontext()

    def _pass(self, xs: Tensor, ys: Tensor) -> Tensor:
        with self._tapped():
            said = self._answer(xs, ys)
        shape = (len(xs),) if self.options.query_only else tuple(ys.shape)
        if tuple(said.shape) != shape:
            raise InputError(
                f"the wrapped module gave predictions of shape {tuple(said.shape)} for prompts of another length, "
                f"needs {shape}; see what it does with {xs.shape[1]} points."
            )
        return (said[:, None] if self.options.query_only else said).to(xs.dtype)

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module and keep what its sites hold; see `HookedModel.run_with_cache`."""
        self._prepare_for(*args, **kwargs)
        return super().run_with_cache(*args, **kwargs)

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the module with hooks that come off at the end; see `HookedModel.run_with_hooks`."""
        self._prepare_for(*args, **kwargs)
        return super().run_with_hooks(*args, **kwargs)

    def _prepare_for(self, *args: Any, **kwargs: Any) -> None:
        # Names of sites are known only then, and a cache without them would be empty.
        given = {**dict(zip(("xs", "ys"), args, strict=False)), **kwargs}
        if "xs" in given and (given.get("ys") is not None or self.options.reads == "tokens"):
            self.prepare(given["xs"], given.get("ys"))

    def _check_filter(self, names: Any) -> None:
        assert self.cfg is not None  # raises where the module has seen no prompt
        if names is None and not self.hook_dict:
            raise InputError(NO_SITES)
        super()._check_filter(names)

    @property
    def is_listened_to(self) -> bool:
        """Whether any site has a hook; hooks of the module's own do not count."""
        return is_hooked(*self.hook_dict.values())

    @contextmanager
    def _tapped(self) -> Iterator[None]:
        """Lead what the sites hold through their hook points for the length of one pass."""
        taps: dict[tuple[nn.Module, str], dict[int, tuple[str, _Tap]]] = {}
        for name, tap in self._taps.items():
            if is_hooked(tap.point):
                taps.setdefault((tap.part, tap.end), {})[tap.run] = name, tap
        with listening([(part, end, _listener(end, by_run)) for (part, end), by_run in taps.items()]):
            yield

    def untrained(self, seeds: Sequence[int]) -> "Sequence[HookedModel]":
        """Make networks of the same architecture that never saw data; none where nobody knows how."""
        if self._recipe is None or not seeds:
            return []
        recipe, make = self._recipe, self.options.make

        def build() -> Any:
            with self._their_code():
                return make()  # type: ignore[operator,misc]  # asked just below

        if callable(make):
            recipe = replace(recipe, build=build)
        made = make_untrained(recipe, self.module, list(seeds))
        networks = [WrappedModel(network, replace(self.options, make=None)) for network in made]
        for network in networks:
            if self._first is not None:
                network.prepare(*self._first)
        return networks

    def describe(self) -> HookMap:
        """List the sites that can be listened to."""
        rows = [HookRow(name, " ".join(_AXES), "output of a submodule") for name in self.hook_dict]
        return HookMap(self.cfg.describe(), tuple(rows))

    @property
    def device(self) -> Any:
        """Where the weights are; the CPU for a module without any."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def _check_patterns(self, xs: Tensor, ys: Tensor) -> None:
        """Refuse sites of attention patterns that hold something else."""
        held: dict[str, Tensor] = {}

        def keep(pattern: Tensor, hook: Any) -> None:
            held[hook.name] = pattern.detach().float()

        named = [(name, keep) for name in self.hook_dict if name.endswith("hook_pattern")]
        if not named:
            return
        try:
            with torch.no_grad(), self.hooks(fwd_hooks=named):
                self._pass(xs, ys)
            for name, pattern in held.items():
                if bool((pattern < 0).any()) or bool(((pattern.sum(-1) - 1).abs() > _UNEVEN).any()):
                    raise InputError(
                        f"attention patterns need rows that are distributions over the keys, and those of site "
                        f"{name!r} are none; leave the patterns out."
                    )
                if self.options.attention == "causal" and bool(pattern.triu(1).any()):
                    raise InputError(
                        "the attention patterns look at later positions as well, which attention='causal' rules out; "
                        "pass attention='full'."
                    )
        except InputError:
            self._architecture = None  # the next prompts are looked at from the start
            raise

    def _find_sites(self, xs: Tensor, ys: Tensor) -> None:
        try:
            self._find_sites_at(xs, ys)
        except _FitsBothError:
            if xs.shape[1] == 1:
                raise
            self._find_sites_at(xs[:, :-1], ys[:, :-1])  # fewer positions than heads, where there were as many

    def _find_sites_at(self, xs: Tensor, ys: Tensor) -> None:
        batch = _odd_one_out(len(xs), xs.shape[1])
        ran, _ = dry_run(self.module, lambda: self._answer(xs[:batch], ys[:batch]))
        sites = self._sites_by_default(ran, batch) if self.options.sites is None else self._sites_as_named(ran)
        self._place(sites, batch, *xs.shape[1:])

    def _sites_by_default(self, ran: list[Ran], batch: int) -> dict[str, _Place]:
        place = self.options.axes.index("batch")
        blocks = find_blocks(self.module, ran, is_stream=lambda shape: len(shape) == 3 and shape[place] == batch)
        if not blocks:
            raise InputError(
                "no blocks were found in this module; name places of its residual stream with sites={'block 0': 'h.0', "
                "...} (icl_interp.sites(module, xs, ys) lists what there is), change axes, or pass "
                "sites={} to go without."
            )
        found = {READ_IN: _Place(blocks[0], INPUT)}
        found |= {f"block {i}": _Place(block, "") for i, block in enumerate(blocks)}
        norm = find_final_norm(ran, blocks)
        return found | ({} if norm is None else {FINAL_NORM: _Place(norm, "")})

    def _sites_as_named(self, ran: list[Ran]) -> dict[str, _Place]:
        found: dict[str, _Place] = {}
        for label, place in (self.options.sites or {}).items():
            path, end = (place.removesuffix(INPUT), INPUT) if place.endswith(INPUT) else (place, "")
            path = first_name(self.module, path)
            runs = [each for each in ran if each.path == path]
            if not runs:
                known = [*dict.fromkeys(each.path for each in ran)]
                near = difflib.get_close_matches(path, known, n=4, cutoff=0.3) or known[:4]
                raise InputError(
                    f"sites needs names of submodules that run, got {path!r}; near names: {', '.join(near) or 'none'} "
                    "(icl_interp.sites lists all)."
                )
            for each in runs:
                found[label if len(runs) == 1 else f"{label}, run {each.run}"] = _Place(each, end)
        return found

    def _place(self, sites: Mapping[str, _Place], batch: int, n_points: int, n_dims: int) -> None:
        """Put a hook point at every site, and write down what kind of network this is."""
        options = self.options
        order = tuple(options.axes.index(axis) for axis in _AXES)
        four = tuple(range(len(_HEAD_AXES)))
        stream: dict[str, tuple[int, ...]] = {}
        of_heads: dict[str, tuple[int, ...]] = {}
        for label, place in sites.items():
            shape = place.shape
            if shape is not None and len(shape) == len(four) and shape[0] == batch:
                of_heads[label] = shape
            elif shape is None or len(shape) != 3 or shape[order[0]] != batch:
                raise InputError(
                    f"the site {label!r} ({place.ran.path}) needs the axes '{' '.join(options.axes)}' with {batch} "
                    f"prompts, or four axes where it shows heads, got {'no tensor' if shape is None else list(shape)}; "
                    "change axes, or name another submodule."
                )
            else:
                stream[label] = tuple(shape[axis] for axis in order)
        n_positions = _common_length(stream, of_heads)
        z: dict[str, tuple[int, ...]] = {}
        patterns: dict[str, tuple[int, ...]] = {}
        taps: dict[str, _Tap] = {}
        for label, place in sites.items():
            name = label
            if label in of_heads:
                is_pattern = _is_pattern(label, of_heads[label], n_positions)
                kind = patterns if is_pattern else z
                name = f"blocks.{len(kind)}.attn.hook_{'pattern' if is_pattern else 'z'}"
                kind[name] = of_heads[label]
            point = HookPoint()
            point.name = name
            part = self.module.get_submodule(place.ran.path)
            taps[name] = _Tap(point, part, place.end, place.ran.run, four if label in of_heads else order)
        self._architecture = self._understood(stream, z, patterns, n_positions, n_points, n_dims)
        self._taps = taps
        self.hook_dict = {name: tap.point for name, tap in taps.items()}
        self.mod_dict = dict(self.hook_dict)

    def _understood(
        self,
        stream: Mapping[str, tuple[int, ...]],
        z: Mapping[str, tuple[int, ...]],
        patterns: Mapping[str, tuple[int, ...]],
        n_positions: int,
        n_points: int,
        n_dims: int,
    ) -> WrappedArchitecture:
        options = self.options
        blocks = tuple(label for label in stream if label not in (READ_IN, FINAL_NORM))
        for kind, found in (("head outputs", z), ("attention patterns", patterns)):
            if found and len(found) != len(blocks):
                raise InputError(
                    f"sites needs one site of {kind} per block, {len(blocks)} in all, got {len(found)}; name the "
                    "others as well, or none."
                )
        heads = {shape[2] for shape in z.values()} | {shape[1] for shape in patterns.values()}
        if len(heads) > 1:
            raise InputError(
                f"sites needs as many heads in every block, got {', '.join(map(str, sorted(heads)))}; leave the sites "
                "of heads out."
            )
        return WrappedArchitecture(
            name=type(self.module).__name__,
            n_dims=n_dims,
            blocks=blocks,
            read_in=READ_IN in stream,
            final_norm=FINAL_NORM in stream,
            d_model=stream[blocks[-1]][2] if blocks else 0,
            widths=tuple(shape[2] for shape in stream.values()),
            n_heads=heads.pop() if heads else 0,
            tokens=options.layout,
            attention=options.attention,
            patterns=bool(patterns),
            init=UNKNOWN_INIT if self._recipe is None else self._recipe.name,
            n_parameters=sum(p.numel() for p in self.module.parameters()),
            asks_last=options.query_only,
            longest=options.max_points,
            more_positions=_check_positions(options, n_positions, n_points) if blocks else 0,
        )


def _common_length(stream: Mapping[str, tuple[int, ...]], of_heads: Mapping[str, Any]) -> int:
    """Find the number of positions, which all sites of the stream have; 0 where nothing is a site."""
    blocks = [label for label in stream if label not in (READ_IN, FINAL_NORM)]
    if not blocks and (stream or of_heads):
        named = ", ".join([*stream, *of_heads])
        raise InputError(f"sites needs a place of the stream after a block, got {named} alone; add one.")
    lengths = {label: shape[1] for label, shape in stream.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"all sites need equally many positions, got {lengths}; name other submodules.")
    return lengths[blocks[-1]] if blocks else 0


def _is_pattern(label: str, shape: tuple[int, ...], n_positions: int) -> bool:
    """Tell attention patterns [batch head query key] from head outputs [batch pos head d_head]."""
    pattern, output = shape[2:] == (n_positions, n_positions), shape[1] == n_positions
    if pattern == output:
        kind, fits, way = (
            (_FitsBothError, "both", "pass prompts of more than one point")
            if pattern
            else (InputError, "neither", "name another place")
        )
        raise kind(
            f"the site {label!r} needs to show head outputs [batch pos head d_head] or patterns [batch head query key] "
            f"of {n_positions} positions, got {list(shape)}, which fits {fits}; {way}."
        )
    return pattern


class _FitsBothError(InputError):
    """As many heads as positions, and as many entries per head."""


def _nearest_layout(n_positions: int, n_points: int, query_only: bool) -> str:  # noqa: FBT001
    if n_positions == n_points:
        return f'positions="{"joint" if query_only else "sequence"}" (one position per point), or '
    return 'positions="interleaved" (x1, y1, x2, ...), or ' if n_positions in (2 * n_points, 2 * n_points - 1) else ""


def _check_positions(options: "_Options", n_positions: int, n_points: int) -> int:
    """Refuse a layout that does not fit the sites; how many positions there are beyond those of the points."""
    if not isinstance(options.layout, OwnRoles):
        per_point = 2 if options.layout in ("interleaved", "separate") else 1
        more = n_positions - per_point * n_points
        if more not in ((0, -1) if per_point == 2 else (0,)):
            raise InputError(
                f"positions={options.layout!r} needs {per_point * n_points} positions for {n_points} points, and "
                f"the sites have {n_positions}; pass {_nearest_layout(n_positions, n_points, options.query_only)}a "
                "function of n_points that gives the role of each position."
            )
        return more
    roles = list(options.layout.by_points(n_points))
    if len(roles) != n_positions:
        raise InputError(
            f"positions needs a function that gives {n_positions} roles for {n_points} points, as many as the sites "
            f"have positions, got {len(roles)}; change the function."
        )
    if options.layout.of(n_positions) != roles:
        raise InputError(
            f"positions needs a function whose number of roles grows with the number of points, and it gives "
            f"{n_positions} of them for fewer than {n_points} points as well; change the function."
        )
    asking = roles.count("query") or roles.count("x")
    if asking != n_points and not (options.query_only and asking):
        needed = "at least one" if options.query_only else f"one per point, {n_points} in all"
        raise InputError(
            f'positions needs a role "query" (or else "x") where predictions are asked for, {needed}, got {asking}; '
            "change the function."
        )
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class _Options:
    """What a user said of a module."""

    sites: Mapping[str, str] | None
    call: Call
    query_only: bool
    layout: Layout
    axes: tuple[str, ...]
    make: Make
    attention: Literal["causal", "full"]
    max_points: int | None
    reads: Literal["points", "tokens"]
    code: str | None = None


def _listener(end: str, by_run: Mapping[int, tuple[str, _Tap]]) -> Callable[..., Any]:
    runs: Counter[str] = Counter()

    def next_tap() -> tuple[str, _Tap] | None:
        runs[end] += 1
        return by_run.get(runs[end] - 1)

    def at_input(_part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = next_tap()
        if found is None:
            return None
        name, tap = found
        given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
        changed = tap.pass_on(given, name)
        if changed is None:
            return None
        return tuple(changed[i] for i in range(len(args))), {key: changed[key] for key in kwargs}

    def at_output(_part: nn.Module, _args: Any, output: Any) -> Any:
        found = next_tap()
        return None if found is None else found[1].pass_on(output, found[0])

    return at_input if end == INPUT else at_output


def _odd_one_out(most: int, n_points: int) -> int:
    """Choose a number of prompts that no other axis is likely to have, so that the batch axis is told from others."""
    free = [n for n in range(most, 1, -1) if n not in (n_points, 2 * n_points, 2 * n_points - 1, n_points + 1)]
    return next((n for n in free if n % 2), most)


def _came(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}; pass a network, {thing.__name__}(...)"
    if isinstance(thing, str | os.PathLike):
        return f"the path {str(thing)!r}; build the network, load its weights, and pass it"
    if isinstance(thing, Mapping):
        return "a mapping, such as a state dict; build the network, load its weights, and pass it"
    return f"{type(thing).__name__}; pass the network"


@takes_arrays
def wrap(
    module: ModuleLike,
    *,
    sites: Mapping[str, str] | None = None,
    call: Call = plain_call,
    query_only: bool = False,
    positions: Tokens | Callable[[int], Sequence[str]] = "interleaved",
    axes: str = "batch pos width",
    make: Make = None,
    attention: Literal["causal", "full"] = "causal",
    max_points: int | None = None,
    reads: Literal["points", "tokens"] = "points",
    example: Prompts | tuple[Tensor, Tensor | None] | None = None,
) -> WrappedModel:
    """Make any PyTorch module a model that every measure takes.

    The module is neither copied nor changed. It runs in evaluation mode and returns to its former mode, and hooks stay
    on it during a pass only. At the first prompts (or at once, with `example`) its sites are found, and four
    things are checked: two calls give equal predictions; they have the right shape; no prediction k changes when
    labels from k on change, since a leak would look like learning; and no prompt's prediction depends on the other
    prompts of its batch.

    Args:
        module: The network. A HookedTransformer, a TransformerBridge and Hugging Face models are modules as well.
        sites: Places of the residual stream in the order of the pass: label to name of a submodule, whose output it is
            (of a tuple or a ModelOutput the first tensor), or with ":input" after the name what goes into it. None
            takes the longest stack of submodules of one class as blocks, with what goes into the first as "read-in",
            and the norm behind them. The labels "read-in" and "final norm" mean just that, all others are
            blocks. A submodule that runs several times per pass is one site per run. Sites of shape [batch pos head
            d_head] or [batch head query key] are head outputs and attention patterns: name one per block, in the order
            of the blocks, and head importance and attention summaries run too. `icl_interp.sites` lists what there is.
            An empty mapping says that no place is known; what reads the stream is then left out of a study.
        call: From module, xs [batch point dim] and ys [batch point] to predictions [batch point] in units of y, or
            [batch] if query_only.
        query_only: Whether a pass answers only the last point. One sequence per point is then read, with the label of
            the last point in ys, which the module must not read.
        positions: How points become positions: "interleaved" or "separate" (x1, y1, x2, ...), "joint" (one per point,
            the last one asks; query_only), "sequence" (one per point), or a function of n_points that gives "x", "y",
            "context", "query" or any other word for each position.
        axes: Order of a site's axes; "pos batch width" for batch_first=False.
        make: A function without arguments that builds a fresh, untrained network of the same architecture, as the
            authors initialise it; it is called with torch, numpy and random seeded. "reset" says that the module uses
            PyTorch's default initialisation: the reset_parameters of its parts are called on a copy. None takes what
            the class itself knows (Hugging Face, TransformerLens); if that is nothing, there are no untrained networks
            and no verdicts.
        attention: "causal" or "full": which keys a pattern may look at, where patterns are among the sites.
        max_points: Number of examples in the longest prompt that the module can read; it never gets a longer one.
        reads: "points" for a network of inputs and labels; "tokens" for a language model, whose call is module(tokens)
            with tokens [batch pos] and whose answer is not used. Measures of activations take it, with tokens instead
            of prompts; errors, probes and references do not.
        example: A few prompts, also as (xs, ys), or (tokens, None), to look at the module at once.

    Returns:
        The model.

    Raises:
        InputError: If an option is none of those above, or (at the first look) a check fails, a submodule does not
            exist, or no blocks are found.
        InputTypeError: If it is no module, or sites or call are of another kind.

    Source:
        Our design; which submodules are blocks is a guess that `sites` overrules.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.Sequential(*[nn.Linear(8, 8) for _ in range(3)]), nn.Linear(8, 1))
        >>> xs, ys = torch.randn(6, 5, 2), torch.randn(6, 5)
        >>> model = wrap(net, call=lambda m, xs, ys: m(xs)[..., 0], positions="sequence", example=(xs, ys))
        >>> print(model.cfg.describe())
        Sequential (wrapped), 3 blocks, width 8, inputs of 2 dimensions
        >>> list(model.hook_dict)
        ['read-in', 'block 0', 'block 1', 'block 2']
    """
    if isinstance(module, WrappedModel):
        raise InputTypeError("wrap needs the module itself, got one that is wrapped already; pass its .module.")
    if isinstance(module, HookedModel) or isinstance(getattr(module, "model", None), HookedModel):
        raise InputTypeError(
            "wrap needs a module of somebody else, got a model of ours; every measure takes it as it is."
        )
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"wrap needs a torch.nn.Module, got {_came(module)}.")
    if not callable(positions) and positions not in get_args(Tokens):
        known = ", ".join(get_args(Tokens))
        raise InputError(f"positions needs one of {known} or a function of n_points, got {positions!r}; choose one.")
    if positions == "joint" and not query_only:
        raise InputError(
            "positions='joint' means that only the last position asks, which needs query_only=True; pass it, or "
            "positions='sequence' where every position asks."
        )
    if sorted(axes.split()) != sorted(_AXES):
        raise InputError(f"axes needs batch, pos and width in some order, got {axes!r}; write 'pos batch width', say.")
    if sites is not None and not (isinstance(sites, Mapping) and all(isinstance(x, str) for x in sites.values())):
        raise InputTypeError(
            f"sites needs a mapping of labels to names of submodules, got {sites!r}; write {{'block 0': 'h.0', ...}}."
        )
    if not callable(call):
        raise InputTypeError(f"call needs a function of module, xs and ys, got {call!r}; pass a function.")
    if attention not in ("causal", "full"):
        raise InputError(f"attention needs 'causal' or 'full', got {attention!r}; choose one.")
    if max_points is not None and max_points < 1:
        raise InputError(f"max_points needs at least 1, got {max_points}; leave it out if there is no bound.")
    if reads == "tokens":
        positions = "sequence"
    layout: Layout = OwnRoles(positions) if callable(positions) else positions
    options = _Options(sites, call, query_only, layout, tuple(axes.split()), make, attention, max_points, reads)
    model = WrappedModel(original(module), options)
    if example is not None:
        model.prepare(*((example.xs, example.ys) if isinstance(example, Prompts) else example))
    return model
