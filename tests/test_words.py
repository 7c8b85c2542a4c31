"""The check of the wording finds what it bans and leaves alone what only looks like it."""

import runpy
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "words.py"))
FAULTS = (
    "512 prompts a family",
    "One vector a prompt",
    "this speaks of learning",
    "numbers are told of shifted prompts",
    "what MLPs are worth",
    "values below 1e-4 are drawn there",
    "a run is gone on with",
    "Framed are heads",
    "Decodable is not used.",
    "bytes, likewise",
)
FINE = (
    "512 prompts per family",
    "which heads a network needs",
    "with few tasks a network goes to dMMSE",
    "It needs a model.",
    "decodable does not mean used",
    "values below 1e-4 are drawn at 1e-4",
)


def banned(text: str) -> bool:
    return any(pattern.search(text) for pattern, _ in CHECK["_COMPILED"])


@pytest.mark.parametrize("text", FAULTS)
def test_banned_wording_is_found(text: str) -> None:
    assert banned(text)


@pytest.mark.parametrize("text", FINE)
def test_plain_wording_passes(text: str) -> None:
    assert not banned(text)


def test_every_source_of_words_is_read() -> None:
    for source in ("pages", "documents", "strings", "docstrings"):
        assert len(list(CHECK[source]())) > 100


def test_long_sentences_and_long_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    words, root = CHECK["Words"], CHECK["ROOT"]
    scope = CHECK["faults"].__globals__
    sources = {
        "pages": [words(root / "a.txt", 3, " ".join(["word"] * 36) + ".")],
        "documents": [words(root / "b.md", 5, "a risk of 2.7273, version 3.9.1")],
        "strings": [],
        "docstrings": [],
    }
    for name, found in sources.items():
        monkeypatch.setitem(scope, name, lambda found=found: found)
    long, digits = sorted(CHECK["faults"]())
    assert long.startswith("a.txt:3: ")
    assert "36 words" in long
    assert digits.startswith("b.md:5: “2.7273”")
