"""Whether runs come out the same to the bit on the machine at hand, whatever trains beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stepscape.observables.gradient_norm import GradientNorm
from stepscape.observables.losses import Losses
from stepscape.observables.parameters import Parameters
from stepscape.study.run import Budget, Run
from stepscape.training.lanes import lane_mode, sequential_because, shared_by_lanes
from stepscape.training.loop import Group

_LANES = 8
_UPDATES = 4
_OBSERVED = (GradientNorm(every=1), Losses(every=1), Parameters(every=1))


@dataclass(frozen=True)
class Outcome:
    """What was tried of one architecture.

    Attributes:
        run: a run of it.
        mode: how its lanes are run here.
        because: why one after another; empty where they are not.
        differing: the groups in which a run came out otherwise than among eight: empty where all is well.
    """

    run: Run
    mode: str
    because: str
    differing: tuple[str, ...]


def architectures(runs: Iterable[Run]) -> list[Run]:
    """One run of each kind whose lanes can share a computation, whatever it observes."""
    found: dict[object, Run] = {}
    for run in runs:
        short = replace(run, observe=_OBSERVED, budget=Budget(steps=_UPDATES), stop=None, start=None)
        found.setdefault(shared_by_lanes(short), short)
    return list(found.values())


def selftest(runs: Iterable[Run], device: torch.device) -> Iterator[Outcome]:
    """Trains eight runs of each architecture for some updates: together, in another order, by twos, alone, and again.

    Args:
        runs: runs whose architectures are tried.
        device: where they train.

    Yields:
        The outcome of each architecture.
    """
    for run in architectures(runs):
        alike = [replace(run, seed=seed, lr=run.lr and run.lr / (seed + 1)) for seed in range(_LANES)]
        because = sequential_because(run, device)
        yield Outcome(run, lane_mode(run, device).name, because, tuple(_differing(alike, device)))


def _differing(runs: Sequence[Run], device: torch.device) -> Iterator[str]:
    if lane_mode(runs[0], device).name == "sequential":
        arrangements = {"a second time": [[run] for run in runs]}
        expected = _train([[run] for run in runs], device)
    else:
        arrangements = {
            "in another order": [list(reversed(runs))],
            "by twos": [list(runs[first : first + 2]) for first in range(0, len(runs), 2)],
            "alone": [[run] for run in runs],
            "a second time": [list(runs)],
        }
        expected = _train([list(runs)], device)
    yield from (name for name, groups in arrangements.items() if _train(groups, device) != expected)


def _train(groups: Iterable[Sequence[Run]], device: torch.device) -> dict[str, bytes]:
    found = {}
    for runs in groups:
        group = Group.start(runs, device)
        lanes = list(group.lanes)
        while group.lanes:
            group.advance()
        for lane in lanes:
            if lane.error:
                raise lane.error
            values = sorted(lane.record.values.items())
            found[lane.run.id] = b"".join(np.stack(rows).tobytes() for _, rows in values)
    return found
