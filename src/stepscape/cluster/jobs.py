"""What a job that trains asks for: time and memory, learned from receipts, and its comment. The profile calls this."""

from __future__ import annotations

import math
from functools import cached_property

from stepscape.store.costs import Costs, learn
from stepscape.store.receipts import existing_runs
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack, Plan

START_SECONDS = 120.0
"""Seconds that a job may take before it trains: three starts of Python on a busy file system."""

_MARGIN = 2.0  # of what was learned
_MARGIN_UNLEARNED = 6.0  # of the formula: about how far it is off where a processor is slow
_SHORTEST_MINUTES = 10
_LEAST_MEM_MB, _UNLEARNED_MEM_MB = 2000, 8000
_MARGIN_MEMORY = 1.5


class Requests:
    """What the jobs of an invocation ask for; receipts are read when the first is asked."""

    def __init__(self, plan: Plan, paths: Paths) -> None:
        self._plan, self._paths = plan, paths
        self._minutes: dict[str, int] = {}

    @cached_property
    def _packs(self) -> dict[str, Pack]:
        return {pack.id: pack for pack in self._plan.packs}

    @cached_property
    def _studies(self) -> dict[str, str]:
        plan = self._plan
        return {pack.id: study.name for study in reversed(plan.studies) for pack in plan.packs_of(study)}

    @cached_property
    def _costs(self) -> Costs:
        return learn(self._plan, self._paths)

    @cached_property
    def _existing(self) -> set[str]:
        return existing_runs(self._paths)

    def minutes(self, pack_id: str) -> int:
        """The time limit of a pack, for what was missing of it at the first call."""
        if pack_id not in self._minutes:
            missing = [run for run in self._packs[pack_id].runs if run.id not in self._existing]
            margin = _MARGIN if self._costs.is_learned else _MARGIN_UNLEARNED
            seconds = START_SECONDS + margin * self._costs.seconds(missing)
            self._minutes[pack_id] = max(_SHORTEST_MINUTES, math.ceil(seconds / 60))
        return self._minutes[pack_id]

    def mem_mb(self, pack_id: str) -> int:
        """The memory of a pack, in MB."""
        used = self._costs.mem_mb(self._packs[pack_id].runs)
        return max(_LEAST_MEM_MB, math.ceil(_MARGIN_MEMORY * used)) if used else _UNLEARNED_MEM_MB

    def comment(self, pack_id: str) -> str:
        """What `squeue` shows of a pack: what the plugin shows of other jobs, and the first study that needs it."""
        return f"rule_train_pack_wildcards_{self._studies[pack_id]}_{pack_id}"


_latest: list[Requests] = []


def announce(plan: Plan, paths: Paths) -> None:
    """Tells the profile what will be trained; a later call replaces an earlier one."""
    _latest[:] = [Requests(plan, paths)]


def minutes(pack_id: str) -> int:
    """The time limit of a pack; the shortest where nothing is announced: inside a job, which has its limit already."""
    return _latest[0].minutes(pack_id) if _latest else _SHORTEST_MINUTES


def mem_mb(pack_id: str) -> int:
    """The memory of a pack, in MB; the least where nothing is announced."""
    return _latest[0].mem_mb(pack_id) if _latest else _LEAST_MEM_MB


def comment(pack_id: str) -> str:
    """The comment of the job of a pack; its id where nothing is announced."""
    return _latest[0].comment(pack_id) if _latest else pack_id
