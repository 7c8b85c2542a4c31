"""Records are named by the code that makes them, followed through its imports."""

from pathlib import Path

import pytest

from icl_interp import provenance as own
from icl_interp.provenance import code_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "probes" / "deep").mkdir(parents=True)
    texts = {
        "a": "from probes.b import (\n    x,\n)\n",
        "b": "import probes.c\nx = 1\n",
        "c": "from probes import d\n",
        "d": "y = 2\n",
        "alone": "z = 3\n",
        "deep/__init__": "",
        "deep/e": "",
    }
    for name, text in texts.items():
        (tmp_path / "probes" / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(own, "_ROOT", tmp_path)
    code_version.cache_clear()
    yield tmp_path / "probes"
    code_version.cache_clear()


@pytest.mark.parametrize(
    ("name", "changed", "differs"),
    [("a", "a", True), ("a", "b", True), ("a", "d", True), ("a", "alone", False), ("alone", "a", False),
     ("deep", "deep/e", True), ("deep", "a", False)],
)  # fmt: skip
def test_what_is_imported_counts_and_nothing_else(package: Path, name: str, changed: str, *, differs: bool) -> None:
    before = code_version(f"probes.{name}")
    (package / f"{changed}.py").write_text("other = 4\n", encoding="utf-8")
    code_version.cache_clear()
    assert (code_version(f"probes.{name}") != before) is differs


def test_without_sources_the_version_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version("probes.missing")
    monkeypatch.setattr(own, "__version__", "9.9")
    code_version.cache_clear()
    assert code_version("probes.missing") != before
    assert package.is_dir()


def test_models_that_are_loaded_by_name_count(package: Path) -> None:
    models = package.parent / "icl_interp" / "models" / "softmax"
    models.mkdir(parents=True)
    (models / "transformer.py").write_text("a = 1\n", encoding="utf-8")
    before = code_version("probes.alone")
    (models / "transformer.py").write_text("a = 2\n", encoding="utf-8")
    code_version.cache_clear()
    assert code_version("probes.alone") != before


@pytest.mark.parametrize("module", ["icl_interp.measure.development", "icl_interp.experiments.hill2025.measures"])
def test_the_forward_pass_is_part_of_what_records_are_made_by(module: str) -> None:
    made_by = {path.relative_to(own._ROOT).as_posix() for path in own._closure(module)}
    models = ("softmax/transformer", "softmax/attention", "linear/attention", "linear/components")
    assert {f"icl_interp/models/{name}.py" for name in models} < made_by


CODE = 'class A:\n    """Old."""\n    x: int = 1\n    """Of A."""\n\n\ndef f():\n    """Old."""\n    return "a"\n'


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [('"""Old."""', '"""New, in\n    two lines."""', False), ('"""Of A."""', "", False),
     ("x: int", "# why\n    x: int", False), ("= 1", "=  1  # one", False), ("= 1", "= 2", True),
     ('return "a"', 'return "b"', True)],
    ids=["docstrings", "a field's", "comment", "layout", "number", "text"],
)  # fmt: skip
def test_words_about_the_code_do_not_count(package: Path, old: str, new: str, *, differs: bool) -> None:
    (package / "d.py").write_text(CODE, encoding="utf-8")
    before = code_version("probes.a")
    (package / "d.py").write_text(CODE.replace(old, new), encoding="utf-8")
    code_version.cache_clear()
    assert (code_version("probes.a") != before) is differs


@pytest.mark.parametrize("broken", ["def f(:  # old\n", "x = 1\0  # old\n"], ids=["syntax", "null"])
def test_code_that_cannot_be_parsed_counts_as_text(package: Path, broken: str) -> None:
    (package / "d.py").write_text(broken, encoding="utf-8")
    before = code_version("probes.a")
    (package / "d.py").write_text(broken.replace("old", "new"), encoding="utf-8")
    code_version.cache_clear()
    assert code_version("probes.a") != before
