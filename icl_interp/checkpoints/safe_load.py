"""Read a .pt or .safetensors file without running anything in it, and say in one sentence why it cannot be read."""

import errno
import hashlib
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from icl_interp.checkpoints.errors import CheckpointError, one_line
from icl_interp.checkpoints.safetensors_file import from_safetensors, looks_like_safetensors

__all__ = ["WeightFile", "load_weight_file"]

_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"  # the first opcode of every pickle since protocol 2, with which torch has always written
_HEAD_BYTES = 512
_STRINGS = ("UNICODE", "STRING")  # as in SHORT_BINUNICODE, BINSTRING, ...


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What one weight file held."""

    path: Path
    """The file."""
    contents: Any
    """Tensors (on the CPU) and plain data."""
    sha256: str
    """Checksum of the file's bytes, in hexadecimal."""

    def __repr__(self) -> str:
        return f"WeightFile({self.path}, sha256 {self.sha256[:12]})"


def load_weight_file(path: str | os.PathLike[str]) -> WeightFile:
    """Read a file that torch.save or the safetensors library wrote; its first bytes tell which.

    Only tensors and plain data are read (`weights_only=True`); a file that needs more is refused, and no
    option changes that. The checksum and the contents come from the same open file.

    Args:
        path: A file, not a folder.

    Returns:
        The contents, with their checksum.

    Raises:
        CheckpointError: If the file is missing, a folder, not a regular file, unreadable, empty, not torch's
            (a text file, a Git LFS pointer, a TorchScript or other archive), truncated or damaged, or holds a
            class or function, which the sentence names.

    Example:
        >>> load_weight_file("nowhere.pt")
        Traceback (most recent call last):
        ...
        icl_interp.checkpoints.errors.CheckpointError: a checkpoint needs a file that exists, got nowhere.pt;
        check the path.
    """
    path = Path(path)
    _check_place(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            _check_head(path, head)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            contents = _read_safetensors(path, file) if looks_like_safetensors(head) else _read(path, file)
    except OSError as error:
        raise CheckpointError(
            f"a checkpoint needs a file that can be read, got {path} ({error.strerror or one_line(error)}); "
            "change its permissions or pass another file."
        ) from error
    return WeightFile(path=path, contents=contents, sha256=sha256)


def _check_place(path: Path) -> None:
    try:
        if path.is_file():
            return
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a parent folder that may not be searched, a name that is too long
        raise CheckpointError(
            f"a checkpoint needs a file that can be read, got {path} ({error.strerror}); "
            "change its permissions or pass another file."
        ) from error
    if not exists:
        raise CheckpointError(f"a checkpoint needs a file that exists, got {path}; check the path.")
    if is_folder:
        raise CheckpointError(f"a weight file needs to be a file, got the folder {path}; name a file in it.")
    raise CheckpointError(f"a checkpoint needs a regular file, got {path}; copy its contents into a file first.")


def _check_head(path: Path, head: bytes) -> None:
    if head.startswith((_ZIP_MAGIC, _PICKLE_MAGIC)) or looks_like_safetensors(head):
        return
    advice = "pass the .pt file itself"
    if not head:
        kind, advice = "an empty file", "copy or download it again"
    elif head.startswith(b"version https://git-lfs"):
        kind, advice = "a Git LFS pointer", "run `git lfs pull` to fetch the file it stands for"
    elif _is_text(head):
        kind = f"a text file that starts with {' '.join(head.decode(errors='ignore').split())[:40]!r}"
    else:
        kind = "a file of another kind"
    raise CheckpointError(f"a checkpoint needs a file written by torch.save, got {kind}: {path}; {advice}.")


def _is_text(head: bytes) -> bool:
    text = head.decode(errors="ignore")  # the head may end inside a character
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)


def _read(path: Path, file: BinaryIO) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch's hints on old pickles and TorchScript; the sentence below says more
            return torch.load(file, weights_only=True, map_location="cpu")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The checksum has read every byte: it is not the disk, but torch that follows a cut archive's numbers and
        # seeks before the start of the file.
        raise _refusal(path, file, error) from error
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError and more on damaged files
        raise _refusal(path, file, error) from error


def _read_safetensors(path: Path, file: BinaryIO) -> Any:
    try:
        return from_safetensors(file.read())
    except OSError:
        raise
    except Exception as error:  # SafetensorError, and what broken JSON raises
        raise CheckpointError(
            f"a checkpoint needs a whole .safetensors file, got a damaged one ({one_line(error)[:100]}): {path}; "
            "copy or download it again."
        ) from error


def _refusal(path: Path, file: BinaryIO, error: Exception) -> CheckpointError:
    text = str(error)
    if "TorchScript" in text:
        return CheckpointError(
            f"a checkpoint needs tensors and plain data, got a TorchScript archive: {path}; save the model's "
            "state_dict() instead."
        )
    if isinstance(error, pickle.UnpicklingError) and (culprit := _culprit(text, file)):
        return CheckpointError(
            f"a checkpoint needs tensors and plain data only, got a pickle that asks for {culprit}: {path}; "
            "nothing of it was run and no option allows it: save the model's state_dict() instead."
        )
    file.seek(0)
    is_cut = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC and not zipfile.is_zipfile(file)
    came = "a truncated zip archive" if is_cut else "a damaged file or one of another program"
    return CheckpointError(
        f"a checkpoint needs a whole file written by torch.save, got {came}: {path}; copy or download it again."
    )


def _culprit(text: str, file: BinaryIO) -> str | None:
    # torch names the class in most of its messages; a plain pickle fails before torch comes to the class.
    if named := re.search(r"GLOBAL ([\w.<>]+)", text):
        return named.group(1)
    file.seek(0)
    return next(_globals(file), None)


def _globals(file: BinaryIO) -> Iterator[str]:
    # The classes and functions that a pickle asks for, from its opcodes; nothing is built or called.
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                yield str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
                yield ".".join(strings[-2:])
            elif opcode.name.endswith(_STRINGS):
                strings.append(str(argument))
    except Exception:  # not a pickle after all: the caller has a sentence for that
        return
