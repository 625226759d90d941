"""One step of a central flow: the covariance of the oscillation, and the derivatives that it adds to.

Symbols: P the preconditioner, u_1 ... u_k the critical vectors, H u_i = lambda_i P u_i with u_i^T P u_j = 1 if i = j
and else 0, Sigma = sum of X_ij u_i u_j^T. A pair is an index i <= j; sums over all i, j give pairs off the diagonal
twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepscape.optimizers._flows import Rule

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Expansion


@dataclass(frozen=True)
class Covariance:
    """What a step knows of the oscillation around it, per lane.

    Attributes:
        modes: k, how many directions oscillate.
        loss: tr X, what the oscillation adds to the time-averaged loss.
        squared_gradient: tr(H Sigma H), what it adds to the time average of |g|^2.
        variance: tr Sigma, the mean square of the oscillation.
        residual: of the complementarity problem, as `solve_complementarity` gives it.
    """

    modes: int = 0
    loss: float = 0.0
    squared_gradient: float = 0.0
    variance: float = 0.0
    residual: float = 0.0


def step(
    loss: Expansion, nu: Tensor, rule: Rule, values: Tensor, vectors: Tensor, time: float
) -> tuple[Tensor, Tensor, Covariance]:
    """A step of Euler's method in which curvature is held below the edge at its end.

    The covariance solves the complementarity problem that says, to first order in time: at the end of the step
    2 P - H >= 0 on the critical vectors, Sigma >= 0, and their product is 0. So curvature that has risen above the
    edge is corrected within one step, and nothing drifts.

    Args:
        loss: around theta (P,).
        nu: mean of squares (n,).
        rule: what is followed.
        values: lambda_1 ... lambda_k of P^-1 H, float64 on the CPU.
        vectors: (k, P), orthonormal eigenvectors of P^-1/2 H P^-1/2.
        time: length of the step, in updates.

    Returns:
        theta and nu after the step, and the covariance; its residual is large where the problem has no solution.
    """
    import numpy as np
    import torch

    from stepscape.curvature.complementarity import pairs, solve_complementarity, weights

    theta, gradient = loss.theta, loss.gradient
    velocity, rise = rule.velocity(nu, gradient)
    k = len(values)
    if k == 0:
        return theta + time * velocity, (nu + time * rise).clamp(min=0), Covariance()
    scale = rule.denominator(nu, theta) / rule.lr
    critical = vectors / scale.sqrt()
    images = values.to(theta)[:, None] * scale * critical  # H u_i = lambda_i P u_i
    rows, columns = (torch.from_numpy(index).to(theta.device) for index in pairs(k))
    third = loss.third_derivatives(critical)
    slopes = rule.slopes(nu, critical[rows], critical[columns]) if len(nu) else nu.new_zeros(len(rows), 0)
    squares = rule.products(images[rows], images[columns])
    offset = np.diag(2 - values.numpy())
    drift = time * (2 * _numbers(slopes @ rise) - _numbers(third @ velocity))
    offset[pairs(k)] += drift
    offset = np.triu(offset) + np.triu(offset, 1).T
    coupling = 2 * rule.rate * _numbers(slopes @ squares.T) + 0.5 * _numbers((third / scale) @ third.T)
    scaling = weights(k)
    found = solve_complementarity(offset, time * scaling[:, None] * coupling * scaling)
    shares = torch.from_numpy(found.matrix[pairs(k)] * scaling**2).to(theta)  # pairs off the diagonal count twice
    velocity = velocity - 0.5 * (shares @ third) / scale
    rise = rise + rule.rate * (shares @ squares)
    covariance = Covariance(
        k,
        float(np.trace(found.matrix)),
        _trace(found.matrix, images),
        _trace(found.matrix, critical),
        found.residual,
    )
    return theta + time * velocity, (nu + time * rise).clamp(min=0), covariance


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()


def _trace(matrix: np.ndarray, vectors: Tensor) -> float:
    """tr(V^T X V) for the rows of V (k, P)."""
    return float((matrix * _numbers(vectors @ vectors.T)).sum())
