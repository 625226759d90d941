"""What a study cost and what failed in it, from receipts: the part of a page that is not of the results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepscape.store.files import read_json
from stepscape.store.receipts import known, runs_of
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.study.spec import Study

_MOST_PACKS = 5


@dataclass(frozen=True)
class PackCost:
    """What the runs of a pack took.

    Attributes:
        pack: its id.
        runs: how many of the study's runs are counted in it.
        seconds: what they took.
        what: what most of them are.
    """

    pack: str
    runs: int
    seconds: float
    what: str


@dataclass(frozen=True)
class Costs:
    """What receipts tell of a study.

    Attributes:
        runs: how many runs they tell the time of.
        hours: device to the hours of one core or GPU that training took on it.
        packs: the slowest.
        versions: package to the versions that trained.
        days: the first and the last day on which a run ended.
        failed: runs that failed in the last job that tried them: id, fields, error.
    """

    runs: int = 0
    hours: Mapping[str, float] = field(default_factory=dict)
    packs: tuple[PackCost, ...] = ()
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    days: tuple[str, ...] = ()
    failed: tuple[Mapping[str, str], ...] = ()


def costs_of(study: Study, paths: Paths, devices: Mapping[str, str]) -> Costs:
    """What the receipts in a results folder tell of a study.

    Args:
        study: the study.
        paths: where results lie.
        devices: run id to the device that trained it.

    Returns:
        Its costs; those of results laid out from an archive are empty.
    """
    runs = {run.id: run for run in study.runs}
    told = {run: said for run, said in known(paths, runs.keys()).items() if said and "seconds" in said}
    hours: dict[str, float] = defaultdict(float)
    versions: dict[str, set[str]] = defaultdict(set)
    for run, said in told.items():
        hours[devices.get(run, "unknown device")] += float(said["seconds"]) / 3600
        for package, version in said.get("versions", {}).items():
            versions[package].add(version)
    days = sorted({str(said.get("finished", ""))[:10] for said in told.values()} - {""})
    return Costs(
        len(told),
        dict(sorted(hours.items())),
        tuple(_slowest(paths, runs, {run: float(said["seconds"]) for run, said in told.items()})),
        {package: tuple(sorted(found)) for package, found in versions.items()},
        (days[0], days[-1]) if days else (),
        tuple(_failed(paths, runs)),
    )


def _slowest(paths: Paths, runs: Mapping[str, Run], seconds: Mapping[str, float]) -> list[PackCost]:
    found, counted = [], set[str]()
    for receipt in sorted(paths.packs.glob("*.json")):
        own = [run for run in runs_of(receipt) if run in seconds and run not in counted]
        counted.update(own)
        if own:
            kinds = Counter(f"{runs[run].optimizer.name} on {runs[run].model.name}" for run in own)
            what = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
            found.append(PackCost(receipt.stem, len(own), sum(seconds[run] for run in own), what))
    return sorted(found, key=lambda pack: (-pack.seconds, pack.pack))[:_MOST_PACKS]


def _failed(paths: Paths, runs: Mapping[str, Run]) -> list[dict[str, str]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(paths.packs.glob("*.failed.json")):
        report = read_json(file)
        for failure in report.get("failures", []) if isinstance(report, dict) else []:
            if failure.get("run") in runs:
                found[failure["run"]] = {key: str(failure.get(key, "")) for key in ("run", "fields", "error")}
    return list(found.values())
