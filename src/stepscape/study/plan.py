"""Planning: which runs there are, and which of them one job trains.

A pack's membership depends on the configuration alone. Runs lie on a line, those alike in shape side by side, and among
them those that differ in their seed only; the line is halved until no piece costs more than the target. So a new run
disturbs only the piece it falls in, and a new learning rate with all its seeds only one for each shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from operator import itemgetter
from typing import Any

from stepscape.study.identity import canonical_json, digest, plain
from stepscape.study.run import Run
from stepscape.study.spec import Study

_SECONDS_PER_MULTIPLICATION = 1.5e-10
_SECONDS_PER_UPDATE = 4e-4
_SECONDS_PER_RUN = 0.1
_SHORTEST, _LONGEST = 16.0, 300.0
_PIECES = 8


@dataclass(frozen=True)
class Pack:
    """The runs that one job trains. Its identity is a hash of theirs: nothing about it ever changes."""

    runs: tuple[Run, ...]

    @cached_property
    def id(self) -> str:
        """Its identity, 16 hex digits."""
        return digest("\n".join(run.id for run in self.runs))

    @property
    def cost(self) -> float:
        """Estimated seconds on one core."""
        return sum(map(cost, self.runs))


@dataclass(frozen=True)
class Plan:
    """The selected studies and their packs. A run that several studies share is in a pack of the first of them."""

    studies: tuple[Study, ...]
    packs: tuple[Pack, ...]

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Every run once, by identity."""
        return {run.id: run for pack in self.packs for run in pack.runs}

    def study(self, name: str) -> Study:
        """The selected study of that name."""
        return next(study for study in self.studies if study.name == name)

    @cached_property
    def _homes(self) -> dict[str, str]:
        return {run.id: pack.id for pack in self.packs for run in pack.runs}

    def packs_before(self, pack: Pack) -> list[str]:
        """The ids of the packs that hold runs from which runs of `pack` start."""
        return sorted({self._homes[run.parent] for run in pack.runs if run.parent in self._homes})

    def packs_of(self, study: Study) -> list[Pack]:
        """The packs that hold the runs of a study."""
        wanted = {run.id for run in study.runs}
        return [pack for pack in self.packs if any(run.id in wanted for run in pack.runs)]


def make_plan(studies: Sequence[Study]) -> Plan:
    """Groups the runs of the selected studies into packs, each run once; a pack is of one study and one generation."""
    packs: list[Pack] = []
    planned: set[str] = set()
    generation = _generations(run for study in studies for run in study.runs)
    for study in studies:
        fresh = {run.id: run for run in study.runs if run.id not in planned}
        planned.update(fresh)
        for number in sorted({generation[run_id] for run_id in fresh}):
            packs += plan_packs(run for run_id, run in fresh.items() if generation[run_id] == number)
    return Plan(tuple(studies), tuple(packs))


def _generations(runs: Iterable[Run]) -> dict[str, int]:
    """Run id to how many runs were trained before it, one starting from the other: packs then wait in no circle."""
    planned = {run.id: run for run in runs}
    found: dict[str, int] = {}
    for run_id in planned:
        line = []
        parent: str | None = run_id
        while parent in planned and parent not in found:
            line.append(parent)
            parent = planned[parent].parent
        before = found.get(parent, 0) if parent else -1
        for number, descendant in enumerate(reversed(line), start=before + 1):
            found[descendant] = number
    return found


def plan_packs(runs: Iterable[Run]) -> list[Pack]:
    """Groups runs into packs.

    The target is an eighth to a quarter of all the work, as a power of two so that it seldom moves, but not so short
    that starting a process would be the main cost, nor so long that much is lost with a job.

    Args:
        runs: the runs, each once.

    Returns:
        The packs, in the order of the line.
    """
    line = sorted(((_address(run), cost(run), run) for run in runs), key=itemgetter(0))
    if not line:
        return []
    target = 2.0 ** math.ceil(math.log2(_total(line) / _PIECES))
    pieces = _halve(line, min(max(target, _SHORTEST), _LONGEST))
    return [Pack(tuple(run for _, _, run in piece)) for piece in pieces]


_Line = list[tuple[int, float, Run]]


def _total(line: _Line) -> float:
    return sum(seconds for _, seconds, _ in line)


def _halve(line: _Line, target: float) -> list[_Line]:
    if len(line) == 1 or _total(line) <= target:
        return [line]
    bit = (line[0][0] ^ line[-1][0]).bit_length() - 1  # the highest in which these addresses differ
    middle = next(i for i, (address, _, _) in enumerate(line) if address >> bit & 1)
    return _halve(line[:middle], target) + _halve(line[middle:], target)


def _address(run: Run) -> int:
    """Where a run lies: a hash of what it shares with its lanes, one of all but seed and start, and its identity."""
    return int(alike(run) + run.kin + run.id, 16)


def alike(run: Run) -> str:
    """A hash of what runs share that may be trained together as lanes."""
    return str(_kept(run, "_alike", lambda: _shape(run.model, run.dataset, run.batch, run.dtype, run.optimizer.name)))


def _kept(run: Run, name: str, make: Callable[[], Any]) -> Any:
    """What is made of a run, kept with it: a plan asks of all its runs several times."""
    held = vars(run)
    if name not in held:
        held[name] = make()
    return held[name]


@cache
def _shape(*parts: object) -> str:
    return digest(canonical_json(plain(parts)))


def cost(run: Run) -> float:
    """Estimated seconds of a run on one core: a fixed formula, never what was measured, since packs depend on it."""
    return float(_kept(run, "_cost", lambda: _cost(run)))


def _cost(run: Run) -> float:
    sizes = (run.dataset.input_shape, run.dataset.outputs)
    forward = run.model.multiplications(*sizes) * _SECONDS_PER_MULTIPLICATION  # of one sample
    gradient = 3 * forward
    training = run.updates * run.optimizer.gradients * (_SECONDS_PER_UPDATE + gradient * run.batch)
    full = _SECONDS_PER_UPDATE + gradient * run.train_size
    observing = sum(entry.gradients(run) * entry.measurements(run.updates) for entry in run.observe) * full
    return _SECONDS_PER_RUN + training + observing
