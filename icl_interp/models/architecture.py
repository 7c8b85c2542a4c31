"""The shape of any network, as measures ask for it; configs of our families and wrapped modules provide it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from icl_interp.errors import InputError

Tokens = Literal["interleaved", "separate", "joint", "sequence"]


@dataclass(frozen=True, slots=True)
class OwnRoles:
    """A layout that a user described: the role of each position, by the number of points."""

    by_points: Callable[[int], Sequence[str]]
    """Gives one of "x", "y", "context", "query" or any other word for each position."""

    def of(self, n_positions: int) -> list[str]:
        """Find the roles of a sequence from its length alone."""
        for n_points in range(1, n_positions + 1):
            roles = list(self.by_points(n_points))
            if len(roles) == n_positions:
                return roles
        raise InputError(
            f"positions needs a function of n_points that gives a role to each position, and for no number of points "
            f"does it give {n_positions} of them, as many as the network has; change the function."
        )


READ_IN, FINAL_NORM = "read-in", "final norm"
"""Labels of sites with a meaning of their own; every other site of the stream is a block."""
UNKNOWN_INIT = "unknown"
"""The initialisation of a network that nobody can make afresh."""
NO_RECIPE = (
    "How this network looked before training is not known, so there are no untrained networks beside it and no "
    "verdicts; pass make=lambda: MyModel(config) to icl_interp.wrap."
)

NO_SITES = "No place of its residual stream is known; name submodules in sites."
"""Why whatever reads the stream is left out."""
Layout = Tokens | OwnRoles


@dataclass(frozen=True, slots=True)
class ResidualSite:
    """One place in the residual stream."""

    label: str
    """Label in figures: "read-in", "block 0", ..., "final norm"."""
    hook: str
    """The hook point's name."""


class Architecture(ABC):
    """The shape of a network, as far as measures ask for it."""

    if TYPE_CHECKING:  # pydantic would take annotations of a base for fields, ahead of a config's own
        family: Any
        """A family of ours, or "wrapped"."""
        init: Any
        """Names how untrained networks are made."""
        n_dims: int
        """Coordinates of each input."""

        @property
        def n_layers(self) -> int:
            """Blocks."""
            ...

        n_heads: int
        """Heads per block that can be read or masked."""
        d_model: int
        """Width of the residual stream."""
        tokens: Any
        """The layout of positions."""
        attention: Any
        """"causal" or "full"."""
        final_norm: bool
        """Whether there is a site after the final norm."""
        attn_only: bool
        """Whether no MLP can be ablated."""

    @property
    @abstractmethod
    def query_only(self) -> bool:
        """Whether a pass answers the last point alone."""

    @property
    @abstractmethod
    def max_points(self) -> int | None:
        """Longest prompt that the network can read; None without a bound that is known."""

    @property
    @abstractmethod
    def has_patterns(self) -> bool:
        """Whether attention patterns can be read that are distributions over the tokens."""

    @property
    def narrowest(self) -> int:
        """Width of the narrowest site of the residual stream."""
        return self.d_model

    @property
    def is_wrapped(self) -> bool:
        """Whether it is a wrapped module, of which no weight is known by name."""
        return bool(self.family == "wrapped")

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on such a network for readers of a report, in one sentence per note."""
        return ()

    @abstractmethod
    def describe(self) -> str:
        """Describe the network in one clause."""

    @abstractmethod
    def residual_sites(self, layers: Sequence[int] | None = None) -> list[ResidualSite]:
        """List the residual stream along the network; `layers` chooses blocks, and the last is always there."""

    @abstractmethod
    def site(self, kind: str, layer: int) -> ResidualSite:
        """Name one place that a user chose."""

    @abstractmethod
    def positions_for(self, n_points: int) -> int:
        """Count the positions of a sequence."""

    @abstractmethod
    def operations(self, n_points: int) -> int:
        """Count the floating-point operations of one sequence, roughly."""

    @abstractmethod
    def model_dump(self, *, mode: Any = "json") -> dict[str, Any]:
        """Give plain data for the JSON."""

    @property
    def last_block(self) -> ResidualSite:
        """The residual stream after the last block, before the final norm: the default site."""
        return self.site("resid_post", -1)
