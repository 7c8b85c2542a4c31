"""The example notebooks run from top to bottom, and the pages that nbconvert makes of them have their figures."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
FIGURES = {"first_look": 3, "linear_block": 3, "signature_and_atlas": 2, "training_dynamics": 3, "your_own_model": 1}
"""How many figures each notebook has."""
FAST = ("first_look", "linear_block")
CDN = "https://cdn.plot.ly/plotly-"


def executed(names, folder):
    """Run notebooks in one kernel, which forgets everything in between, and take them apart again."""
    notebooks = [nbformat.read(FOLDER / f"{name}.ipynb", as_version=4) for name in names]
    cells = [[*notebook.cells, new_code_cell("%reset -f")] for notebook in notebooks]
    for number, cell in enumerate(cell for part in cells for cell in part):
        cell["id"] = f"together-{number}"
    together = new_notebook(cells=[cell for part in cells for cell in part], metadata=notebooks[0].metadata)
    nbformat.write(together, folder / "together.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "together.ipynb"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = iter(nbformat.read(folder / "together.ipynb", as_version=4).cells)
    for notebook, part in zip(notebooks, cells, strict=True):
        notebook.cells = [next(ran) for _ in part][:-1]
    return dict(zip(names, notebooks, strict=True))


def check(name, notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    figures = [output.data for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(figures) == FIGURES[name]
    for drawn in figures:  # JupyterLab and VS Code draw the data, pages of nbconvert the HTML
        assert drawn["application/vnd.plotly.v1+json"]["data"]
        assert CDN in drawn["text/html"]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert page.count('class="plotly-graph-div"') == FIGURES[name]
    assert "Traceback" not in page
    return page


def test_the_fast_notebooks_run(tmp_path):
    for name, notebook in executed(FAST, tmp_path).items():
        page = check(name, notebook)
    assert "risk 2.727" in page  # of the block, whose least risk is 30/11


@pytest.mark.slow
def test_the_other_notebooks_run(tmp_path):
    for name, notebook in executed([name for name in FIGURES if name not in FAST], tmp_path).items():
        page = check(name, notebook)
    assert "<table" in page  # a study is shown as its claims


def test_notebooks_are_kept_without_outputs():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(FIGURES)
    for name in FIGURES:
        cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert code
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
        assert len("".join(cells[0]["source"]).split()) > 15  # it opens with what it is about
