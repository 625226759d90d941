"""What training costs, as far as receipts tell. It sets what a job asks for, never what is in a pack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from stepscape.store.receipts import known
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan, alike, cost
from stepscape.study.run import Run


@dataclass(frozen=True)
class Costs:
    """What runs took, compared with the formula by which they were planned.

    Attributes:
        ratio: of seconds taken to seconds planned, over all that is known; 1 where nothing is.
        ratios: the same among runs of one shape, by that shape.
        memory: the most memory that a process used at the end of a run of a shape, in MB.
        taken: seconds that known runs took, each divided by the lanes it was trained among.
        planned: seconds that the formula gave them.
    """

    ratio: float = 1.0
    ratios: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    taken: float = 0.0
    planned: float = 0.0

    @property
    def is_learned(self) -> bool:
        """Whether any receipt told anything."""
        return self.planned > 0

    def seconds(self, runs: Iterable[Run]) -> float:
        """Estimated seconds to train runs one after another."""
        return sum(cost(run) * self.ratios.get(alike(run), self.ratio) for run in runs)

    def mem_mb(self, runs: Iterable[Run]) -> float:
        """Memory that a process used which trained such runs, in MB; 0 where none has."""
        return max((self.memory.get(alike(run), 0.0) for run in runs), default=0.0)


def learn(plan: Plan, paths: Paths) -> Costs:
    """What the receipts of planned runs tell.

    Args:
        plan: the selected studies.
        paths: where results lie.

    Returns:
        What they cost.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, float] = {}
    taken = planned = 0.0
    for run_id, said in known(paths, plan.runs.keys()).items():
        run = plan.runs[run_id]
        if not said or said.get("status") != "completed":  # what ended early took less than was planned
            continue
        if "seconds" not in said:  # laid out from an archive
            continue
        shape, seconds = alike(run), float(said["seconds"])
        ratios[shape].append(seconds / cost(run))
        memory[shape] = max(memory.get(shape, 0.0), float(said.get("mem_mb", 0)))
        taken, planned = taken + seconds, planned + cost(run)
    if not planned:
        return Costs()
    return Costs(taken / planned, {shape: median(found) for shape, found in ratios.items()}, memory, taken, planned)
