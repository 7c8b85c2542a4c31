"""How long measuring took, added up over all commands in a folder."""

import json
import time
from pathlib import Path

import pytest

from icl_interp.experiments.measuring_time import measuring, seconds_of_measuring


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its last entry is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[-1])
    return now


def test_blocks_add_up_also_where_they_end_in_an_error(tmp_path: Path, clock: list[float]) -> None:
    assert seconds_of_measuring(tmp_path) == 0.0
    with measuring(tmp_path):
        clock.append(112.5)
    assert seconds_of_measuring(tmp_path) == 12.5
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path, clock)
    assert seconds_of_measuring(tmp_path) == 15.0


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"minutes": 3})])
def test_a_broken_file_is_told_before_anything_is_measured(tmp_path: Path, text: str) -> None:
    (tmp_path / "measuring.json").write_text(text)
    told = r"the time of measuring needs a file with a number of seconds, got .*remove"
    with pytest.raises(ValueError, match=told), measuring(tmp_path):
        pytest.fail("measured")
    assert (tmp_path / "measuring.json").read_text() == text


def _interrupted(folder: Path, clock: list[float]) -> None:
    with measuring(folder):
        clock.append(115.0)
        raise KeyboardInterrupt
