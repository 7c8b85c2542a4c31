"""What importing the predictors costs and brings along."""

import subprocess
import sys

import icl_interp.predictors as icl


def test_only_torch_is_imported():
    script = (
        "import sys, icl_interp.predictors; "
        "print([name for name in ('scipy', 'sklearn', 'transformer_lens', 'plotly', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_public_name_exists_once():
    assert sorted(set(icl.__all__)) == list(icl.__all__)
    assert all(hasattr(icl, name) for name in icl.__all__)
