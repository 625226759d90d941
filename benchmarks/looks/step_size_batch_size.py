"""The numbers of config/studies/step_size_batch_size.md: the line's bend, best rates, perturbation theory.

Run from the repository's root as `python -m benchmarks.looks.step_size_batch_size`; it diagonalises a Hessian a seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

import stepscape
from benchmarks.looks import listed, look, opened, span, with_interval
from stepscape.analysis.batch_hessian import BatchSharpness, batch_sharpness
from stepscape.analysis.batch_scaling import FEWEST_BATCH_SIZES, BatchScaling, best_scaling, stable_scaling
from stepscape.analysis.bootstrap import Interval
from stepscape.study.paths import Paths
from stepscape.study.restore import restore_run
from stepscape.training.problem import Problem
from stepscape.training.starts import start_parameters

STUDIES = ("step_size_batch_size",)
STILL = 1e-30
"""The learning rate of the runs that stand still while batches pass."""

CROWD = 11
"""Eigenvalues that are printed: the first, and the ten next to it."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    equal_steps = ds.isel(run=np.isfinite(ds.budget_steps.values) & (ds["dtype"].values == "float32"))
    yield "Adam: the knee of the largest stable rate in equal steps"
    yield f"  {knee(stable_scaling(equal_steps.stepscape.runs(optimizer='adam')))}"
    yield "SGD at equal epochs: the largest stable rate"
    yield from bend(stable_scaling(ds.stepscape.runs(optimizer="gd", budget_epochs=4)))
    yield "Best rates, equal steps: exponent below the knee, and the knee"
    for optimizer in ("gd", "heavy_ball", "rmsprop", "adam"):
        yield f"  {optimizer}: {knee(best_scaling(equal_steps.stepscape.runs(optimizer=optimizer)))}"
    still = ds.stepscape.runs(lr=STILL)
    points = batch_sharpness(still)
    yield "Why the maximum is linear, a number a seed"
    yield from sharper(points)
    yield "Not as random-matrix theory has it, a number a seed"
    yield from noise(points)
    yield "Neighbours, in second-order perturbation theory with the exact spectrum"
    yield from neighbours(still, points, paths)


def knee(scaling: BatchScaling) -> str:
    """Exponent and knee of a saturating line, with their intervals."""
    found = scaling.saturating()
    if found is None:
        return f"fewer than {FEWEST_BATCH_SIZES} batch sizes"
    place = Interval(*(float(np.exp(value)) for value in (found.knee.value, found.knee.low, found.knee.high)))
    return f"{with_interval(found.slope)}, the knee at a batch of {with_interval(place, 0)}"


def bend(scaling: BatchScaling) -> Iterator[str]:
    """Rates of the largest batch sizes, then the exponent of a straight line through fewer and fewer batch sizes."""
    sizes = sorted(scaling.log_lr)
    for size in sizes[-2:]:
        yield f"  B = {size}: {np.exp(np.median(scaling.log_lr[size])):.3g}"
    for end in range(FEWEST_BATCH_SIZES, len(sizes) + 1):
        part = BatchScaling({size: scaling.log_lr[size] for size in sizes[:end]}, {})
        assert part.exponent is not None
        yield f"  exponent through batch sizes up to {sizes[end - 1]}: {with_interval(part.exponent.interval())}"


def sharper(points: Sequence[BatchSharpness]) -> Iterator[str]:
    """Of the smallest batches: their sharpness over that of all samples."""
    least = min(points[0].batches)
    yield (
        f"  B = {least}: sharpness over that of all {points[0].train_size} samples: "
        f"{listed(point.excess(least) + 1 for point in points)}"
    )


def noise(points: Sequence[BatchSharpness]) -> Iterator[str]:
    """How much more noise there is across the top eigenvector, and batch size by batch size the excess over theory."""
    yield f"  noise across the top over that of the mean direction: {listed(_across(point) for point in points)}"
    for size in points[0].batches:
        ratios = [point.excess(size) / point.predicted(point.inverse_size(size), "top") for point in points]
        sizes = [point.noise["top"] * point.inverse_size(size) / point.sharpness**2 for point in points]
        yield f"  B = {size}: excess over prediction {listed(ratios)}; noise over lambda_1^2 {span(sizes)}"


def _across(point: BatchSharpness) -> float:
    return point.noise["top"] / point.noise["isotropic"]


def neighbours(still: xr.Dataset, points: Sequence[BatchSharpness], paths: Paths) -> Iterator[str]:
    """A line a seed: the largest eigenvalues, and what perturbation theory predicts over what one eigenvalue would."""
    whole = still.isel(run=still.full_batch.values)
    largest = max(points[0].batches)
    for run_id, seed, point in zip(whole.run.values, whole.seed.values, points, strict=True):
        values, coupling = spectrum(str(run_id), paths)
        measured = point.excess(largest) / point.predicted(point.inverse_size(largest), "top")
        yield (
            f"  seed {seed}: {perturbed(values, coupling):.2g} times the simple prediction, measured at B = {largest}: "
            f"{measured:.2g}; lambda_1 {values[0]:.3g}, the next ten {span(values[1:CROWD])}"
        )


def spectrum(run_id: str, paths: Paths) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Hessian's eigenvalues where a run starts, and how the Hessians of samples couple them to the first.

    Args:
        run_id: of a run that starts from another.
        paths: where both lie.

    Returns:
        Eigenvalues (P,), largest first, and the mean over samples i of (u_j^T (H_i - H) u_1)^2 for each j (P,).
    """
    run = restore_run(json.loads(stepscape.open_run(paths.run(run_id)).attrs["spec"]))
    problem = Problem(run, torch.device("cpu"), start_parameters(run, paths))
    theta = problem.initial().double()
    values, vectors = torch.linalg.eigh(problem.dense_hessian(theta))
    values, vectors = values.flip(0), vectors.flip(1)
    top = vectors[:, 0]

    def slope(point: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        def loss(at: Tensor) -> Tensor:
            return run.loss(problem.outputs(at, inputs[None]), targets[None])

        return torch.func.grad(loss)(point) @ top

    images = torch.func.vmap(torch.func.grad(slope), in_dims=(None, 0, 0))  # H_i u_1 of each sample, (N, P)
    away = images(theta, problem.train.inputs, problem.train.targets) - values[0] * top
    return values.numpy(), ((away @ vectors) ** 2).mean(dim=0).numpy()


def perturbed(values: NDArray[np.float64], coupling: NDArray[np.float64]) -> float:
    """The rise of the first eigenvalue, sum_j c_j / (lambda_1 - lambda_j), over sum_j c_j / lambda_1, j > 1.

    Args:
        values: eigenvalues (P,), largest first.
        coupling: c (P,), mean squares of the noise between the first eigenvector and each.

    Returns:
        How many times larger the rise is than if all other eigenvalues were 0.

    Source: Kato 1995, Perturbation Theory for Linear Operators, II.2: the second order of a simple eigenvalue.
    """
    others = coupling[1:] / (values[0] - values[1:])
    return float(others.sum() / (coupling[1:].sum() / values[0]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
