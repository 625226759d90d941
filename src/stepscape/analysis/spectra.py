"""Spectra of weights and kernels at the ends of training: how they moved, outliers, tails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.marchenko_pastur import MarchenkoPastur


@dataclass(frozen=True)
class Spectra:
    """The first and the last spectrum of a run.

    Attributes:
        first: eigenvalues (n,) when first measured, largest first.
        last: eigenvalues (n,) when last measured.
    """

    first: np.ndarray
    last: np.ndarray

    @property
    def moved(self) -> float:
        """Kolmogorov distance between the two; a single eigenvalue that leaves the others adds 1 / n at most."""
        return kolmogorov_distance(self.first, self.last)


def both_ends(ds: xr.Dataset, recorded: str) -> list[Spectra | None]:
    """The spectra of each run when it was first and when it was last measured.

    Args:
        ds: the dataset of a study.
        recorded: the observable whose spectrum it is, such as `first_layer` or `tangent_kernel`.

    Returns:
        One a run; None where it was measured less than twice, or the run diverged.
    """
    values, states = ds[f"{recorded}_eigenvalue"].values, ds.status.values
    return [None if state == "diverged" else _ends(rows) for rows, state in zip(values, states, strict=True)]


def start_law(ds: xr.Dataset, run: int) -> MarchenkoPastur:
    """The law of the eigenvalues of the first layer's random weights: variance and shape are those at the start.

    Args:
        ds: a dataset with `first_layer_eigenvalue` and `first_layer_ratio`.
        run: its index.

    Returns:
        The law.
    """
    first = _measured(ds.first_layer_eigenvalue.values[run])[0]
    ratios = ds.first_layer_ratio.values[run]
    return MarchenkoPastur(float(ratios[np.isfinite(ratios)][0]), float(first.mean()))


def outlier_path(ds: xr.Dataset, run: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest eigenvalue of the first layer along a run, and where its eigenvector points.

    Args:
        ds: a dataset with the variables of `first_layer`.
        run: its index.

    Returns:
        Steps (m,), largest eigenvalue over the upper edge of `start_law` (m,), and alignment with the targets (m,).
    """
    top = ds.first_layer_eigenvalue.values[run][:, 0]
    steps = clock_of(ds, "first_layer_eigenvalue")
    kept = np.isfinite(top)
    aligned = ds.first_layer_alignment.values[run][kept, 0]
    return steps[kept], top[kept] / start_law(ds, run).edges[1], aligned


def loss_ratios(ds: xr.Dataset) -> np.ndarray:
    """Final over initial training loss of each run, (run,); NaN where one of them is not there."""
    first = ds.train_loss.values.astype(float)[:, 0]
    return np.asarray(ds.final_train_loss.values.astype(float) / first)


def kolmogorov_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference between the shares of two samples that are at most as large as any number.

    Args:
        first: (n,), n at least 1.
        second: (m,), m at least 1.

    Returns:
        A number between 0 and 1.

    Raises:
        ValueError: one of them is empty.
    """
    if not len(first) or not len(second):
        raise ValueError(f"{len(first)} and {len(second)} values; at least one of each is needed")
    at = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (first, second)]
    return float(abs(shares[0] - shares[1]).max())


def tail_exponent(eigenvalues: np.ndarray, share: float) -> float:
    """Exponent a of a density ~ x^-a above the largest `share` of eigenvalues: 1 + 1 / mean log(x_i / x_(k+1)).

    Args:
        eigenvalues: (n,), above 0 in the tail.
        share: of the eigenvalues, the largest k = share x n, that make the tail.

    Returns:
        The exponent; the smaller, the heavier the tail.

    Raises:
        ValueError: the tail has fewer than two eigenvalues, no eigenvalue is below it, or not all are above 0.

    Source: Hill 1975 (Annals of Statistics 3); as exponent of a density, Clauset et al. 2009 (arXiv:0706.1062).
    """
    ordered = np.sort(eigenvalues)[::-1]
    k = round(share * len(ordered))
    if k < 2 or k >= len(ordered) or ordered[k] <= 0:
        raise ValueError(f"{k} of {len(ordered)} eigenvalues in the tail; at least two, and one above 0 below them")
    return 1 + 1 / float(np.mean(np.log(ordered[:k] / ordered[k])))


def _ends(rows: np.ndarray) -> Spectra | None:
    found = _measured(rows)
    return Spectra(found[0], found[-1]) if len(found) > 1 else None


def _measured(rows: np.ndarray) -> list[np.ndarray]:
    """The eigenvalues of each measurement (measurement, eigenvalue) that has any, without what pads them."""
    found = [row[np.isfinite(row)] for row in rows if np.isfinite(row).any()]
    return [np.where(abs(row) < _ROUNDING * abs(row).max(), 0.0, row) for row in found]


_ROUNDING = 1e-12  # of the largest eigenvalue: a matrix that lacks rank has many 0 but for it, of either sign
