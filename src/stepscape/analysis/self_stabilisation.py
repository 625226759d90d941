"""The oscillation at the edge of stability beside the size at which it undoes progressive sharpening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

_AT_BOUND = 0.998  # of 2 / lr: a path's sharpness from which the bound is met


@dataclass(frozen=True)
class Oscillation:
    """Gradient descent about a path of bounded sharpness, from the step at which the bound is first met; (n,) each.

    Attributes:
        lr: the learning rate.
        steps: updates done.
        x: gradient descent's distance from the path along the top eigenvector.
        y: its distance along the gradient of the sharpness across that, times that gradient's length.
        alpha: rate of progressive sharpening on the path.
        beta: squared gradient of the sharpness across the eigenvector, on the path.
        slope: gradient of the sharpness along the eigenvector, on the path.
        path_loss: training loss on the path.
        loss: training loss of gradient descent.
        sharpness: largest Hessian eigenvalue of gradient descent.
        second: second largest eigenvalue on the path.
    """

    lr: float
    steps: np.ndarray
    x: np.ndarray
    y: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    slope: np.ndarray
    path_loss: np.ndarray
    loss: np.ndarray
    sharpness: np.ndarray
    second: np.ndarray

    @property
    def settled(self) -> np.ndarray:
        """2 alpha / beta (n,), the x^2 at which sharpness neither rises nor falls; 0 where nothing sharpens."""
        return np.asarray(2 * np.maximum(self.alpha, 0) / self.beta)

    @property
    def bursts(self) -> int:
        """How often |x| has grown beyond sqrt(2 alpha / beta): one burst a cycle."""
        large = self.x**2 > self.settled
        return int((large[1:] & ~large[:-1]).sum())

    @property
    def size_ratio(self) -> float:
        """Mean of x^2 over that of 2 alpha / beta."""
        return float(np.mean(self.x**2) / np.mean(self.settled))

    @property
    def loss_ratio(self) -> float:
        """Mean of what the loss is above the path's, over 2 alpha / (beta lr), the theory's."""
        return float(np.mean(self.loss - self.path_loss) / np.mean(self.settled / self.lr))

    @property
    def loss_error(self) -> float:
        """Mean of |loss - path's loss - x^2 / lr|, over the mean of loss - path's loss."""
        gap = self.loss - self.path_loss
        return float(np.mean(np.abs(gap - self.x**2 / self.lr)) / np.mean(gap))

    @property
    def predicted_sharpness(self) -> np.ndarray:
        """2 / lr + y + slope x, (n,): the sharpness to first order about the path."""
        return np.asarray(2 / self.lr + self.y + self.slope * self.x)


def oscillation(ds: xr.Dataset, run: int) -> Oscillation | None:
    """The oscillation of a run that recorded `self_stabilisation`, with gradient descent beside it.

    Args:
        ds: a study's dataset.
        run: index of the run.

    Returns:
        The oscillation; None where there is no gradient descent beside it or the bound is never met.
    """
    if "free_oscillation" not in ds:
        return None
    lr, values = float(ds.lr.values[run]), {name: ds[name].values[run].astype(float) for name in _NAMES.values()}
    clock = "step" if ds.free_oscillation.dims[1] == "step" else "self_stabilisation_step"
    measured = np.isfinite(values["free_oscillation"])
    met = np.flatnonzero(measured & (values["path_sharpness"] >= _AT_BOUND * 2 / lr))
    if not len(met):
        return None
    measured[: met[0]] = False
    held = {name: values[variable][measured] for name, variable in _NAMES.items() if name != "bound"}
    return Oscillation(lr=lr, steps=ds[clock].values[measured], **held)


_NAMES = {
    "x": "free_oscillation",
    "y": "free_rise",
    "alpha": "progressive_sharpening",
    "beta": "stabilisation",
    "slope": "sharpness_slope",
    "path_loss": "path_loss",
    "loss": "free_loss",
    "sharpness": "free_sharpness",
    "second": "path_second",
    "bound": "path_sharpness",
}
"""Fields of an oscillation and their variables; `bound` says from when on."""
