"""The package itself: cheap, lazy, alone."""

from importlib import import_module
from pathlib import Path

import pytest
from fresh import run_text

import probes


@pytest.mark.parametrize("name", probes.__all__)
def test_every_file_is_reachable_and_lists_its_contract(name: str) -> None:
    module = getattr(probes, name)
    assert module is import_module(f"probes.{name}")
    assert all(hasattr(module, public) for public in module.__all__)
    assert name in dir(probes)


def test_an_unknown_file_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="probes has no file 'spectre'; it has agreement, algorithm_agreement"):
        probes.spectre  # noqa: B018


def test_all_files_stand_alone(tmp_path: Path) -> None:
    program = (
        "import sys, probes\n"
        "[getattr(probes, name) for name in probes.__all__]\n"
        "heavy = {'transformer_lens', 'plotly', 'icl_interp', 'sklearn', 'scipy', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert run_text(program, folder=tmp_path, imported=("torch",)) == (0, "", "")
