"""A sweep by the engine, and by one fresh process for every run: CPU seconds, and where the engine's go.

Run from the repository's root as `python -m benchmarks.sweep`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from stepscape.store.files import write_json
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack
from stepscape.study.run import Run
from stepscape.study.spec import load_study
from stepscape.training import lanes, objective, problem
from stepscape.training.pack import train_pack

STUDY = Path("config/studies/quickstart.yaml")
LEAST_RATIO, LEAST_LANES, LEAST_INSIDE = 15.0, 5.0, 0.8
"""The bars: a process for each run over the engine, sequential over vectorised lanes, the share inside gradients."""


def drawn(runs: Sequence[Run], count: int) -> list[Run]:
    """Runs drawn evenly from a list."""
    return [runs[index * len(runs) // count] for index in range(count)]


def _plan(folder: Path, runs: Sequence[Run]) -> tuple[Paths, str]:
    paths, pack = Paths(folder), Pack(tuple(runs))
    write_json(paths.pack_plan(pack.id), {"pack": pack.id, "runs": [run.spec for run in runs]})
    return paths, pack.id


def in_processes(commands: Sequence[Sequence[str]]) -> float:
    """CPU seconds of commands, one after another, on one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for command in commands:
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _job(paths: Paths, pack: str) -> list[str]:
    return [sys.executable, "-m", "stepscape.cli", "train-pack", pack, "--results", str(paths.root), "--device", "cpu"]


def compare_processes(runs: Sequence[Run], folder: Path) -> Iterator[str]:
    """The engine beside a plain script and beside itself, started anew for every run."""
    engine = in_processes([_job(*_plan(folder / "engine", runs))])
    yield f"{'the engine, one process':<46}{engine:>8.1f} CPU s"
    alone = in_processes([_job(*_plan(folder / "alone", [run])) for run in runs])
    yield f"{'the engine, a process for each run':<46}{alone:>8.1f} CPU s{alone / engine:>7.1f}x"
    commands = []
    for run in runs:
        spec = folder / f"{run.id}.json"
        spec.write_text(json.dumps(run.spec))
        script = str(Path(__file__).with_name("plain_run.py"))
        commands.append([sys.executable, script, str(spec), str(folder / f"{run.id}.npz")])
    plain = in_processes(commands)
    yield f"{'a plain script, a process for each run':<46}{plain:>8.1f} CPU s{plain / engine:>7.1f}x"
    yield _bar("plain script over engine", plain / engine, LEAST_RATIO)


def _train(folder: Path, runs: Sequence[Run]) -> float:
    """CPU seconds of training runs in this process."""
    paths, pack = _plan(folder, runs)
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        if not train_pack(pack, paths, "cpu"):
            raise RuntimeError(f"a run failed: {paths.failures(pack).read_text()}")
    return time.process_time() - started


def compare_lanes(runs: Sequence[Run], folder: Path) -> Iterator[str]:
    """All runs as vectorised lanes, and one after another, in one process."""
    vectorised = _train(folder / "vectorised", runs)
    with patch.dict(lanes.VECTORISED_BELOW, cpu=0.0):
        sequential = _train(folder / "sequential", runs)
    yield f"{'vectorised lanes':<46}{vectorised:>8.1f} CPU s"
    yield f"{'one run after another':<46}{sequential:>8.1f} CPU s{sequential / vectorised:>7.1f}x"
    yield _bar("sequential over vectorised", sequential / vectorised, LEAST_LANES)


@dataclass
class Profile:
    """CPU seconds spent inside what is timed; what one timed function spends in another counts once.

    Attributes:
        seconds: by name.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _inside: bool = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time is counted."""

        def wrapped(*given: Any, **named: Any) -> Any:
            if self._inside:
                return function(*given, **named)
            self._inside, started = True, time.process_time()
            try:
                return function(*given, **named)
            finally:
                self._inside = False
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started

        return wrapped

    def timed_property(self, name: str, owner: type, attribute: str) -> contextlib.AbstractContextManager[Any]:
        """A patch under which a cached property's time is counted."""
        counted = cached_property(self.timed(name, owner.__dict__[attribute].func))
        counted.__set_name__(owner, attribute)
        return patch.object(owner, attribute, counted)


def profile(runs: Sequence[Run], folder: Path) -> Iterator[str]:
    """Where the CPU time of training goes, after imports."""
    _train(folder / "warm", runs[:1])
    found = Profile()
    hvp = problem.hvp

    def timed_hvp(function: Any, theta: torch.Tensor) -> Any:
        return found.timed("Hessian products", found.timed("Hessian products", hvp)(function, theta))

    with contextlib.ExitStack() as stack:
        for name, owner, attribute in (
            ("losses", objective._LanePoint, "outputs"),
            ("losses", objective._LanePoint, "losses"),
            ("gradients", objective._LanePoint, "gradient"),
            ("losses", objective._Point, "_forward"),
            ("gradients", objective._Point, "gradient"),
        ):
            stack.enter_context(found.timed_property(name, owner, attribute))
        stack.enter_context(patch.object(problem, "hvp", timed_hvp))
        total = _train(folder / "profiled", runs[1:])
    for name, seconds in sorted(found.seconds.items()):
        yield f"{'inside ' + name:<46}{seconds:>8.1f} CPU s{seconds / total:>7.0%}"
    inside = sum(found.seconds.values()) / total
    yield f"{'all of training':<46}{total:>8.1f} CPU s"
    yield _bar("share inside losses, gradients and products", inside, LEAST_INSIDE)


def _bar(name: str, found: float, bar: float) -> str:
    return f"{name}: {found:.2f}, the bar is {bar:g}: {'met' if found >= bar else 'not met'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="drawn evenly from the quickstart")
    parser.add_argument("--only", choices=("processes", "lanes", "profile"), help="one of the three parts")
    options = parser.parse_args(arguments)
    runs = list(load_study(STUDY).runs)
    some = drawn(runs, options.runs)
    scaling = [run for run in runs if run.loss.name == "cross_entropy"]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one core, one thread")
    parts = {
        "processes": (f"{len(some)} of the {len(runs)} runs of the quickstart", compare_processes, some),
        "lanes": (f"the map of step size against batch size, {len(scaling)} runs", compare_lanes, scaling),
        "profile": (f"where the time of these {len(some)} goes, after imports", profile, some),
    }
    for name, (title, part, chosen) in parts.items():
        if options.only in (None, name):
            print(f"\n{title}")
            with TemporaryDirectory() as folder:
                for line in part(chosen, Path(folder)):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
