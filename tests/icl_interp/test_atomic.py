import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from icl_interp.atomic import write_atomically


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
