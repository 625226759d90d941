"""Receipts: what a job leaves when all runs of its pack are there, and their upkeep.

Run files are the cache; a receipt only tells Snakemake that a pack needs no job. Before Snakemake plans, receipts are
made to agree with the run files: one that names a missing run is set aside, one of a pack whose runs all exist is
written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from stepscape.datasets._user_file import UserFile
from stepscape.errors import FileError, Mistaken, StepscapeError
from stepscape.store.files import set_aside, write_atomically
from stepscape.store.seals import BrokenSealError, is_sealed, read_sealed, sealed, unsealed_json, write_sealed
from stepscape.study.identity import canonical_json, digest
from stepscape.study.paths import RUN_ENDING, Paths
from stepscape.study.plan import Pack, Plan
from stepscape.study.restore import restore_run
from stepscape.study.run import Run

RECEIPT_KEYS, PLAN_KEYS = ("pack", "runs"), ("pack", "runs", "before", "data")

Told = Mapping[str, Any] | None
"""What a receipt says of a run: sha256, status, updates, seconds, finished, host, versions; None: nothing is known."""


def existing_runs(paths: Paths) -> set[str]:
    """The ids of all run files."""
    found: set[str] = set()
    try:
        folders = [entry.path for entry in os.scandir(paths.runs) if entry.is_dir()]
    except FileNotFoundError:
        return found
    for folder in folders:
        names = (entry.name for entry in os.scandir(folder))
        found.update(name.removesuffix(RUN_ENDING) for name in names if name.endswith(RUN_ENDING) and name[0] != ".")
    return found


def missing_runs(plan: Plan, paths: Paths) -> dict[str, Run]:
    """The planned runs that have no file yet."""
    existing = existing_runs(paths)
    return {run_id: run for run_id, run in plan.runs.items() if run_id not in existing}


def keep_up(plan: Plan, paths: Paths) -> dict[str, Run]:
    """Makes receipts agree with run files, and writes what jobs will read.

    Args:
        plan: the selected studies.
        paths: where results lie.

    Returns:
        The planned runs that have no file yet.
    """
    missing = missing_runs(plan, paths)
    _keep_start_files(plan, paths, missing.values())
    _keep_data_files(plan, paths, missing.values())
    unreceipted = []
    for pack in plan.packs:
        receipt = paths.receipt(pack.id)
        to_train = any(run.id in missing for run in pack.runs)
        if to_train and receipt.exists():
            set_aside(receipt, paths.packs / "aside")
        if to_train or plan.packs_before(pack):
            _write_plan(plan, pack, paths, renew=to_train)
        if not to_train and not receipt.exists():
            unreceipted.append(pack)
    told = known(paths, {run.id for pack in unreceipted for run in pack.runs})
    for pack in unreceipted:
        write_receipt(paths, pack, told)
        paths.failures(pack.id).unlink(missing_ok=True)
    return missing


def _write_plan(plan: Plan, pack: Pack, paths: Paths, *, renew: bool) -> None:
    path = paths.pack_plan(pack.id)
    before = plan.packs_before(pack)
    if renew and path.exists():
        renew = _planned_before(path) != before if any(run.parent for run in pack.runs) else not is_sealed(path)
    if renew or not path.exists():
        data = sorted({run.dataset.name for run in pack.runs if run.dataset.archives})
        needs = {key: names for key, names in (("before", before), ("data", data)) if names}
        write_atomically(path, sealed(_plan_text(pack, needs).encode()))


def _plan_text(pack: Pack, needs: Mapping[str, list[str]]) -> str:
    """JSON but for its end, a run in each line: a hundred thousand of them are written before the first is trained."""
    head = json.dumps({"pack": pack.id, **needs}, indent=1).removesuffix("\n}")
    runs = ",\n  ".join(run.canonical for run in pack.runs)
    return f'{head},\n "runs": [\n  {runs}\n ]'


def _planned_before(pack_plan: Path) -> list[str] | None:
    """What a plan names; None where there is none, or it is damaged."""
    return _needs(pack_plan, "before")


def _needs(pack_plan: Path, what: str) -> list[str] | None:
    content = read_sealed(pack_plan, PLAN_KEYS)
    return None if content is None else list(content.get(what, []))


def data_before(paths: Paths, pack_id: str) -> list[str]:
    """The datasets whose archives are prepared before the job of a pack begins, as its plan says."""
    return _needs(paths.pack_plan(pack_id), "data") or []


def packs_before(paths: Paths, pack_id: str) -> list[str]:
    """The packs whose jobs that of `pack_id` waits for, since its runs start from theirs.

    The plan that the main process wrote is asked, not the studies, which may be edited while jobs run; once trained,
    a pack keeps its plan, so that regrouping the others makes no job.

    Args:
        paths: where results lie.
        pack_id: the pack.

    Returns:
        Their ids, without those of which nothing is left.
    """
    before = _planned_before(paths.pack_plan(pack_id)) or []
    return [other for other in before if paths.receipt(other).exists() or paths.pack_plan(other).exists()]


def _keep_start_files(plan: Plan, paths: Paths, missing: Iterable[Run]) -> None:
    files = {content: file for study in plan.studies for file, content in study.start_files.items()}
    for content in {run.start.file for run in missing if run.start and run.start.file}:
        if not paths.start(content).exists():
            write_atomically(paths.start(content), files[content].read_bytes())


def _keep_data_files(plan: Plan, paths: Paths, missing: Iterable[Run]) -> None:
    files = {content: file for study in plan.studies for content, file in study.data_files.items()}
    for dataset in {run.dataset for run in missing if isinstance(run.dataset, UserFile)}:
        content = str(dataset.content)
        if content in files and not paths.data.file(content).exists():
            write_atomically(paths.data.file(content), dataset.copied(files[content]))


def known(paths: Paths, wanted: Collection[str]) -> dict[str, Told]:
    """What receipts, old ones too, say of the wanted runs: of a run that was trained twice, what was said last."""
    told: dict[str, Told] = {}
    files = sorted([*paths.packs.glob("aside/*"), *paths.packs.glob("*.json")]) if wanted else []
    for file in files:
        for run_id, said in runs_of(file).items():
            if run_id in wanted and said and _finished(said) >= _finished(told.get(run_id)):
                told[run_id] = said
    return told


def _finished(said: Told) -> str:
    return str(said.get("finished", "")) if said else ""


def runs_of(receipt: Path) -> Mapping[str, Told]:
    """What a receipt says of its runs; nothing where it is damaged, or a plan or failures of a pack."""
    content = read_sealed(receipt, RECEIPT_KEYS)
    runs = content.get("runs") if content else None
    given = runs if isinstance(runs, dict) else {}
    return {run_id: said if isinstance(said, dict) else None for run_id, said in given.items()}


def write_receipt(paths: Paths, pack: Pack, told: Mapping[str, Told]) -> None:
    """Writes a pack's receipt."""
    runs = {run.id: told.get(run.id) for run in pack.runs}
    write_sealed(paths.receipt(pack.id), {"pack": pack.id, "runs": runs})


