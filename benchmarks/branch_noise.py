"""How far float32 and float64 runs part at the edge of stability, without branch noise and with it.

Run from the repository's root as `python -m benchmarks.branch_noise`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from stepscape.registry import make
from stepscape.study.run import Budget, Run
from stepscape.training.loop import train_run
from stepscape.training.platform import prepare
from stepscape.training.record import Record

LEVELS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)
STEPS = (100, 200, 300, 500)


def run_of(lr: float, level: float, dtype: str) -> Run:
    """Gradient descent on the quickstart's network, its parameters and sharpness kept at `STEPS`."""
    observed = ({"name": name, "at": list(STEPS)} for name in ("parameters", "hessian_top"))
    return Run(
        dataset=make("dataset", {"name": "digits", "train_size": 500, "test_size": 200}, "dataset"),
        model=make("model", {"name": "mlp", "hidden": [32, 32]}, "model"),
        loss=make("loss", "mse", "loss"),
        optimizer=make("optimizer", "gd", "optimizer"),
        lr=lr,
        budget=Budget(steps=STEPS[-1]),
        branch_noise=level,
        dtype=dtype,
        observe=tuple(make("observable", fields, "observable") for fields in observed),
    )


def differences(lr: float, level: float) -> tuple[np.ndarray, float]:
    """|theta_32 - theta_64| / |theta_64| at `STEPS`, and the last sharpness over 2 / lr of the float64 run."""
    single, double = (train_run(run_of(lr, level, dtype), torch.device("cpu")) for dtype in ("float32", "float64"))
    gaps = np.linalg.norm(_thetas(single) - _thetas(double), axis=1) / np.linalg.norm(_thetas(double), axis=1)
    return gaps, float(double.values["hessian_eigenvalue"][-1][0]) * lr / 2


def _thetas(record: Record) -> np.ndarray:
    return np.stack(record.values["parameters"]).astype(np.float64)


def compare(rates: Sequence[float]) -> Iterator[str]:
    """The table, line by line."""
    yield f"{'lr':>5}{'branch_noise':>14}" + "".join(f"{f'step {step}':>11}" for step in STEPS) + f"{'sharpness':>11}"
    for lr in rates:
        for level in LEVELS:
            gaps, sharpness = differences(lr, level)
            yield f"{lr:>5g}{level:>14g}" + "".join(f"{gap:>11.1e}" for gap in gaps) + f"{sharpness:>11.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.branch_noise", description=__doc__)
    parser.add_argument("--lr", type=float, nargs="+", default=[0.4, 0.5])
    options = parser.parse_args(arguments)
    prepare("cpu")
    print("MLP 64-32-32-10, 500 digits, gradient descent: |theta_32 - theta_64| / |theta_64|; sharpness over 2 / lr")
    for line in compare(options.lr):
        print(line, flush=True)


if __name__ == "__main__":
    main()
