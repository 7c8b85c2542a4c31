import json
import math
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from icl_interp.files import (
    PAGE_MARKER,
    as_json,
    finite,
    is_own_json,
    is_own_page,
    refuse_foreign,
    write_atomically,
)


def test_writes_and_replaces_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"old"))
    assert write_atomically(str(path), lambda file: file.write(b"new")) == path
    (tmp_path / "plain").write_bytes(b"")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "plain"]


@pytest.mark.parametrize("error", [RuntimeError("halfway"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_failure_halfway_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_errors_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"needs a folder that exists.*No such file.*; make the folder"):
        write_atomically(tmp_path / "missing" / "a.bin", lambda file: file.write(b""))
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_atomically(tmp_path / "taken", lambda file: file.write(b""))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b""))
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@contextmanager
def no_more_than(n_bytes: int) -> Iterator[None]:
    # A real error of the operating system, in the midst of a file.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_that_torch_meets_while_it_writes_is_the_disks_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    weights = {"a": torch.zeros(30_000), "b": torch.zeros(30_000)}
    with no_more_than(200_000), pytest.raises(OSError, match=r"a\.pt \(File too large\); make room there"):
        write_atomically(path, lambda file: torch.save(weights, file))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"needs a folder that exists.*Not a directory.*; make the folder"):
        write_atomically(tmp_path / "file" / "a.bin", lambda file: file.write(b""))


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe, and what reads from it without waiting."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_a_pipe_is_written_through(tmp_path: Path, pipe: tuple[Path, int]) -> None:
    refuse_foreign(pipe[0], is_own_page, what="a report")
    write_atomically(pipe[0], lambda file: torch.save({"a": 1}, file))
    assert pipe[0].is_fifo()
    assert os.read(pipe[1], 10_000).startswith(b"PK")
    assert list(tmp_path.iterdir()) == [pipe[0]]


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
def test_a_link_stays_a_link(tmp_path: Path, relative: bool, there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    link.symlink_to("elsewhere/target" if relative else target)
    if there:
        target.write_bytes(b"old")
    assert write_atomically(link, lambda file: file.write(b"new")) == link
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_links_in_a_circle_stay(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"/a \(Too many levels of symbolic links\)"):
        write_atomically(tmp_path / "a", lambda file: file.write(b""))
    assert (tmp_path / "a").is_symlink()


_HEAD = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_OLD_HEAD = _HEAD + '<meta name="viewport" content="x">\n<meta name="color-scheme" content="light dark">\n<title>'
PAGES = {
    "page": (_HEAD + PAGE_MARKER, True),
    "older page": (_OLD_HEAD + "x" * 5000 + '<header class="masthead">', True),
    "older watch page": ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Training: run', True),
    "page with the same head": (_OLD_HEAD, False),
    "other page": (_HEAD, False),
    "marker far down": (" " * 3000 + PAGE_MARKER, False),
    "empty": ("", False),
}


@pytest.mark.parametrize(("text", "own"), PAGES.values(), ids=PAGES)
def test_own_pages_are_known(tmp_path: Path, text: str, own: bool) -> None:
    (tmp_path / "page").write_text(text)
    assert is_own_page(tmp_path / "page") == own


JSONS = {
    "same": ('{"format": "icl-interp claims 1"}', True),
    "newer": ('{"format": "icl-interp claims 12"}', True),
    "other format": ('{"format": "icl-interp tables 1"}', False),
    "no format": ('{"format": 1}', False),
    "list": ("[]", False),
    "nothing": ("", False),
    "no text": ("\xff", False),
    "too deep": ("[" * 100_000, False),
}


@pytest.mark.parametrize(("text", "own"), JSONS.values(), ids=JSONS)
def test_own_json_is_known(tmp_path: Path, text: str, own: bool) -> None:
    (tmp_path / "results").write_text(text, encoding="latin-1")
    assert is_own_json(tmp_path / "results", "icl-interp claims 1") == own


def test_what_is_not_ours_is_refused_by_its_name(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "free", is_own_page, what="a report")
    with pytest.raises(
        ValueError, match=r"a report needs a name for a file, got .* \(Is a directory\); choose another"
    ):
        refuse_foreign(tmp_path, is_own_page, what="a report")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    for name in ("mine", "link"):
        with pytest.raises(ValueError, match=rf"a report is written over nothing but .*/{name}, which holds something"):
            refuse_foreign(tmp_path / name, is_own_page, what="a report")


def test_json_has_null_where_a_number_is_not_finite():
    content = {"b": [1.5, math.nan, (math.inf, "nan")], "a": {"deep": -math.inf, "count": 3, "none": None, "yes": True}}
    assert finite(content) == {
        "b": [1.5, None, [None, "nan"]],
        "a": {"deep": None, "count": 3, "none": None, "yes": True},
    }
    assert json.loads(as_json(content)) == finite(content)
    assert as_json({"b": 1, "a": math.nan}) == '{\n "a": null,\n "b": 1\n}\n'
