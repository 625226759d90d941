"""Checksums of a study's dataset: Zarr reads a chunk that is gone as fill value, so that only a list can miss it.

The list is the file `SHA256SUMS` in the study's folder; `sha256sum --check SHA256SUMS` reads it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from stepscape.store.files import sha256, write_atomically
from stepscape.study.paths import CHECKSUMS


def write_checksums(folder: Path, sums: Mapping[str, str]) -> None:
    """Writes the list of a folder.

    Args:
        folder: the folder.
        sums: the path of each file as seen from it, to its SHA-256 in hex.
    """
    lines = (f"{digested}  {name}\n" for name, digested in sorted(sums.items()))
    write_atomically(folder / CHECKSUMS, "".join(lines).encode())


def checksum_faults(folder: Path) -> Iterator[str]:
    """Where a dataset and its table are not as the list says: files changed, gone, or added.

    Args:
        folder: that of a study under `results/studies`.

    Yields:
        The file, and what is wrong with it.
    """
    dataset, table = folder / "dataset.zarr", folder / "runs.csv"
    try:
        sums = _read(folder / CHECKSUMS)
    except (OSError, ValueError) as error:
        fault = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        yield f"{folder / CHECKSUMS}: {fault}; it is made with {dataset}, so that this has to be made again"
        return
    if not dataset.is_dir():
        yield f"{dataset}: missing"
        return
    for name, expected in sums.items():
        if fault := _fault(folder / name, expected):
            yield f"{folder / name}: {fault}"
    for path in [*sorted(dataset.rglob("*")), table]:
        if not path.is_dir() and path.relative_to(folder).as_posix() not in sums:
            yield f"{path}: not in {CHECKSUMS}"


def _fault(path: Path, expected: str) -> str:
    try:
        return "" if sha256(path) == expected else "damaged (its SHA-256 is another)"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _read(path: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        digested, gap, name = line.partition("  ")
        if not gap or len(digested) != 64 or set(digested) - set("0123456789abcdef"):
            raise ValueError(f"line {number} is no SHA-256 with a name")
        found[name] = digested
    if not found:
        raise ValueError("it is empty")
    return found
