"""Settings as people type them: numbers with exponents, words that are no booleans, one value for a key, UTF-8."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from icl_interp import InputError, LinearRegression, ModelConfig
from icl_interp.cli.probe_checks import read_task
from icl_interp.settings import parse_yaml, read_yaml
from icl_interp.training.configs import load_config
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.sweep import load_grid

UMLAUT = "# Rauschen für süße Gewichte\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e4", 1e4), ("-1E-3", -1e-3), (".5e2", 50.0), ("1.5e+3", 1500.0), ("1.0e-05", 1e-5), ("10", 10), ("0.5", 0.5),
        (".inf", float("inf")), ("true", True), ("FALSE", False), ("null", None), ("yes", "yes"), ("On", "On"),
        ("n", "n"), ("e5", "e5"), ("1e", "1e"), ("'1e4'", "1e4"), ("x_scale=3", "x_scale=3"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    found = parse_yaml(text, where="a test")
    assert (type(found), found) == (type(value), value)


def test_counts_may_be_written_with_an_exponent() -> None:
    assert load_config("demo", ["steps=1e4"]).steps == 10_000
    assert load_config("demo", ["checkpoints={every: 2e2}"]).checkpoints == CheckpointSteps(every=200)


@pytest.mark.parametrize("word", ["yes", "on", "true", "false"])
@pytest.mark.parametrize("setting", ["lr", "steps", "grad_clip", "task.noise_std"])
def test_a_number_is_no_boolean(setting: str, word: str) -> None:
    with pytest.raises(ValueError, match=rf"demo: {setting}: .*, got '?{word}'?$|got {word.title()}$"):
        load_config("demo", [f"{setting}={word}"])


@pytest.mark.parametrize("fields", [{"noise_std": True}, {"x_mean": [True, 0.0]}, {"w_cov": False}], ids=str)
def test_true_is_no_number_in_python_either(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs (a number or a word|one number or a list .*), got"):
        LinearRegression(2, **fields)


def test_a_boolean_may_be_typed_in_any_way() -> None:
    assert all(load_config("demo", [f"scale_loss={word}"]).scale_loss for word in ("true", "yes", "on"))
    assert ModelConfig(n_dims=1, n_points=2, n_layers=1, n_heads=1, d_model=2, attn_only=True).attn_only


@pytest.mark.parametrize(
    "read", [lambda path: load_config(str(path)), load_grid, lambda path: read_task((str(path),))],
    ids=["config", "grid", "task"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"lr: 0.1\nsteps: 3\nlr: 0.2\n", "is not YAML: found the key 'lr' twice at line 3, column 1"),
        (b"a: {b: 1, c: 2, b: 3}\n", "found the key 'b' twice at line 1, column 17"),
        ("lr: 0.1  # süß\n".encode("latin-1"), "is not UTF-8"),
        (b"a: [\n", "is not YAML: "),
        (b"a: 2025-13-01\n", "is not YAML: month must be in"),
    ],
    ids=["key twice", "key twice inside", "latin-1", "broken", "no date"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: Any, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} .*{message}|{path} {message}"):
        read(path)


def test_merged_keys_may_be_overruled(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}\n", encoding="utf-8")
    assert read_yaml(path)["mine"] == {"a": 1, "b": 3}


def test_what_was_merged_may_be_merged_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: &b {x: 0}\ndefs: {a: &A {<<: *b, x: 1}}\nc: {<<: *A}\n", encoding="utf-8")
    assert read_yaml(path) == {"base": {"x": 0}, "defs": {"a": {"x": 1}}, "c": {"x": 1}}


def test_files_are_utf_8_whatever_the_locale_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(UMLAUT + "a: ü\n", encoding="utf-8")
    run = "from icl_interp.settings import read_yaml; print(ascii(read_yaml('config.yaml')))"
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    plain.pop("PYTHONIOENCODING", None)
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "{'a': '\\xfc'}\n"), done.stderr
