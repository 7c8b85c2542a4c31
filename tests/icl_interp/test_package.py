"""The package itself: cheap, lazy, without side effects; and the type-check hook that all other tests rely on."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fresh import run_text
from jaxtyping import TypeCheckError

import icl_interp
from icl_interp.models.layout import _interleave


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


@pytest.mark.parametrize("name", icl_interp.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(icl_interp, name) is not None
    assert name in dir(icl_interp)


def test_names_are_the_objects_of_their_homes() -> None:
    assert set(icl_interp._HOMES) == set(icl_interp.__all__) - {"__version__"}
    assert icl_interp.LinearRegression.__module__ == "icl_interp.tasks.linear_regression"
    assert icl_interp.predictors.__name__ == "icl_interp.predictors"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"icl_interp has no 'spectral_signatur'; there are: .*spectral_signature"):
        icl_interp.spectral_signatur  # noqa: B018
    assert not hasattr(icl_interp, "nothing")


def test_the_version_is_the_installed_one() -> None:
    assert icl_interp.__version__ == importlib.metadata.version("icl-interp")


HEAVY = (
    "torch",
    "transformer_lens",
    "transformers",
    "plotly",
    "matplotlib",
    "sklearn",
    "pandas",
    "scipy",
    "numpy",
    "pydantic",
)


@pytest.mark.parametrize("module", ["icl_interp", "icl_interp.cli.probe", "icl_interp.cli.train", "probes"])
def test_importing_is_cheap(module: str) -> None:
    assert run(f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


# Third parties come first: what they change when they are imported is not ours to answer for.
SIDE_EFFECTS = """
import importlib, os, pkgutil, warnings
import matplotlib.figure
import numpy, pandas, plotly.graph_objects, plotly.io, pydantic, scipy.stats, torch, transformer_lens, typer
import icl_interp, probes

def state():
    return {
        "torch seed": torch.initial_seed(),
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": str(numpy.random.get_state()),
        "dtype": torch.get_default_dtype(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "template": plotly.io.templates.default,
        "renderer": plotly.io.renderers.default,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "filters": list(warnings.filters),
        "number format": str(numpy.get_printoptions()),
    }

before = state()
names = [m.name for p in (icl_interp, probes) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    importlib.import_module(name)
after = state()
changed = [what for what in before if before[what] != after[what]]
print(len(names) > 60, changed)
"""


def test_importing_every_module_changes_nothing(tmp_path: Path) -> None:
    assert run_text(SIDE_EFFECTS, folder=tmp_path) == (0, "True []\n", "")


def test_shapes_are_checked_in_tests() -> None:
    # The canary of the jaxtyping hook for icl_interp: right shapes pass, wrong ones do not.
    assert _interleave(torch.zeros(2, 3, 4), torch.zeros(2, 3)).shape == (2, 6, 4)
    with pytest.raises(TypeCheckError):
        _interleave(torch.zeros(2, 3, 4), torch.zeros(2, 4))
    with pytest.raises(TypeCheckError):
        _interleave(torch.zeros(2, 3, 4, dtype=torch.long), torch.zeros(2, 3))
