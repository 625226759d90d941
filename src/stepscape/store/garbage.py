"""What of a results folder no study needs: runs, receipts, plans, checkpoints, parts, files that runs start from.

Needed is what the studies in `config/studies` and those that the configuration names plan, the runs that these start
from, and all that belongs to a pack that is leased; not what killed processes have left under temporary names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepscape.errors import Mistaken, StepscapeError, counted, listed
from stepscape.store.content import wanted_of
from stepscape.store.files import set_aside, stored_spec
from stepscape.store.owners import read_owner
from stepscape.store.parts import kept
from stepscape.store.processes import is_forgotten, is_left_over
from stepscape.store.receipts import PLAN_KEYS, existing_runs, runs_of
from stepscape.store.seals import read_sealed
from stepscape.study.config import STUDIES, read_config, study_path
from stepscape.study.identity import canonical_json, digest
from stepscape.study.paths import Paths
from stepscape.study.spec import Study, load_study

_KINDS = {"": "receipt", "plan": "plan", "failed": "failure"}


@dataclass(frozen=True)
class Needed:
    """What must stay.

    Attributes:
        runs: ids of runs.
        starts: content hashes of files that runs start from.
        packs: ids of packs that are leased.
        parts: what datasets are collected from, as run files are now.
    """

    runs: frozenset[str]
    starts: frozenset[str]
    packs: frozenset[str]
    parts: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Garbage:
    """A file, or a folder, that nothing needs.

    Attributes:
        kind: run, receipt, plan, failure, checkpoint, start, part, outline or temporary.
        path: where it is.
        moved: whether it is set aside, since it tells of runs that stay, too.
    """

    kind: str
    path: Path
    moved: bool = False


def collect_garbage(results: str | None, *, delete: bool) -> int:
    """Prints what no study needs, and removes it if told so.

    Args:
        results: the results folder; if None, the one that the configuration says.
        delete: whether to remove.

    Returns:
        0.

    Raises:
        StepscapeError: a study cannot be read, there is none, or a file cannot be removed.
    """
    config = read_config()
    paths = Paths(Path(results or config.results))
    studies = _studies(config.studies)
    needed = what_is_needed(studies, paths)
    found = list(garbage(paths, needed))
    sizes = {item.path: _bytes(item.path) for item in found}
    for item in found:
        print(f"{item.kind:<10} {_size(sizes[item.path]):>9}  {item.path}{', set aside' if item.moved else ''}")
    if needed.packs:
        print(f"Kept for who trains now: all of {counted(len(needed.packs), 'pack')} (`stepscape status`).")
    if delete:
        _remove(found, paths)
    total = f"{counted(len(found), 'file')}, {_size(sum(sizes.values()))}{' removed' if delete else ''}"
    print(f"{paths.root}: {total}, needed by none of the studies {listed(study.name for study in studies)}")
    if found and not delete:
        print("`stepscape gc --delete` removes them.")
    return 0


def _studies(configured: Iterable[str]) -> list[Study]:
    files = {path.resolve(): path for path in [*sorted(STUDIES.glob("*.yaml")), *map(study_path, configured)]}
    faults = []
    found = []
    for path in files.values():
        try:
            found.append(load_study(path))
        except Mistaken as error:
            faults.append(str(error))
    if faults:
        raise StepscapeError("\n".join([*faults, "Nothing was removed: it is not known what these studies need."]))
    return found


def what_is_needed(studies: Collection[Study], paths: Paths) -> Needed:
    """What studies need, and who trains now.

    Args:
        studies: all whose results are to stay.
        paths: where results lie.

    Returns:
        Their runs, and those before them.
    """
    runs: dict[str, Any] = {run.id: run.spec for study in studies for run in study.runs}
    leased = _leased(paths)
    for pack, ids in leased.items():
        runs |= dict.fromkeys(ids) | _planned(paths.pack_plan(pack))
    starts: set[str] = set()
    waiting = list(runs)
    while waiting:
        run_id = waiting.pop()
        start = _start(runs[run_id] or stored_spec(paths.run(run_id)))
        starts.update(filter(None, [start.get("file")]))
        if (parent := start.get("run")) and parent not in runs:
            runs[parent] = None
            waiting.append(parent)
    wanted = {run.id: wanted_of(run, paths) for study in studies for run in study.runs}
    parts = frozenset(held.part for held in kept(paths.parts, wanted.values()).values())
    return Needed(frozenset(runs), frozenset(starts), frozenset(leased), parts)


def _start(spec: Any) -> dict[str, Any]:
    start = spec.get("start") if isinstance(spec, dict) else None
    return start if isinstance(start, dict) else {}


def _leased(paths: Paths) -> dict[str, Collection[str]]:
    """Packs to the runs that their owner is about to train, unless it has certainly ended."""
    found: dict[str, Collection[str]] = {}
    for path in sorted(paths.leases.glob("*.json")):
        owner = read_owner(path)
        if owner is None or not owner.is_dead():
            found[path.stem] = owner.runs if owner else ()
    return found


def _planned(pack_plan: Path) -> dict[str, Any]:
    content = read_sealed(pack_plan, PLAN_KEYS)
    specs = content.get("runs") if content else None
    return {digest(canonical_json(spec)): spec for spec in specs or ()} if isinstance(specs, list) else {}


def garbage(paths: Paths, needed: Needed) -> Iterator[Garbage]:
    """All that is not needed: what tells of runs first, so that nothing tells of a run that is gone.

    A pack that holds a run of no study is itself of none: what is left of it is garbage, but for a receipt that tells
    of runs that stay, which is set aside.
    """
    kept = {pack for pack, runs in _packs(paths).items() if runs <= needed.runs} | needed.packs
    for path in sorted(paths.packs.glob("*.json")):
        pack, _, kind = path.stem.partition(".")
        if pack not in kept:
            tells = not kind and not runs_of(path).keys().isdisjoint(needed.runs)
            yield Garbage(_KINDS.get(kind, kind), path, moved=tells)
    for path in sorted(paths.packs.glob("aside/*")):
        if runs_of(path).keys().isdisjoint(needed.runs):
            yield Garbage("receipt", path)
    checkpoints, starts = paths.checkpoint("").parent, paths.start("").parent
    yield from (Garbage("checkpoint", path) for path in sorted(checkpoints.glob("*.npz")) if path.stem not in kept)
    yield from (Garbage("checkpoint", path) for path in sorted(checkpoints.glob("aside/*")))
    yield from (Garbage("start", path) for path in sorted(starts.glob("*.npz")) if path.stem not in needed.starts)
    yield from (Garbage("part", path) for path in sorted(paths.parts.glob("*.part")) if path not in needed.parts)
    yield from (Garbage("run", paths.run(run_id)) for run_id in sorted(existing_runs(paths) - needed.runs))
    if not needed.packs:  # jobs that train now were handed one of these
        yield from (Garbage("outline", path) for path in sorted(paths.outlines.glob("*.json")) if is_forgotten(path))
    yield from (Garbage("temporary", path) for path in sorted(_left_over(paths.root)))


def _left_over(root: Path) -> Iterator[Path]:
    """What a killed process was writing; of a folder, the folder alone."""
    for place, folders, files in os.walk(root):
        found = {name for name in [*folders, *files] if name[0] == "." and is_left_over(Path(place, name))}
        folders[:] = [name for name in folders if name not in found]
        yield from (Path(place, name) for name in found)


def _packs(paths: Paths) -> dict[str, set[str]]:
    """Pack to the runs that its plan or its receipt tells of."""
    found: dict[str, set[str]] = {}
    for path in paths.packs.glob("*.json"):
        pack, _, kind = path.stem.partition(".")
        found.setdefault(pack, set()).update(_planned(path) if kind == "plan" else runs_of(path))
    return found


def _remove(found: Iterable[Garbage], paths: Paths) -> None:
    for item in found:
        try:
            if item.moved:
                set_aside(item.path, paths.packs / "aside")
            elif item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StepscapeError(f"{item.path}: not removed ({reason}); those listed before it are gone") from None


def _bytes(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):  # somebody else removed it meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
