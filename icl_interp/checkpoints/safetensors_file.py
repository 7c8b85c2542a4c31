"""The bytes of .safetensors files: tensors, and in the header what else a checkpoint holds, as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from icl_interp.errors import InputError

__all__ = ["from_safetensors", "looks_like_safetensors", "to_safetensors"]

_KEY = "icl-interp"  # in the header's metadata, beside what other programs put there
_LENGTH_BYTES = 8  # of the header, little-endian; then the header, a JSON object


def looks_like_safetensors(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is of this format.

    Args:
        head: At least nine bytes, or the whole file.

    Returns:
        True if a JSON object follows the length of a header of less than 4 GB.
    """
    return head[4:_LENGTH_BYTES] == b"\0\0\0\0" and head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def from_safetensors(data: bytes) -> dict[str, Any]:
    """Read a file's bytes; the format holds no code.

    Args:
        data: The whole file.

    Returns:
        Tensors by name; in a file of ours, its plain data by key with the tensors under "weights".

    Raises:
        InputError: If the plain data is not a JSON object. Errors of the safetensors library pass through.
    """
    weights = load(data)  # checks lengths, offsets and shapes
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    text = header.get("__metadata__", {}).get(_KEY)
    if text is None:
        return dict(weights)
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise InputError(f"a .safetensors file of icl-interp needs a JSON object under {_KEY!r}; write it anew.")
    return {**plain, "weights": weights}


def to_safetensors(contents: Mapping[str, Any]) -> bytes:
    """Write a checkpoint as this format has it.

    Args:
        contents: "weights", tensors by name, and plain data. Tuples become lists and keys strings, as JSON has them.

    Returns:
        The bytes of a file.
    """
    weights: dict[str, Tensor] = contents["weights"]
    plain = {name: value for name, value in contents.items() if name != "weights"}
    whole = {name: weight.contiguous() for name, weight in weights.items()}
    return save(whole, metadata={"format": "pt", _KEY: json.dumps(plain)})
