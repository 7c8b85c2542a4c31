"""What every result with a figure can do: be saved, be shown in a notebook, be laid out as plain data."""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel
from torch import Tensor

from icl_interp.figures.save import PrintStyle, save_figure
from icl_interp.files import finite
from icl_interp.models.architecture import Architecture
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import describe_task


class Result(ABC):
    """A measured result that draws itself."""

    __slots__ = ()

    @abstractmethod
    def plot(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the result as a plotly figure."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Lay the numbers out as a table."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data that JSON can hold.

        Returns:
            Entries by field name: tensors as lists, NaN and infinities as None. Prompts are counted, not listed, and
            bootstrap replicates are left out.
        """
        return finite(plain(self, _told))

    def savefig(
        self,
        path: str | os.PathLike[str],
        *,
        width: Literal["single", "double"] = "double",
        font: Literal["sans-serif", "serif"] = "sans-serif",
        **of_plot: Any,
    ) -> Path:
        """Write the figure of `plot` to a file for a paper; this needs matplotlib (`icl-interp[figures]`).

        Args:
            path: Where to; the suffix says the format: .svg, .pdf or .png. Only an older figure of ours is replaced.
            width: One column of a paper (85 mm) or two (178 mm).
            font: Of all text.
            of_plot: What `plot` takes.

        Returns:
            The path written.

        Raises:
            InputError: If the suffix, the width or the font is unknown, another file has that name, or matplotlib is
                not installed.
            OSError: If the place cannot be written.
        """
        return save_figure(self.plot(**of_plot), path, PrintStyle(width, font))

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        # Jupyter's own choice among the kinds; both arguments are hints.
        return {"text/plain": repr(self), **self.plot().in_notebook()}


def plain(value: Any, names: Callable[[Any], Iterable[str]]) -> Any:
    """Turn records, tensors and configs into plain data; `names` says what of a record is told."""
    match value:
        case Prompts():
            return {"n_prompts": len(value), "n_points": value.n_points, "n_dims": value.n_dims}
        case Architecture():
            return value.model_dump(mode="json")
        case Task():
            return describe_task(value)
        case BaseModel():
            return value.model_dump(mode="json")
        case Tensor() | np.ndarray() | np.generic():
            return plain(value.tolist(), names)
        case Mapping():
            return {str(key): plain(entry, names) for key, entry in value.items()}
        case list() | tuple():
            return [plain(entry, names) for entry in value]
        case _ if dataclasses.is_dataclass(value):
            return {name: plain(getattr(value, name), names) for name in names(value)}
        case _:
            return value


def field_names(record: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]


def _told(record: Any) -> list[str]:
    return [name for name in field_names(record) if not name.endswith("replicates")]
