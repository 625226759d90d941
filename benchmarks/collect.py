"""What collecting run files into a dataset costs, and asking of the dataset, with the bars and whether they are met.

The run files are generated: 12 numbers every step and 20 eigenvalues a hundred times, all of them noise. Each row is a
process of its own, so that its memory is too.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from stepscape.observables import Observable, Variable
from stepscape.registry import find, member
from stepscape.store.collect import collect_study, open_study
from stepscape.store.runfile import as_dataset, zipped
from stepscape.store.template import encoded
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.study.spec import Study, load_study
from stepscape.training.record import Record

NUMBERS, EIGENVALUES, MEASUREMENTS = 12, 20, 100
OPTIMIZERS, SEEDS = ("gd", "adam"), 10
RUNS_A_RATE = len(OPTIMIZERS) * SEEDS
CPU_MS_A_RUN, MEGABYTES, MORE_CPU_S, OPEN_S, ASK_S = 4.0, 500, 10.0, 1.0, 0.5
ASKED: dict[str, Callable[[xr.Dataset], Any]] = {
    "dense final losses of gd": lambda ds: ds.stepscape.dense("final_train_loss", optimizer="gd"),
    "trajectories at one lr": lambda ds: ds.stepscape.runs(lr=float(ds.lr.values[0])).train_loss.load(),
    "last sharpness of every run": lambda ds: ds.stepscape.last("hessian_eigenvalue"),
}
Taken = tuple[float, float, float]
"""CPU seconds, wall seconds, peak megabytes."""


def register_numbers() -> None:
    """Makes noise an observable, in place of what a run records every step."""
    if find("observable", "benchmark_numbers") is None:

        @member("benchmark_numbers")
        class Numbers(Observable):
            """The first is called as the training loss is."""

            def variables(self, run: Run) -> tuple[Variable, ...]:
                names = ["train_loss", *(f"number_{index}" for index in range(1, NUMBERS))]
                return tuple(Variable(name, "noise", summary=name == "train_loss") for name in names)


def make_study(folder: Path, rates: Iterable[float], steps: int) -> Study:
    """Runs of two optimizers at each of these learning rates, ten seeds each."""
    register_numbers()
    content = {
        "title": "Noise",
        "defaults": {
            "dataset": {"name": "quadratic", "eigenvalues": [1.0 / (1 + index) for index in range(EIGENVALUES)]},
            "model": {"name": "linear", "bias": False},
            "loss": "mse",
            "budget": {"steps": steps},
        },
        "grid": [{"optimizer": list(OPTIMIZERS), "lr": sorted(rates), "seed": list(range(SEEDS))}],
        "observe": {
            "benchmark_numbers": {"every": 1},
            "hessian_top": {"every": max(steps // MEASUREMENTS, 1), "k": EIGENVALUES},
        },
    }
    path = folder / "noise.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_study(path)


def rates_of(runs: int) -> list[float]:
    """As many learning rates as give `runs` runs."""
    return [1e-3 * (1 + index) for index in range(max(runs // RUNS_A_RATE, 1))]


def write_runs(runs: Iterable[Run], paths: Paths, *, positive: bool = False) -> None:
    """Writes the files of those that have none: noise, in the form in which they would have been recorded.

    Args:
        runs: the runs.
        paths: where results lie.
        positive: numbers that fall as the root of the steps, 10 % of noise on each, instead of noise alone.
    """
    for run in runs:
        path = paths.run(run.id)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zipped(encoded(_recorded(run, positive))))


def _recorded(run: Run, positive: bool) -> xr.Dataset:
    empty = as_dataset(Record(run), {"torch": "none"})
    random = np.random.default_rng(int(run.id, 16))
    steps = {observable.dim: np.asarray(observable.steps(run.updates)) for observable in run.observe}

    def noise(value: xr.Variable) -> tuple[Any, ...]:
        shape = (len(steps[str(value.dims[0])]), *value.shape[1:])
        drawn = random.standard_normal(shape, np.float32)
        if positive:
            decay = (1 + np.arange(shape[0])) ** -0.5
            drawn = decay.reshape(-1, *[1] * (len(shape) - 1)) * np.exp(0.1 * drawn)
        return value.dims, drawn.astype(value.dtype), value.attrs

    variables = {name: noise(value.variable) for name, value in empty.data_vars.items()}
    clocks = {name: (value.dims, steps[str(value.dims[0])], value.attrs) for name, value in empty.coords.items()}
    return xr.Dataset(variables, clocks, {**empty.attrs, "updates": run.updates})


def collect(folder: Path, rates: Sequence[float], steps: int) -> Callable[[], Any]:
    """Collects the study of these learning rates."""
    study = make_study(folder, rates, steps)
    return lambda: collect_study(study, Paths(folder))


def copy(folder: Path, rates: Sequence[float], steps: int) -> Callable[[], Any]:
    """Reads the bytes of the run files and writes them again: the least that collecting could cost."""
    files = [Paths(folder).run(run.id) for run in make_study(folder, rates, steps).runs]
    target = folder / "copy"
    target.mkdir()
    return lambda: [(target / file.name).write_bytes(file.read_bytes()) for file in files]


def concatenate(folder: Path, rates: Sequence[float], steps: int) -> Callable[[], Any]:
    """What a user of xarray alone would write."""
    files = [f"zip://::{Paths(folder).run(run.id)}" for run in make_study(folder, rates, steps).runs]
    options: dict[str, Any] = {"data_vars": "all", "coords": "minimal", "compat": "override", "join": "override"}

    def do() -> None:
        ds = xr.open_mfdataset(
            files, engine="zarr", combine="nested", concat_dim="run", consolidated=False, chunks={}, **options
        )
        ds.drop_encoding().to_zarr(folder / "concatenated.zarr", consolidated=False)

    return do


def measure(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> Taken:
    """CPU seconds, wall seconds and peak megabytes of what `prepare` returns; what prepares is in the memory only."""
    do = prepare(*arguments)
    cpu, wall = time.process_time(), time.perf_counter()
    do()
    taken = time.process_time() - cpu, time.perf_counter() - wall
    return *taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ask(folder: Path) -> dict[str, float]:
    """Wall seconds of opening the dataset and of each question, asked of a dataset opened anew."""
    path = Paths(folder).study("noise")
    open_study(path)  # imports
    taken = {"open_study": _wall(lambda: open_study(path))}
    return taken | {name: _wall(partial(_asked, question, path)) for name, question in ASKED.items()}


def _asked(question: Callable[[xr.Dataset], Any], path: Path) -> None:
    question(open_study(path))


def _wall(do: Callable[[], Any]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def show(name: str, runs: int, taken: Taken) -> None:
    """Prints a row."""
    cpu, wall, peak = taken
    print(f"{name:<32}{runs:>7}{cpu:>8.1f}{1e3 * cpu / runs:>8.2f}{wall:>8.1f}{peak:>9.0f}", flush=True)


def judge(what: str, value: float, bar: float, unit: str) -> None:
    """Prints a bar and whether it is met."""
    print(f"{what}: {value:.2f} {unit}, the bar is at most {bar:g}: {'met' if value <= bar else 'NOT MET'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collect", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="run files")
    parser.add_argument("--more", type=int, default=100, help="run files that are there later")
    parser.add_argument("--small", type=int, default=100, help="run files that xarray alone is given")
    parser.add_argument("--steps", type=int, default=2000, help="updates of a run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.runs, options.more, options.small, options.steps)


def compare(folder: Path, runs: int, more: int, small: int, steps: int) -> None:
    """Generates the run files in `folder` and prints all rows and bars."""
    few, first = rates_of(small), rates_of(runs)
    every = [*first, *(rate + 5e-4 for rate in rates_of(more))]
    beside = folder / "small"
    beside.mkdir()
    write_runs(make_study(beside, few, steps).runs, Paths(beside))
    study = make_study(folder, every, steps)
    write_runs(study.runs, Paths(folder))
    size = Paths(folder).run(study.runs[0].id).stat().st_size
    print(f"{NUMBERS} numbers x {steps} steps, {EIGENVALUES} eigenvalues x {MEASUREMENTS}: {size / 1e3:.0f} kB a run")
    print(f"{'':<32}{'runs':>7}{'CPU s':>8}{'ms/run':>8}{'wall s':>8}{'peak MB':>9}")

    def row(name: str, prepare: Callable[..., Callable[[], Any]], where: Path, rates: Sequence[float]) -> Taken:
        taken: Taken = apart(measure, prepare, where, rates, steps)
        show(name, len(rates) * RUNS_A_RATE, taken)
        return taken

    row("xarray.open_mfdataset, to_zarr", concatenate, beside, few)
    row("stepscape", collect, beside, few)
    row("raw copy of the bytes", copy, folder, first)
    cpu, _, peak = row("stepscape", collect, folder, first)
    row("stepscape, nothing new", collect, folder, first)
    more_cpu, _, more_peak = row(f"stepscape, {(len(every) - len(first)) * RUNS_A_RATE} more", collect, folder, every)
    asked = apart(ask, folder)
    judge("collecting", 1e3 * cpu / (len(first) * RUNS_A_RATE), CPU_MS_A_RUN, "CPU ms a run")
    judge("peak memory", max(peak, more_peak), MEGABYTES, "MB")
    judge("more runs", more_cpu, MORE_CPU_S, "CPU s")
    for question, seconds in asked.items():
        judge(question, seconds, OPEN_S if question == "open_study" else ASK_S, "s")


if __name__ == "__main__":
    main()
