"""What planning a hundred thousand runs costs, beside a study of four, with the bars and whether they are met.

Each row is a command in a checkout of its own: CPU seconds of all its processes, and the most memory that one had.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stepscape.store.outline import VARIABLE

ROOT = Path(__file__).parents[1]
CPU_S, MEGABYTES, NESTED_MORE_CPU_S = 15.0, 500, 0.5
CHECKOUT = ("Snakefile", "rules", "workflow", "envs", "profiles", "slurm")
RUNS_A_RATE, SEEDS = 2000, 20
STUDY = """\
title: Many runs
defaults:
  dataset: {{name: digits, train_size: 500}}
  loss: mse
  budget: {{steps: 400}}
grid:
  - model: {models}
    optimizer: {optimizers}
    lr: {rates}
    batch_size: {batches}
    seed: {seeds}
observe:
  losses: {{every: 1}}
  hessian_top: {{every: 20, k: 2, tol: 1e-2}}
claims:
  - {{id: edge, name: hovers_at_threshold, where: {{optimizer: gd}}}}
figures:
  - loss_curves
"""


class Taken(NamedTuple):
    """What a command took: CPU seconds, and megabytes of its largest process."""

    cpu: float
    megabytes: float


def large(runs: int) -> str:
    """A study of `runs` runs, in steps of 2,000."""
    rates = [round(1e-3 * (1 + index), 6) for index in range(max(runs // RUNS_A_RATE, 1))]
    models = [{"name": "mlp", "hidden": hidden} for hidden in ([8], [16], [32], [32, 32], [64])]
    axes = {
        "models": models,
        "optimizers": ["gd", "heavy_ball", "adam", "rmsprop"],
        "batches": [8, 32, 64, 128, "full"],
    }
    return STUDY.format(
        rates=rates, seeds=list(range(SEEDS)), **{name: json.dumps(axis) for name, axis in axes.items()}
    )


def trivial() -> str:
    """A study of four runs."""
    return STUDY.format(models="mlp", optimizers="gd", rates=[0.1, 0.2], batches="full", seeds=[0, 1])


def checkout(folder: Path, study: str) -> Path:
    """Lays out what git would, with one study."""
    (folder / "config/studies").mkdir(parents=True)
    for name in CHECKOUT:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, folder / name)  # type: ignore[operator]
    shutil.copy2(ROOT / "config/site.yaml", folder / "config/site.yaml")
    (folder / "config/studies/many.yaml").write_text(study)
    (folder / "config/config.yaml").write_text("studies: [many]\ndevice: cpu\n")
    return folder


def take(folder: Path, *words: str, **environment: str) -> Taken:
    """Runs a command in a checkout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    child = subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert child.stdout
    with child.stdout as pipe:
        told = pipe.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # it is waited for: nobody else need
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{told}")
    return Taken(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measure(folder: Path) -> dict[str, Taken]:
    """What each command takes in a checkout."""
    found = {
        "stepscape plan": take(folder, "stepscape", "plan"),
        "snakemake -n -q, the first": take(folder, "snakemake", "-n", "-q"),
        "snakemake -n -q, another": take(folder, "snakemake", "-n", "-q"),
    }
    (outline,) = (folder / "results/plans").iterdir()
    pack = json.loads(outline.read_text())["packs"][0]
    job = ["--target-jobs", f"train_pack:pack={pack}", "--allowed-rules", "train_pack", "--force", "--nolock"]
    told = {VARIABLE: str(outline)}
    found["the Snakefile in a job"] = take(folder, "snakemake", "-n", "-q", "--mode", "remote", *job, **told)
    return found


def judge(what: str, value: float, bar: float, unit: str) -> None:
    """Prints a bar and whether it is met."""
    print(f"{what}: {value:.2f} {unit}, the bar is at most {bar:g}: {'met' if value <= bar else 'NOT MET'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="runs of the large study")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        few = measure(checkout(Path(folder) / "few", trivial()))
        many = measure(checkout(Path(folder) / "many", large(options.runs)))
        packs = len(list((Path(folder) / "many/results/packs").iterdir()))
    print(f"{options.runs} runs in {packs} packs\n{'':<28}{'4 runs':>16}{'many runs':>20}{'ratio':>8}")
    for name, taken in many.items():
        columns = f"{few[name].cpu:>7.2f} s{few[name].megabytes:>4.0f} MB{taken.cpu:>11.2f} s{taken.megabytes:>4.0f} MB"
        print(f"{name:<28}{columns}{taken.cpu / few[name].cpu:>8.1f}")
    *commands, nested = many
    for name in commands:
        judge(name, many[name].cpu, CPU_S, "CPU s")
        judge(name, many[name].megabytes, MEGABYTES, "MB")
    judge(f"{nested}, more than for 4 runs", many[nested].cpu - few[nested].cpu, NESTED_MORE_CPU_S, "CPU s")


if __name__ == "__main__":
    main()
