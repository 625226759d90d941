"""Checking what was produced: run files by their checksums, a folder by its receipts, an archive to its last bit."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from stepscape.archive.bag import UNREADABLE, bag_faults
from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.store.checksums import checksum_faults
from stepscape.store.files import sha256
from stepscape.store.parts import part_fault
from stepscape.store.receipts import PLAN_KEYS, RECEIPT_KEYS, known, runs_of
from stepscape.store.runfile import is_as_written, open_run
from stepscape.store.seals import BrokenSealError, check_zip, unsealed_json
from stepscape.study.identity import canonical_json, digest
from stepscape.study.paths import CHECKSUMS, RUN_ENDING, Paths

_REMEDY = (
    "Delete what is damaged, of a dataset the whole folder `dataset.zarr`, and start Snakemake: it trains runs again, "
    "and makes datasets again from run files."
)


def verify(path: Path) -> int:
    """Checks a run file, a results folder or an archive and prints what is damaged.

    Args:
        path: a run file, an archive, or a folder that holds `runs` and `packs`.

    Returns:
        0; 1 if anything is damaged.

    Raises:
        StepscapeError: the path is none of these.
    """
    if not path.exists():
        raise StepscapeError(f"{path}: there is no such file or folder")
    if path.is_dir():
        if not (path / "runs").is_dir():
            raise StepscapeError(f"{path}: no results folder; one holds `runs` and `packs`")
        return _report(path, *_check_folder(Paths(path)))
    if _is_archive(path):
        return _report(path, *bag_faults(path), remedy="Take another copy of the archive, or make it again.")
    faults = [str(fault) for fault in [file_fault(path)] if fault]
    return _report(path, 1, faults)


def _is_archive(path: Path) -> bool:
    """Whether a file is meant as an archive; a run file has its group at the top, under whatever name."""
    if path.name.endswith(RUN_ENDING):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "zarr.json" not in archive.namelist()
    except UNREADABLE:
        return True


def _report(path: Path, checked: int, faults: list[str], remedy: str = _REMEDY) -> int:
    for fault in faults:
        print(fault)
    print(f"{path}: {checked} file(s) checked, {len(faults)} damaged")
    if faults:
        print(remedy)
    return 1 if faults else 0


def _check_folder(paths: Paths) -> tuple[int, list[str]]:
    files = {file.name.removesuffix(RUN_ENDING): file for file in sorted(paths.runs.glob(f"*/*{RUN_ENDING}"))}
    receipted = {run_id for receipt in paths.packs.glob("*.json") for run_id in runs_of(receipt)}
    told = known(paths, receipted)
    faults = []
    for run_id, file in files.items():
        fault = file_fault(file)
        said = told.get(run_id)
        if fault:
            faults.append(str(fault))
        elif said and said.get("sha256") != sha256(file):
            faults.append(f"{file}: whole, but not the file that its receipt tells of (SHA-256 differs)")
    missing = sorted(receipted - set(files))
    faults += [f"{paths.run(run_id)}: missing, though a receipt tells of it" for run_id in missing]
    kept = list(_checked(paths))
    faults += [f"{path}: damaged ({fault}); {remedy}" for path, fault, remedy in kept if fault]
    folders = sorted(
        {path.parent for name in ("dataset.zarr", CHECKSUMS) for path in paths.root.glob(f"studies/*/{name}")}
    )
    faults += [fault for folder in folders for fault in checksum_faults(folder)]
    return len(files) + len(kept) + len(folders), faults


def _checked(paths: Paths) -> Iterator[tuple[Path, str, str]]:
    """What is kept beside run files and datasets: the file, what is wrong with it, what to do then."""
    for path in sorted(paths.packs.glob("*.json")):
        pack, _, kind = path.stem.partition(".")
        if kind != "failed":
            fault = _pack_fault(path.read_bytes(), pack, PLAN_KEYS if kind == "plan" else RECEIPT_KEYS)
            yield path, fault, "delete it and start Snakemake, which writes it anew"
    for path in sorted(paths.checkpoint("").parent.glob("*.npz")):
        yield path, _seal_fault(path.read_bytes()), "start Snakemake, which sets it aside; its runs start anew"
    for path in sorted(paths.parts.glob("*.part")):
        found = part_fault(path)
        yield path, found.reason if found else "", "delete it; its run files are read again when it is needed"


def _pack_fault(content: bytes, pack: str, keys: Collection[str]) -> str:
    try:
        told = unsealed_json(content, keys)
    except BrokenSealError as error:
        return str(error)
    runs = told.get("runs")
    ids = runs if isinstance(runs, dict) else [digest(canonical_json(spec)) for spec in runs or ()]
    return "" if pack == told.get("pack") == digest("\n".join(ids)) else f"its runs are not those of pack {pack}"


def _seal_fault(content: bytes) -> str:
    try:
        check_zip(content)
    except BrokenSealError as error:
        return str(error)
    return ""


def file_fault(path: Path) -> DamagedFileError | None:
    """What is wrong with a run file; None where it has the very bytes it was written with."""
    try:
        open_run(path)
    except DamagedFileError as error:
        return error
    if not is_as_written(path):
        return DamagedFileError(path, "its data are whole, but the zip around them is not as it was written")
    return None
