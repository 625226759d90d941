"""Laying an archive out again, as a folder whose results Snakemake takes as finished."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from stepscape.archive.bag import Bag, bag_faults, open_bag, payload
from stepscape.archive.contents import RESULTS, read_table
from stepscape.errors import Mistaken, StepscapeError, counted
from stepscape.report.index import write_index
from stepscape.store.files import replacing, sha256
from stepscape.store.processes import is_left_over
from stepscape.store.receipts import Told, write_receipt
from stepscape.study.companions import FOLDER
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import load_study

_MOST_SHOWN = 8


def unpack(path: Path, folder: Path) -> list[str]:
    """Restores the results and the study of an archive; nothing is written unless all of it can be.

    Args:
        path: the archive.
        folder: the root of a checkout, or any other folder; made if need be.

    Returns:
        What was done, in lines.

    Raises:
        StepscapeError: the archive is damaged, or files that differ from it lie in the folder, or links that lead
            out of it.
    """
    faults = bag_faults(path)[1]
    if faults:
        raise StepscapeError("\n".join([*faults, "Nothing was unpacked."]))
    with open_bag(path) as bag:
        wanted = payload(bag, lambda name: name.startswith(("results/", "config/")))
        try:
            _check_target(folder, wanted, bag)
            written = _write(bag, wanted, folder)
        except OSError as error:
            told = f"{error.filename or folder}: {(error.strerror or str(error)).lower()}"
            raise StepscapeError(f"{told}\nWhat was unpacked so far is whole; the same command goes on.") from None
        there = len(wanted) - written
        lines = [f"{folder}: {counted(written, 'file')} unpacked" + (f", {there} there already" if there else "")]
        return lines + _receipted(bag, folder) + _indexed(bag, folder)


def _check_target(folder: Path, wanted: Mapping[str, str], bag: Bag) -> None:
    outside, different = [], []
    root = folder.resolve()
    for name, expected in wanted.items():
        target = folder / name
        if not target.resolve().is_relative_to(root) or target.is_symlink():
            outside.append(str(target))
        elif target.exists() and not (target.is_file() and sha256(target) == expected):
            different.append(str(target))
    dataset = folder / RESULTS.dataset(bag.name)
    for path in filter(is_left_over, dataset.rglob(".*")):  # what a killed process has begun
        path.unlink(missing_ok=True)
    strangers = (path for path in sorted(dataset.rglob("*")) if not path.is_dir())
    different += [str(path) for path in strangers if path.relative_to(folder).as_posix() not in wanted]
    for paths, words in (
        (outside, "a link, or below one that leads out of the folder"),
        (different, "there, but not as in the archive"),
    ):
        if paths:
            more = [f"and {len(paths) - _MOST_SHOWN} more"] if len(paths) > _MOST_SHOWN else []
            told = [f"{path}: {words}" for path in paths[:_MOST_SHOWN]]
            remedy = "Nothing was unpacked: move these away, or unpack into another folder."
            raise StepscapeError("\n".join([*told, *more, remedy]))


def _write(bag: Bag, wanted: Mapping[str, str], folder: Path) -> int:
    """Writes what is not there; every file gets one time stamp, so that to Snakemake none is older than its inputs."""
    now = time.time_ns()
    written = 0
    for name in sorted(wanted, key=lambda name: (name == RESULTS.dataset_marker(bag.name).as_posix(), name)):
        target = folder / name
        if not target.exists():
            content = bag.read(f"data/{name}")
            with replacing(target) as file:
                file.write(content)
            written += 1
        os.utime(target, ns=(now, now))
    return written


def _receipted(bag: Bag, folder: Path) -> list[str]:
    """Writes the receipts of the study's packs, as old as what was unpacked."""
    paths = Paths(folder / RESULTS.root)
    stamp = paths.dataset_marker(bag.name).stat().st_mtime_ns
    try:
        study = load_study(folder / FOLDER / f"{bag.name}.yaml")
    except Mistaken as error:
        return [str(error), "This version cannot read the study, so Snakemake has no use for what was unpacked."]
    told = _told(bag)
    strange = [run.id for run in study.runs if run.id not in told]
    for pack in make_plan([study]).packs:
        if all(run.id in told for run in pack.runs) and not paths.receipt(pack.id).exists():
            write_receipt(paths, pack, told)
            os.utime(paths.receipt(pack.id), ns=(stamp, stamp))
    if strange:
        of = counted(len(study.runs), "run")
        return [f"{len(strange)} of {of} are others in this version of Stepscape; Snakemake would train them."]
    return []


def _indexed(bag: Bag, folder: Path) -> list[str]:
    """Writes the index of all studies in the folder, as old as what was unpacked."""
    paths = Paths(folder / RESULTS.root)
    stamp = paths.dataset_marker(bag.name).stat().st_mtime_ns
    os.utime(write_index(paths), ns=(stamp, stamp))
    return [f"{paths.report(bag.name)}: the page to begin with"]


def _told(bag: Bag) -> dict[str, Told]:
    """What the archive says of its runs, in terms of receipts."""
    rows = read_table(bag.read(f"data/{RESULTS.table(bag.name).as_posix()}"))
    return {
        row["run"]: {
            "sha256": bag.sums[f"data/{RESULTS.run(row['run']).as_posix()}"],
            "status": row["status"],
            "updates": int(row["n_steps"]),
        }
        for row in rows
    }