def read_pack(paths: Paths, pack_id: str) -> Pack:
    """The pack that a job was given, as the main process wrote it.

    Args:
        paths: where results lie.
        pack_id: the pack.

    Returns:
        The pack, its runs checked against their identities.

    Raises:
        StepscapeError: there is no such plan, or it is damaged.
        FileError: it was made by another version.
    """
    path: Path = paths.pack_plan(pack_id)
    try:
        given = unsealed_json(path.read_bytes(), PLAN_KEYS)
    except OSError as error:
        raise StepscapeError(
            f"{path}: no plan of a pack ({(error.strerror or str(error)).lower()}); start Snakemake: it writes it"
        ) from None
    except BrokenSealError as error:
        raise StepscapeError(f"{path}: damaged ({error}); start Snakemake again: it writes it anew") from None
    specs = given.get("runs")
    ids = [digest(canonical_json(spec)) for spec in specs] if isinstance(specs, list) else []
    if digest("\n".join(ids)) != pack_id:
        raise StepscapeError(
            f"{path}: damaged (its runs are not those of pack {pack_id}); delete it and start Snakemake again"
        )
    try:
        return Pack(tuple(restore_run(spec) for spec in specs or ()))
    except Mistaken as error:
        raise FileError(path, error.mistakes) from None
