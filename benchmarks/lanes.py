"""What an update costs in lanes that are vectorised, relative to one after another: the measured rule of the engine.

Run from the repository's root as `python -m benchmarks.lanes`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import torch

from stepscape.models import Model
from stepscape.registry import make
from stepscape.study.run import Budget, Run
from stepscape.training import lanes
from stepscape.training.lanes import SEQUENTIAL, LaneMode, vectorised
from stepscape.training.loop import Group
from stepscape.training.platform import prepare

NETS = ((16,), (32, 32), (100, 100), (200, 200))
BATCHES = (2, 8, 32, 128, 512)


@dataclass(frozen=True)
class Row:
    """CPU seconds of an update of one lane: one after another, vectorised from the lane form, vectorised by vmap."""

    operations: float
    sequential: float
    lane_form: float
    vmap: float


def measure(hidden: Sequence[int], batch: int, count: int, updates: int, repeats: int) -> Row:
    """Times `updates` updates of `count` runs in the three ways, alternating; the fastest of the repeats counts."""
    runs = [_run(hidden, batch, seed, updates) for seed in range(count)]
    many = vectorised(runs[0], torch.device("cpu"))
    ways = {"sequential": (SEQUENTIAL, True), "lane_form": (many, True), "vmap": (many, False)}
    seconds = {name: float("inf") for name in ways}
    for _ in range(repeats):
        for name, (mode, has_form) in ways.items():
            seconds[name] = min(seconds[name], _seconds(runs, mode, has_form))
    each = {name: value / count / updates for name, value in seconds.items()}
    return Row(lanes.update_operations(runs[0]), **each)


def _run(hidden: Sequence[int], batch: int, seed: int, updates: int) -> Run:
    return Run(
        dataset=make("dataset", {"name": "digits", "train_size": 1024, "test_size": 10}, "dataset"),
        model=make("model", {"name": "mlp", "hidden": list(hidden)}, "model"),
        loss=make("loss", "mse", "loss"),
        optimizer=make("optimizer", "gd", "optimizer"),
        lr=0.05,
        batch_size=batch,
        seed=seed,
        budget=Budget(steps=updates),
    )


def _seconds(runs: Sequence[Run], mode: LaneMode, has_form: bool) -> float:
    groups = [[run] for run in runs] if mode is SEQUENTIAL else [list(runs)]
    form = property(lambda model: has_form)
    with patch("stepscape.training.loop.lane_mode", lambda *_: mode), patch.object(Model, "has_lane_form", form):
        ready = [Group.start(group, torch.device("cpu")) for group in groups]
        started = time.process_time()
        for group in ready:
            while group.lanes:
                group.advance()
        return time.process_time() - started


def compare(count: int, updates: int, repeats: int) -> Iterator[str]:
    """The table, line by line."""
    yield f"{'hidden':<12}{'batch':>6}{'operations':>12}{'sequential':>12}{'lane form':>11}{'vmap':>7}"
    for hidden in NETS:
        for batch in BATCHES:
            row = measure(hidden, batch, count, updates, repeats)
            yield (
                f"{list(hidden)!s:<12}{batch:>6}{row.operations:>12.1e}{row.sequential * 1e3:>10.2f}ms"
                f"{row.sequential / row.lane_form:>10.1f}x{row.sequential / row.vmap:>6.1f}x"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes", description=__doc__)
    parser.add_argument("--lanes", type=int, default=32, help="runs in one computation")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="of which the fastest counts")
    options = parser.parse_args(arguments)
    prepare("cpu")
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread, float32")
    print(f"MLPs 64-hidden-10, {options.lanes} lanes; CPU time of an update, then how many times faster lanes are")
    print(f"the engine vectorises updates of fewer than {lanes.VECTORISED_BELOW['cpu']:.0e} operations")
    for line in compare(options.lanes, options.updates, options.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
