"""A spectral signature on disk: one file of plain tensors and plain data.

The only file access in this package, so that a fitted signature can be scored elsewhere.
"""

import io
import os
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probes._errors import InputError

_FORMAT = "spectral-signature"
_VERSION = 1
_FIELDS: dict[str, type] = {
    "reference": Tensor,
    "direction_references": Tensor,
    "eigenvalues": Tensor,
    "k": int,
    "center": bool,
    "side": str,
    "n_samples": int,
    "kept": Tensor,
}


def write_signature_fields(path: str | os.PathLike[str], fields: dict[str, Any]) -> None:
    """Write into a temporary file of the same folder, force it to the disk, then move it into place.

    Args:
        path: Where the file shall be; a link stays one, and what it points to is replaced.
        fields: A signature's fields.

    Raises:
        InputError: If something else than a signature is there.
    """
    path = Path(os.path.realpath(path))
    _refuse_foreign(path)
    plain = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in fields.items()}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            torch.save({"format": _FORMAT, "version": _VERSION, **plain}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not (path.is_file() and _holds_signature(path))):
        raise InputError(
            f"SpectralSignature.save writes over nothing but an older signature, got {path}, which is something else; "
            "choose another name, or move it away."
        )


def _holds_signature(path: Path) -> bool:
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True, map_location="cpu")
    except Exception:  # as in read_signature_fields
        return False
    return isinstance(content, dict) and content.get("format") == _FORMAT


def read_signature_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_signature_fields` wrote.

    Args:
        path: The file.

    Returns:
        A signature's fields, on the CPU.

    Raises:
        InputError: If the file holds anything else.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        content = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError and more on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"SpectralSignature.load needs a file that SpectralSignature.save wrote, got {path} ({reason}); "
            "nothing but tensors and plain data is ever unpacked."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(
            f"SpectralSignature.load needs a file that SpectralSignature.save wrote, got {path}, which holds something "
            "else; is it a checkpoint?"
        )
    if content.get("version") != _VERSION:
        raise InputError(
            f"SpectralSignature.load needs version {_VERSION} of the format, got {content.get('version')!r} in {path}; "
            "update the library, or fit again."
        )
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise InputError(
            f"SpectralSignature.load needs all fields of a signature, got {path} without a usable {', '.join(wrong)}; "
            "fit again."
        )
    return {name: content[name] for name in _FIELDS}
