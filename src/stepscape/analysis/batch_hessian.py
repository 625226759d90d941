"""How far the largest Hessian eigenvalue of batches is above that of the training set, and what noise predicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from stepscape.analysis.estimates import Estimate, fit_slope, mean_over_seeds

Noise = Literal["isotropic", "top"]
_VARIABLES: dict[Noise, str] = {"isotropic": "hessian_noise", "top": "hessian_noise_top"}

FEWEST_BATCH_SIZES = 5


@dataclass(frozen=True)
class BatchSharpness:
    """Largest eigenvalues at one point in the space of parameters.

    Attributes:
        sharpness: lambda_1(N), of the training set.
        train_size: N.
        noise: the variance that each assumption takes, P s^2 of the theory.
        batches: batch size to lambda_1(B), the mean over batches.
    """

    sharpness: float
    train_size: int
    noise: Mapping[Noise, float]
    batches: Mapping[int, float]

    def inverse_size(self, size: int) -> float:
        """1/B - 1/N, by which sampling without replacement has less noise than one sample."""
        return 1 / size - 1 / self.train_size

    def excess(self, size: int) -> float:
        """lambda_1(B) / lambda_1(N) - 1."""
        return self.batches[size] / self.sharpness - 1

    def predicted(self, inverse: float, noise: Noise) -> float:
        """The excess at 1/B - 1/N, as random-matrix theory has it.

        Of H plus a Wigner matrix of variance s^2 (1/B - 1/N) the largest eigenvalue is lambda + v / lambda, with
        v = P s^2 (1/B - 1/N), as long as lambda > sqrt(v), and else the edge of the noise's own spectrum, 2 sqrt(v).

        Args:
            inverse: 1/B - 1/N.
            noise: what stands for P s^2.

        Returns:
            The excess.

        Source: arXiv:2006.09092; Benaych-Georges & Nadakuditi 2011 (Advances in Mathematics 227), section 3.1.
        """
        variance = self.noise[noise] * inverse / self.sharpness**2
        return variance if variance < 1 else 2 * float(np.sqrt(variance)) - 1


def batch_sharpness(ds: xr.Dataset) -> list[BatchSharpness]:
    """Eigenvalues of batches beside those of the training set, a point a seed and start.

    Args:
        ds: runs that stay where they start. Those on batches have `batch_top`, those on the training set `hessian_top`
            and `hessian_noise`; the first measurement of these counts, and the mean over all of those.

    Returns:
        Points that have both, in the order of seeds.
    """
    starts = ds.start_run.values.tolist() if "start_run" in ds.coords else [""] * ds.sizes["run"]
    places = defaultdict(list)
    for index, key in enumerate(zip(ds.seed.values.tolist(), starts, strict=True)):
        places[key].append(index)
    points = [_point(ds.isel(run=runs)) for _, runs in sorted(places.items(), key=lambda item: str(item[0]))]
    return [point for point in points if point is not None]


def _point(ds: xr.Dataset) -> BatchSharpness | None:
    means = _mean(ds.batch_hessian_eigenvalue.isel(eigenvalue=0).values)
    batches = {
        int(size): float(mean)
        for size, mean, full in zip(ds.batch_size.values, means, ds.full_batch.values, strict=True)
        if np.isfinite(mean) and not full
    }
    measured = [name in ds for name in ("hessian_eigenvalue", *_VARIABLES.values())]
    whole = ds.isel(run=np.flatnonzero(ds.full_batch.values)[:1])
    if not batches or not whole.sizes["run"] or not all(measured):
        return None
    noise = {kind: _first(whole[name].values[0]) for kind, name in _VARIABLES.items()}
    sharpness = _first(whole.hessian_eigenvalue.isel(eigenvalue=0).values[0])
    if not np.isfinite([sharpness, *noise.values()]).all():
        return None
    return BatchSharpness(sharpness, int(whole.batch_size.values[0]), noise, dict(sorted(batches.items())))


def _first(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[0]) if len(finite) else float("nan")


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each row (n,), NaN where nothing was measured."""
    counts = np.isfinite(values).sum(axis=1)
    return np.where(counts, np.nansum(values, axis=1) / np.maximum(counts, 1), np.nan)


def excess_exponent(points: list[BatchSharpness]) -> Estimate | None:
    """Slope of log excess, median over points, against log(1/B - 1/N).

    Args:
        points: of networks that are alike but for their seed.

    Returns:
        The slope of the line; None where fewer than `FEWEST_BATCH_SIZES` batch sizes are common to all, or where an
        excess is not positive.
    """
    common = sorted(set.intersection(*(set(point.batches) for point in points))) if points else []
    excesses = np.asarray([[point.excess(size) for size in common] for point in points])
    if len(common) < FEWEST_BATCH_SIZES or (excesses <= 0).any():
        return None
    inverses = [points[0].inverse_size(size) for size in common]
    return fit_slope(np.log(inverses).tolist(), np.log(np.median(excesses, axis=0)).tolist())


def excess_over_prediction(points: list[BatchSharpness], noise: Noise) -> Estimate | None:
    """Log of the measured excess over the predicted one: the mean over batch sizes, then over points.

    Args:
        points: of networks that are alike but for their seed.
        noise: what the prediction takes for P s^2.

    Returns:
        The mean log; None where there are fewer than two points, or where an excess is not positive.
    """
    logs = []
    for point in points:
        excesses = np.asarray([point.excess(size) for size in point.batches])
        if (excesses <= 0).any():
            return None
        predicted = [point.predicted(point.inverse_size(size), noise) for size in point.batches]
        logs.append(float(np.mean(np.log(excesses / predicted))))
    return mean_over_seeds(logs) if len(logs) > 1 else None
