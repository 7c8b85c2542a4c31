"""The manual: its code runs, its generated parts say what the code says, and its links lead somewhere."""

import importlib.util
import inspect
import re
import subprocess
import types
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.measure.study.run import study
from icl_interp.models import lens
from icl_interp.training.configs import load_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts}
CODE = {name: re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.S) for name, path in PAGES.items()}
NEEDED = Path(__file__).parent / "data" / "manual"
"""What the blocks of some pages are about, by the page's name."""
RUN_ELSEWHERE = {"models.md": "tests/test_readme.py"}


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"manual_{name}", DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated = load("generated")


def unescaped(page: str) -> str:
    return " ".join(re.sub(r"\\(.)|[*`]", r"\1", page).split())


# Code


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    """A tiny network in the demo's place: what the pages say must not depend on its size."""
    folder = tmp_path_factory.mktemp("manual")
    model = icl.build_model(icl.ModelConfig(n_dims=4, n_points=7, n_layers=2, n_heads=2, d_model=16), seed=0)
    icl.save_checkpoint(folder / "small.pt", model, task=icl.LinearRegression(n_dims=4, w_cov=(2.0, 2.0, 0.0, 0.0)))
    return folder / "small.pt"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Smaller than `developed_run`; naming it here sends this file to the process that knows what runs need."""
    folder = tmp_path_factory.mktemp("manual") / "run"
    tiny = [
        "model.n_layers=1",
        "model.d_model=8",
        "model.n_heads=1",
        "steps=3",
        "batch_size=4",
        "checkpoints={every: 1}",
    ]
    icl.train(load_config("demo", tiny), out=folder)
    return folder


def quick_study(model, task=None, **options):
    """Stand in for studies of the size that the pages ask for, which take minutes."""
    return study(model, task, **options | {"n_prompts": 8, "n_controls": 0})


@pytest.mark.parametrize("page", [name for name, blocks in CODE.items() if blocks and name not in RUN_ELSEWHERE])
def test_code_runs_from_top_to_bottom(page, request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = request.getfixturevalue("small_checkpoint")
    monkeypatch.setattr("icl_interp.data.demo_path", lambda: small)
    monkeypatch.setattr(icl, "study", quick_study)
    names = {"__name__": "page"}
    if (needed := NEEDED / page.replace(".md", ".py")).exists():
        exec(needed.read_text(), names)
    if page.startswith("measures/"):  # whose pages begin with the names that measures.md defines
        exec("\n".join(CODE["measures.md"]), names)
    if page == "measures/development.md":
        names["run"] = request.getfixturevalue("small_run")
    for block in CODE[page]:
        exec(compile(block, page, "exec"), names)


def test_most_pages_have_code():
    assert len([page for page, blocks in CODE.items() if blocks]) > 15


# What is made from the code


@pytest.mark.parametrize("command", ["icl-probe", "icl-train", "icl-reproduce"])
def test_the_page_of_commands_is_what_help_says(command):
    app = generated._apps()[command]
    shown = CliRunner().invoke(app, ["--help"], prog_name=command, env={"COLUMNS": "80"}).output
    said = re.sub(r"^ *(Arguments|Options):$", "", shown.removeprefix("Usage:"), flags=re.M).replace("\n", " ")
    page = unescaped(generated.commands(command)).replace("- ", " - ")
    for words in re.split(r" (?=--)|  +", said):
        assert " ".join(words.split()) in page
    options = [option for part in typer.main.get_command(app).params for option in part.opts]
    assert [option for option in options if option not in page] == []


def test_every_public_name_stands_in_the_reference():
    page = generated.fill((DOCS / "api.md").read_text() + (DOCS / "api_parts.md").read_text())
    rooms = {"icl_interp": icl, "icl_interp.predictors": icl.predictors, "icl_interp.interventions": icl.interventions}
    rooms["icl_interp.models.lens"] = lens
    names = [f"{room}.{name}" for room, module in rooms.items() for name in module.__all__ if name != "__version__"]
    missing = [name for name in names if not re.search(rf"^`+{{py:\w+}} {re.escape(name)}(?![.\w])", page, flags=re.M)]
    assert missing == ["icl_interp.interventions", "icl_interp.predictors"]  # rooms of their own
    assert "```{generated}" not in page


def test_the_reference_says_what_docstrings_say():
    page = unescaped(generated.api("icl_interp"))
    for name in ("spectral_signature", "LinearRegression", "SHIFTS"):
        entry = page[page.index(f"icl_interp.{name}") :]
        doc = inspect.getdoc(getattr(icl, name)) if name != "SHIFTS" else "Every shift by its name."
        assert " ".join(doc.split("\n\n")[0].split()) in entry[:1500]
    entry = generated._entry("icl_interp.spectral_signature", icl.spectral_signature)
    assert "(model_or_activations, prompts=None, *, layer=-1, site='resid_post'" in entry
    assert set(inspect.signature(icl.spectral_signature).parameters) == set(
        re.findall(r"^- \*\*`(\w+)`\*\*", entry, re.M)
    ) - {
        "InputTypeError",
        "InputError",
    }
    assert "- **`is_linear`**" not in generated._entry("icl_interp.Prompts", icl.Prompts)
    assert "- **`xs`**" in generated._entry("icl_interp.Prompts", icl.Prompts)


def test_every_listed_probe_stands_in_the_reference():
    page = generated.api("probes")
    assert page.count("\n## probes.") + 1 == len(list(generated._probes())) > 30
    assert "probes.spectra.effective_rank(singular_values)" in page
    assert r"One of `right`, `left`." in page


def test_rooms_follow_the_contract():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", generated.rooms(), flags=re.M)
    names = [name for name, _ in rows]
    assert names.index("cli") < names.index("measure") < names.index("models") < names.index("errors")
    assert set(names) == {path.stem for path in (ROOT / "icl_interp").iterdir() if is_room(path)}
    assert all(meaning.endswith(".") for _, meaning in rows)


def is_room(path: Path) -> bool:
    return (path / "__init__.py").exists() or (path.suffix == ".py" and path.stem != "__init__")


def test_the_gallery_names_each_embedded_model_and_shows_the_reports_that_exist(monkeypatch, tmp_path):
    record = types.SimpleNamespace(
        description="one layer of *linear* attention", good_for="weights", preset="zhang-lsa"
    )
    monkeypatch.setattr(icl, "demo_models", lambda: {"lsa": record}, raising=False)
    page = generated.demos(tmp_path)
    assert page.startswith(
        "## lsa\n\nOne layer of \\*linear\\* attention.\n\n*Good for:* Weights.\n\n```bash\nicl-probe demo:lsa "
    )
    assert "icl-train zhang-lsa --out lsa\n```" in page
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "lsa.html").touch()
    assert generated.demos(tmp_path).endswith('<a href="gallery/lsa.html">Open the report</a>')


def test_the_settings_of_learning_coefficients_have_the_defaults_that_the_page_says():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d.e-]+) \|", PAGES["measures/learning_coefficient.md"].read_text(), flags=re.M
    )
    assert len(rows) == 7
    assert {name: float(value) for name, value in rows} == {name: getattr(icl.LlcSettings(), name) for name, _ in rows}


# Links


def test_links_between_pages_lead_to_files():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    there = {*tracked, *(str(Path(name).parent) for name in tracked)}
    for name, path in PAGES.items():
        for link in re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", path.read_text(), flags=re.S)):
            if not link.startswith("http"):
                target = (path.parent / link).resolve().relative_to(ROOT)
                assert str(target) in there, f"{name}: {link}"


# Each was looked at when it was added; nothing fetches them.
EXTERNAL = {
    "https://github.com/dtsip/in-context-learning",
    "https://github.com/timaeus-research/icl",
    "https://download.pytorch.org/whl/cpu",
}


def test_links_that_leave_the_manual_are_listed():
    text = "".join(path.read_text() for path in (*PAGES.values(), ROOT / "README.md"))
    assert set(re.findall(r"https?://[^\s)>\"\'`]+", text)) == EXTERNAL


def test_every_page_has_a_place_in_the_contents():
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), flags=re.S)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(listed) == sorted(name.removesuffix(".md") for name in PAGES if name != "index.md")
