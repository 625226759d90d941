"""Seals: a checksum over every byte of a file, at its end, so that no altered bit goes unseen.

A sealed JSON file ends with the SHA-256 of all before that line; a sealed zip has that of all before it as its comment.
Either is read by any reader of its format.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from stepscape.store.files import write_atomically

_KEY = "checksum"
_HEX = 64


class BrokenSealError(ValueError):
    """A file is not as it was written."""


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a mapping, not an empty one, as JSON that people can read, sealed."""
    write_atomically(path, sealed_json(value))


def sealed_json(value: Mapping[str, Any]) -> bytes:
    """A mapping, not an empty one, as JSON: keys in their order, its seal the last of them."""
    return sealed(json.dumps(value, indent=1, allow_nan=False).removesuffix("\n}").encode())


def sealed(body: bytes) -> bytes:
    """A sealed JSON file, from all of it before the brace that closes it."""
    return body + _seal(body)


def is_sealed(path: Path) -> bool:
    """Whether a file is there, sealed, and as it was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content == sealed(content[: -len(_seal(b""))])


def _seal(body: bytes) -> bytes:
    return f',\n "{_KEY}": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def unsealed_json(content: bytes, keys: Collection[str]) -> dict[str, Any]:
    """What a sealed JSON file says.

    Args:
        content: all of it.
        keys: those that it may have. A file without a seal, as older versions wrote them, may have no other.

    Returns:
        The mapping, without the seal.

    Raises:
        BrokenSealError: it is not as it was written.
    """
    try:
        value = json.loads(content)
    except ValueError:
        raise BrokenSealError("it is not JSON") from None
    if not isinstance(value, dict):
        raise BrokenSealError("it is no mapping")
    if _KEY in value:
        body = content[: -len(_seal(b""))]
        if content[len(body) :] != _seal(body):
            raise BrokenSealError("its checksum is not that of its content")
        del value[_KEY]
    if strange := value.keys() - set(keys):
        raise BrokenSealError(f"it has the keys {', '.join(sorted(strange))}")
    return value


def read_sealed(path: Path, keys: Collection[str]) -> dict[str, Any] | None:
    """What a sealed JSON file says; None where there is none, or it is not as it was written."""
    try:
        return unsealed_json(path.read_bytes(), keys)
    except (OSError, BrokenSealError):
        return None


def sealed_zip(content: bytes) -> bytes:
    """A zip that has no comment, sealed."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = bytes(_HEX)
    body = buffer.getvalue()[:-_HEX]
    return body + hashlib.sha256(body).hexdigest().encode()


def check_zip(content: bytes) -> None:
    """Checks a sealed zip, every byte of it.

    Raises:
        BrokenSealError: it is not as it was written.
    """
    if hashlib.sha256(memoryview(content)[:-_HEX]).hexdigest().encode() != content[-_HEX:]:
        raise BrokenSealError("its checksum is not that of its content")
