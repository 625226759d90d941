"""What rules ask of the selected studies, in a file: jobs parse the Snakefile again, and must expand no grid for it.

The main process writes `results/plans/<hash of the content>.json` and names it in the environment, which jobs inherit.
So what a job is told never changes: neither by a study that is edited meanwhile, nor by other invocations.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepscape.errors import FileError
from stepscape.store.files import write_atomically
from stepscape.store.receipts import data_before, packs_before
from stepscape.study import fingerprint
from stepscape.study.identity import digest
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan
from stepscape.study.spec import Study

VARIABLE = "STEPSCAPE_PLAN"
"""The variable of the environment that names the file."""
_FORMAT = 1


@dataclass(frozen=True)
class OutlinedStudy:
    """What rules ask of a study.

    Attributes:
        path: its file.
        packs: ids of the packs that hold its runs.
        has_claims: whether anything is judged.
        figures: ids of its figures.
        fingerprints: of `dataset`, `claims`, `report`, `archive` and each `figure <id>`: what must make them again.
    """

    path: str
    packs: tuple[str, ...]
    has_claims: bool
    figures: tuple[str, ...]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Outline:
    """What rules ask of the selected studies.

    Attributes:
        packs: ids of all packs.
        studies: the studies, by name.
        before: pack to the packs that its job waits for, where there are any.
        data: pack to the datasets whose archives its job needs, where there are any.
        index: what must make the index of all studies again.
    """

    packs: tuple[str, ...]
    studies: Mapping[str, OutlinedStudy]
    index: str
    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def targets(self, paths: Paths) -> list[Path]:
        """What is made if nobody asks for anything else; what lies in between would not be made again if it went."""
        made = [paths.receipt(pack) for pack in self.packs]
        for name, study in self.studies.items():
            made += paths.products(name, study.figures, claims=study.has_claims)
        return [*made, paths.index]

    def pages(self, paths: Paths) -> list[Path]:
        """The page of each study."""
        return [paths.report(name) for name in self.studies]


def make_outline(plan: Plan, paths: Paths) -> Outline:
    """The outline of a plan.

    Args:
        plan: the selected studies.
        paths: where results lie; the plans of packs that are there tell what their jobs wait for.

    Returns:
        What rules ask of it.
    """
    starting = (pack for pack in plan.packs if any(run.parent for run in pack.runs))
    reading = (pack for pack in plan.packs if any(run.dataset.archives for run in pack.runs))
    before = {pack.id: tuple(packs_before(paths, pack.id)) for pack in starting}
    data = {pack.id: tuple(data_before(paths, pack.id)) for pack in reading}
    return Outline(
        packs=tuple(pack.id for pack in plan.packs),
        studies={study.name: _outlined(study, plan) for study in plan.studies},
        index=fingerprint.of_pages(),
        before={pack: needed for pack, needed in before.items() if needed},
        data={pack: needed for pack, needed in data.items() if needed},
    )


def _outlined(study: Study, plan: Plan) -> OutlinedStudy:
    figures = tuple(figure.id for figure in study.figures)
    fingerprints = {
        "dataset": fingerprint.of_dataset(study),
        "claims": fingerprint.of_claims(study),
        "report": fingerprint.of_report(study),
        "archive": _of_archive(study),
        **{f"figure {figure}": fingerprint.of_figure(study, figure) for figure in figures},
    }
    packs = tuple(pack.id for pack in plan.packs_of(study))
    return OutlinedStudy(str(study.path), packs, bool(study.claims), figures, fingerprints)


def _of_archive(study: Study) -> str:
    try:
        return fingerprint.of_archive(study)
    except FileError:  # it names files outside of the checkout: its archive's job says so
        return ""


def hand_down(outline: Outline, paths: Paths) -> Outline:
    """Writes an outline for the jobs that this process will start, and names the file in its environment."""
    content = json.dumps({"format": _FORMAT, **dataclasses.asdict(outline)}, indent=1)
    path = paths.outline(digest(content))
    if path.exists():
        path.touch()  # `gc` takes what nobody was handed for a day
    else:
        write_atomically(path, content.encode())
    os.environ[VARIABLE] = str(path.absolute())
    return outline


def handed_down() -> Outline | None:
    """The outline that the main process wrote; None where there is none, or it is damaged or another version's."""
    path = Path(os.environ.setdefault(VARIABLE, os.devnull))
    try:
        content = path.read_text()
        held: dict[str, Any] = json.loads(content) if digest(content) == path.stem else {}
    except (OSError, ValueError):
        return None
    if held.pop("format", None) != _FORMAT:
        return None
    studies = {name: OutlinedStudy(**_with_tuples(study)) for name, study in held.pop("studies").items()}
    before, data = (_with_tuples(held[name]) for name in ("before", "data"))
    return Outline(tuple(held["packs"]), studies, held["index"], before, data)


def _with_tuples(held: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
