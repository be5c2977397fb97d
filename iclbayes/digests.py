"""Digests (SHA-256) of what is read again later, so that damage is found out when it is read."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import write_text

DIGEST = "sha256"  # the field of a sealed JSON file with the digest of its other fields


def write_sealed(values: Mapping[str, Any], path: str | os.PathLike, indent: int | None = 2) -> None:
    """Writes a JSON object with a field `sha256`, the digest of the others; whole or not at all."""
    fields = json.loads(json.dumps(dict(values)))
    write_text(json.dumps(fields | {DIGEST: _digest(fields)}, indent=indent) + "\n", path)


def read_sealed(path: str | os.PathLike) -> dict[str, Any]:
    """The fields of a JSON object that `write_sealed` wrote, without the digest; an object without one is taken as it is.

    Raises:
      OSError: the file cannot be read.
      InputError: it is no JSON object, or its fields are not those that the digest is of.
    """
    path = Path(path)
    try:
        fields = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not whole JSON; restore it or choose another place") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path}: is no JSON object; restore it or choose another place")
    stored = fields.pop(DIGEST, None)
    if stored is not None and stored != _digest(fields):
        raise InputError(
            f"{path}: was damaged or changed after it was written (its digest differs); restore it or choose another place"
        )
    return fields


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """The digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arrays_digest(arrays: Mapping[str, Any]) -> str:
    """The digest of named arrays: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.reshape(-1).view(np.uint8).data if value.size else b"")
    return digest.hexdigest()
