"""The package itself: cheap, lazy, alone."""

import subprocess
import sys
from importlib import import_module

import pytest

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


def test_import_is_cheap_and_all_files_stand_alone() -> None:
    program = (
        "import sys, probes\n"
        "assert 'torch' not in sys.modules\n"
        "[getattr(probes, name) for name in probes.__all__]\n"
        "heavy = {'transformer_lens', 'plotly', 'icl_interp', 'sklearn', 'scipy', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
