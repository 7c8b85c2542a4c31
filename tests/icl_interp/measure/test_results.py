"""Every result that draws itself is saved as a figure for a paper and laid out as plain data."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.result import Result


@dataclass(frozen=True)
class _Inner:
    name: str
    replicates: torch.Tensor


@dataclass(frozen=True)
class _Found(Result):
    inner: _Inner
    values: dict[str, torch.Tensor]
    array: np.ndarray

    def plot(self, *, name: str = "model"):
        return lines_figure([Line(name, [0, 1], [1.0, 0.5], role_style("model"))], x="examples", y="error")

    def to_frame(self):
        return pd.DataFrame({"array": self.array})


FOUND = _Found(_Inner("inner", torch.zeros(2)), {"a": torch.tensor([1.0, float("nan")])}, np.arange(2))


def test_plain_data_have_no_tensors_no_nan_and_no_replicates():
    assert FOUND.to_dict() == {"inner": {"name": "inner"}, "values": {"a": [1.0, None]}, "array": [0, 1]}


@pytest.mark.parametrize("suffix", ["svg", "PDF", "png"])
def test_the_suffix_says_the_format(tmp_path, suffix):
    path = FOUND.savefig(tmp_path / f"x.{suffix}", width="single", name="network")
    assert path.read_bytes().lstrip().startswith({"svg": b"<?xml", "PDF": b"%PDF", "png": b"\x89PNG"}[suffix])
    FOUND.savefig(path)  # over our own


def test_what_cannot_be_saved_is_refused_in_a_sentence(tmp_path, monkeypatch):
    for name in ("x.jpg", "x"):
        with pytest.raises(InputError, match=rf"a file name that ends in .svg, .pdf or .png, got '{name}'"):
            FOUND.savefig(tmp_path / name)
    foreign = tmp_path / "x.pdf"
    foreign.write_text("mine")
    with pytest.raises(InputError, match="which holds something else"):
        FOUND.savefig(foreign)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"savefig needs matplotlib.* pip install 'icl-interp\[figures\]'"):
        FOUND.savefig(tmp_path / "y.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pdf"]


def test_every_result_of_a_study_is_plain_data_and_a_table(small_study):
    results = [found for found in small_study.results.values() if isinstance(found, Result)]
    assert len(results) > 8
    for found in results:
        told = found.to_dict()
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert isinstance(found.to_frame(), pd.DataFrame)
        assert "plotly" in found._repr_html_()
