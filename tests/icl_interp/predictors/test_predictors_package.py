"""What importing the predictors costs and brings along."""

from pathlib import Path

from fresh import run_text

import icl_interp.predictors as icl


def test_only_torch_is_imported(tmp_path: Path):
    script = (
        "import sys, icl_interp.predictors; "
        "print([name for name in ('scipy', 'sklearn', 'transformer_lens', 'plotly', 'pandas') if name in sys.modules])"
    )
    assert run_text(script, folder=tmp_path, imported=("torch",)) == (0, "[]\n", "")


def test_every_public_name_exists_once():
    assert sorted(set(icl.__all__)) == list(icl.__all__)
    assert all(hasattr(icl, name) for name in icl.__all__)
