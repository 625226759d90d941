"""Which runs train as lanes of one computation, and whether they do."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from stepscape.study.run import Run

VECTORISED_BELOW = {"cpu": 2e7, "cuda": 1e9}
"""Arithmetic operations of an update of one run below which lanes are vectorised.

Measured on a CPU (`benchmarks/lanes.py`). On a GPU it is an estimate: an update of so few operations is mostly the cost
of starting kernels (`benchmarks/gpu_lanes.py` measures it where there is one).
"""

_MOST_LANES = 64
_WIDTH = 32  # lanes that a GPU always computes: its libraries choose kernels by the number of matrices
_MOST_NUMBERS = 2**22  # of a layer's outputs on the full training set, all lanes together


_VECTORS = 128  # bytes that elementwise kernels may take at once; fewer at the end of a tensor, by other instructions


@dataclass(frozen=True)
class LaneMode:
    """How lanes are run.

    Attributes:
        name: in the platform record.
        fill: number of copies of the first lane computed after the last one, at least.
        width: number of lanes computed, copies included; 0 where it may vary.
    """

    name: Literal["sequential", "vectorised"]
    fill: int
    width: int = 0

    def copies(self, lanes: int) -> int:
        """Number of copies computed beside so many lanes."""
        return max(self.fill, self.width - lanes)


SEQUENTIAL = LaneMode("sequential", 0)


def lane_mode(run: Run, device: torch.device) -> LaneMode:
    """How a run trains on a device: decided by what an update costs, never by how many runs are left.

    On a CPU many networks at once pay only where a single one's update is mostly the cost of starting operations
    (`python -m benchmarks.lanes`). The last numbers of a tensor may be rounded by other instructions than those before
    them, so copies of a lane stand there, and a batched product never is one of a single matrix.

    Args:
        run: the run.
        device: where it trains.

    Returns:
        The same for all runs of one model, dataset and batch size.
    """
    return SEQUENTIAL if sequential_because(run, device) else vectorised(run, device)


def sequential_because(run: Run, device: torch.device) -> str:
    """Why a run trains by itself on a device; empty where it trains as a lane."""
    if because := run.model.sequential_because or run.optimizer.sequential_because:
        return because
    operations = update_operations(run)
    return f"{operations:.0e} operations an update" if operations >= VECTORISED_BELOW[device.type] else ""


def vectorised(run: Run, device: torch.device) -> LaneMode:
    """The vectorised mode.

    Args:
        run: the run.
        device: where it trains.

    Returns:
        On a CPU copies enough to hold the last numbers of a tensor of one number a sample, or of one number a network
        where the model returns losses, whose tensors may have no axis of samples; on a GPU a fixed width.
    """
    if device.type != "cpu":
        return LaneMode("vectorised", 0, _WIDTH)
    numbers = _VECTORS // (8 if run.dtype == "float64" else 4)
    fewest = 1 if run.model.returns_losses else min(run.batch, run.dataset.test_size or run.batch)
    return LaneMode("vectorised", -(-numbers // fewest))


def lane_groups(runs: Iterable[Run], device: torch.device) -> list[list[Run]]:
    """The runs, those together that train as lanes of one computation.

    Lanes may differ in learning rate, schedule, seed, hyper-parameters, data of the same shape, budget and stopping
    rule.

    Args:
        runs: the runs.
        device: where they train.

    Returns:
        Every run once; groups of one where a run trains by itself.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        sequential = lane_mode(run, device) == SEQUENTIAL
        groups.setdefault(run.id if sequential else shared_by_lanes(run), []).append(run)
    return [part for group in groups.values() for part in _parts(group, _most_lanes(group[0], device))]


def _parts(group: list[Run], most: int) -> Iterator[list[Run]]:
    yield from (group[first : first + most] for first in range(0, len(group), most))


def update_operations(run: Run) -> float:
    """Arithmetic operations of an update of one run: three times those of the forward pass on its batch."""
    return 6.0 * run.batch * run.model.multiplications(run.dataset.input_shape, run.dataset.outputs)


def _most_lanes(run: Run, device: torch.device) -> int:
    if width := lane_mode(run, device).width:
        return width
    widest = run.model.parameter_count(run.dataset.input_shape, run.dataset.outputs) ** 0.5
    return max(1, min(_MOST_LANES, int(_MOST_NUMBERS / (run.train_size * widest))))


def shared_by_lanes(run: Run) -> Hashable:
    """What runs must agree in to be lanes of one computation."""
    dataset = run.dataset
    data = (dataset.train_size, dataset.test_size, dataset.input_shape, dataset.outputs, dataset.has_classes)
    return (data, run.model, run.loss, _fixed(run.optimizer), run.batch, run.dtype, run.observe)


def _fixed(optimizer: Any) -> Hashable:
    held = ((entry.name, getattr(optimizer, entry.name)) for entry in fields(optimizer))
    return type(optimizer), tuple((name, value) for name, value in held if not isinstance(value, float))
