"""What noise on labels makes of the loss around a point where every sample is fitted.

Around such a point the Hessian H of the full loss is (1/n) sum_i J_i' J_i. Noise of variance s^2 on the labels of B
samples gives gradients of covariance (s^2 / B) H, so that theta has, in the direction of an eigenvalue h, the
stationary variance lambda / (2 (1 - h / c)): an autoregression of order one without momentum, of order two with it.
The threshold c is (2 + 2 beta) / lr, and lambda = lr s^2 / (B (1 - beta)). On average theta then descends
L + 1/2 tr(H Sigma) with Sigma held, which is the gradient of L + lambda R.
"""

from __future__ import annotations

import numpy as np

from stepscape.curvature.basis import Array


def regulariser(eigenvalues: Array, threshold: float) -> float:
    """R = -(c / 4) tr log(1 - H / c) = tr H / 4 + tr H^2 / (8 c) + ...

    Args:
        eigenvalues: all of H, (P,).
        threshold: c, the largest stable eigenvalue.

    Returns:
        R; NaN where an eigenvalue is at c or above, or there is no c.

    Source: Damian, Ma & Lee, arXiv:2106.06530, where c is 2 / lr, or (2 + 2 beta) / lr with momentum.
    """
    if not _is_stationary(eigenvalues, threshold):
        return float("nan")
    return float(-threshold / 4 * np.log1p(-eigenvalues / threshold).sum())


def stationary_loss(eigenvalues: Array, threshold: float) -> float:
    """1/2 tr(H Sigma) / lambda = 1/4 tr H (1 - H / c)^-1: the mean loss that label noise keeps up, over its weight.

    Args:
        eigenvalues: all of H, (P,).
        threshold: c, the largest stable eigenvalue.

    Returns:
        The mean loss over lambda; NaN where an eigenvalue is at c or above, or there is no c.

    Source: the fluctuation that arXiv:2106.06530 derives R from; exact for a quadratic loss and full batches.
    """
    if not _is_stationary(eigenvalues, threshold):
        return float("nan")
    return float(0.25 * (eigenvalues / (1 - eigenvalues / threshold)).sum())


def _is_stationary(eigenvalues: Array, threshold: float) -> bool:
    return bool(np.isfinite(eigenvalues).all() and np.isfinite(threshold) and eigenvalues.max() < threshold)
