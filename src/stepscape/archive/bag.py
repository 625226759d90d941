"""Bags: the layout of BagIt 1.0 (RFC 8493) in one zip, uncompressed, sorted, with fixed time stamps.

The same content gives the same bytes, so a bag can be checked to the last bit: what it holds against the SHA-256 of its
manifests, and the zip around it, which no reader looks at in full, against the one that would be written today.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.store.runfile import EPOCH

UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, RuntimeError, struct.error, OverflowError)
"""What `zipfile` raises where a zip is damaged."""

_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_MANIFEST, _TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_UNPORTABLE = re.compile(r"[\x00-\x1f\x7f\\%:]|^/|/$|//|(^|/)\.{1,2}(/|$)")


def is_portable(name: str) -> bool:
    """Whether a name leads to one place in the folder that a bag is unpacked to, on every system."""
    return bool(name) and not _UNPORTABLE.search(name)


def write_bag(
    file: BinaryIO, name: str, payload: Mapping[str, Path | bytes], info: Mapping[str, str]
) -> dict[str, str]:
    """Writes a bag, one member in memory at a time.

    Args:
        file: where to; it can seek, and is empty.
        name: of the one folder that everything in the zip lies in.
        payload: path under `data/` to the file, or the bytes, that belong there.
        info: what `bag-info.txt` says.

    Returns:
        Path under `data/` to SHA-256.

    Raises:
        StepscapeError: a file changed its size while it was read.
    """
    sizes = [len(held) if isinstance(held, bytes) else held.stat().st_size for held in payload.values()]
    told = {**info, "Payload-Oxum": f"{sum(sizes)}.{len(sizes)}"}
    tags = {
        "bag-info.txt": "".join(f"{key}: {' '.join(told[key].split())}\n" for key in sorted(told)).encode(),
        "bagit.txt": _DECLARATION,
    }
    written: dict[str, str] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for tag, content in tags.items():
            _add(archive, f"{name}/{tag}", content)
        for member in sorted(payload):
            held = payload[member]
            content = held if isinstance(held, bytes) else held.read_bytes()
            sizes.append(-len(content))
            _add(archive, f"{name}/data/{member}", content)
            written[member] = hashlib.sha256(content).hexdigest()
        if sum(sizes):
            raise StepscapeError("files changed while they were archived; start again when nothing else writes them")
        tags[_MANIFEST] = _manifest({f"data/{member}": told for member, told in written.items()})
        _add(archive, f"{name}/{_MANIFEST}", tags[_MANIFEST])
        listed = {tag: hashlib.sha256(content).hexdigest() for tag, content in tags.items()}
        _add(archive, f"{name}/{_TAG_MANIFEST}", _manifest(listed))
    return written


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, EPOCH), content)


def _manifest(sums: Mapping[str, str]) -> bytes:
    return "".join(f"{sums[member]}  {member}\n" for member in sorted(sums)).encode()


# ------------------------------------------------------------------------------------------------------------- reading


class Bag:
    """A bag that is open for reading. Made by `open_bag`.

    Attributes:
        path: its file.
        name: the folder that everything in it lies in.
        sums: path in that folder, `data/` in front for the payload, to the SHA-256 that a manifest tells.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        names = archive.namelist()
        self.name = names[0].partition("/")[0] if names else ""
        self.members = [name.removeprefix(f"{self.name}/") for name in names]
        self.sums: dict[str, str] = {}
        for manifest in (_TAG_MANIFEST, _MANIFEST):
            self.sums.update(self._sums(manifest))

    def _sums(self, manifest: str) -> dict[str, str]:
        lines = [_LINE.fullmatch(line) for line in self.read(manifest).decode(errors="replace").splitlines()]
        found = {match[2]: match[1] for match in lines if match}
        if not found or len(found) < len(lines):
            raise DamagedFileError(self.path, f"{self.name}/{manifest} is no list of checksums")
        return found

    def read(self, member: str) -> bytes:
        """What a member holds, its checksums checked.

        Args:
            member: its path in the bag's folder.

        Returns:
            All of it.

        Raises:
            DamagedFileError: there is none, or it is not what was written.
        """
        name = f"{self.name}/{member}"
        try:
            stored = self._archive.getinfo(name).compress_type == zipfile.ZIP_STORED
            content = self._archive.read(name) if stored else b""
        except UNREADABLE as error:
            raise DamagedFileError(self.path, f"{name}: {_told(error)}") from None
        if not stored:
            raise DamagedFileError(self.path, f"{name}: it is compressed")
        if member in self.sums and hashlib.sha256(content).hexdigest() != self.sums[member]:
            raise DamagedFileError(self.path, f"{name}: its SHA-256 is not that of the manifest")
        return content


