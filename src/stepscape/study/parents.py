"""The runs that others start from: what must be so that they can, whichever study they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from stepscape.errors import FileError, Mistake, Mistaken, Mistakes, counted
from stepscape.store.files import stored_spec
from stepscape.study.restore import restore_run
from stepscape.study.run import Run, Start, describe_run
from stepscape.study.source import line_of, read_yaml

if TYPE_CHECKING:
    from stepscape.study.paths import Paths
    from stepscape.study.spec import Study


def parent_fault(child: Run, parent: Run, where: str) -> Mistake | None:
    """Why a run cannot start from another.

    Args:
        child: the run, its start resolved.
        parent: the run it names.
        where: the key path of the start.

    Returns:
        The mistake; None where it can.
    """
    step = child.start.step if child.start and child.start.step is not None else 0
    if step > parent.updates:
        allowed = f"steps up to {parent.updates}, the last of {describe_run(parent)}"
        return Mistake(f"{where}.step", str(step), allowed)
    kept = parent.observable("parameters")
    if kept is None or not kept.is_due(step):
        given = f"{step}, when {describe_run(parent)} keeps no parameters"
        at = sorted({step, *(kept.at if kept else ())})
        remedy = f"add `parameters: {{at: {at}}}` to what that run observes"
        return Mistake(f"{where}.step", given, "a step at which the run it starts from keeps its parameters", remedy)
    if parent.parameter_count != child.parameter_count:
        given = f"{describe_run(parent)}, of {counted(parent.parameter_count, 'parameter')}"
        return Mistake(f"{where}.run", given, f"a run of {child.parameter_count}, as {describe_run(child)} has")
    return None


def check_outer_starts(studies: Collection[Study], results: Paths | None) -> list[FileError]:
    """Checks the starts from runs that are not of the same study.

    Args:
        studies: all that are selected.
        results: where other runs may lie; None: nowhere.

    Returns:
        What is wrong, by study; of runs that are trained already nothing is.
    """
    planned = {run.id: run for study in studies for run in study.runs}
    found = []
    for study in studies:
        mistakes = Mistakes()
        children: dict[Start, list[Run]] = {}
        for run in study.runs:
            if run.start is None or run.start not in study.outer_starts:
                continue
            if not (results and results.run(run.id).exists()):
                children.setdefault(run.start, []).append(run)
        for start, several in children.items():
            with mistakes.collected():
                _check_outer_start(several, study.outer_starts[start], planned, results)
        if mistakes:
            lines = read_yaml(study.path)[1]
            placed = [dataclasses.replace(mistake, line=line_of(lines, mistake.where)) for mistake in mistakes]
            found.append(FileError(study.path, placed))
    return found


def _check_outer_start(children: Sequence[Run], where: str, planned: Mapping[str, Run], results: Paths | None) -> None:
    wanted = children[0].parent or ""
    parent = planned.get(wanted) or (_stored(wanted, where, results) if results else None)
    if parent is None:
        allowed = f"the id of a run of a selected study{f' or in {results.runs}' if results else ''}"
        raise Mistaken([Mistake(f"{where}.run", f"{wanted}, which is no such run", allowed, "select its study too")])
    faults = (parent_fault(child, parent, where) for child in children)
    if fault := next(filter(None, faults), None):
        raise Mistaken([fault])


def _stored(run_id: str, where: str, results: Paths) -> Run | None:
    path = results.run(run_id)
    spec = stored_spec(path)
    try:
        return None if spec is None else restore_run(spec)
    except Mistaken as error:
        given = f"{path}: {error.mistakes[0].where}: {error.mistakes[0].given}"
        raise Mistaken([Mistake(f"{where}.run", given, "a run that this version can train")]) from None