def _told(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) else next(iter(error.args), "")
    return str(said or type(error).__name__)


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Opens a bag; what is read from it is checked, what is not read is not.

    Args:
        path: the file.

    Yields:
        The bag.

    Raises:
        DamagedFileError: it is no zip, or its manifests are damaged.
        StepscapeError: there is no such file.
    """
    if not path.is_file():
        raise StepscapeError(f"{path}: there is no such file")
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        reason = f"the directory at its end cannot be read: {_told(error)}"
        raise DamagedFileError(path, reason) from None
    with archive:
        yield Bag(path, archive)


def bag_faults(path: Path) -> tuple[int, list[str]]:
    """Checks all of a bag, to the last bit.

    Args:
        path: the file.

    Returns:
        How many members were checked, and what is wrong, naming the members; nothing where it is as it was written.
    """
    try:
        with open_bag(path) as bag, path.open("rb") as original:
            return len(bag.members), [str(DamagedFileError(path, fault)) for fault in _faults(bag, original)]
    except StepscapeError as error:
        return 1, [str(error)]


def _faults(bag: Bag, original: BinaryIO) -> list[str]:
    listed = {*bag.sums, _TAG_MANIFEST}
    faults = [f"{bag.name}/{member}: missing" for member in sorted(listed - set(bag.members))]
    faults += [f"{bag.name}/{member}: in no manifest" for member in sorted(set(bag.members) - listed)]
    faults += [
        f"{member!r}: leads out of the bag" for member in sorted({*bag.members, bag.name}) if not is_portable(member)
    ]
    readable = sorted(listed & set(bag.members))
    rebuilt = _Rebuilt(original)
    with zipfile.ZipFile(rebuilt, "w", zipfile.ZIP_STORED) as archive:
        for member in readable:
            try:
                content = bag.read(member)
            except DamagedFileError as error:
                faults.append(error.reason)
                continue
            if not faults:  # behind the first fault nothing is where it was written
                _add(archive, f"{bag.name}/{member}", content)
                if not rebuilt.agrees():
                    faults.append(f"{bag.name}/{member}: whole, but its header in the zip is not as it was written")
    if not faults and not (rebuilt.agrees() and not original.read(1)):
        faults.append("its members are whole, but the zip's directory is not as it was written")
    return faults


class _Rebuilt(io.RawIOBase):
    """What a zip should be, held from where it was last compared with the original."""

    def __init__(self, original: BinaryIO) -> None:
        self._original = original
        self._held = bytearray()
        self._start = self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        self._position = offset
        return offset

    def write(self, data: bytes) -> int:  # type: ignore[override]  # zipfile hands over bytes
        at = self._position - self._start
        self._held[at : at + len(data)] = data
        self._position += len(data)
        return len(data)

    def agrees(self) -> bool:
        """Whether the original holds the same up to here; what was compared is let go."""
        self._original.seek(self._start)
        same = self._original.read(len(self._held)) == self._held
        self._start += len(self._held)
        self._held.clear()
        return same


def payload(bag: Bag, under: Callable[[str], bool]) -> dict[str, str]:
    """Path under `data/` to SHA-256, of what `under` takes."""
    found = {member.removeprefix("data/"): told for member, told in bag.sums.items() if member.startswith("data/")}
    return {member: told for member, told in found.items() if under(member)}
