"""Curvature of a scalar function of a flat parameter vector: Hessian products and the eigenpairs found with them.

The room takes callables: it knows no model, no study and no optimizer.
"""

from stepscape.curvature.eigenpairs import ROUNDING_FLOOR, Eigenpairs, top_eigenpairs
from stepscape.curvature.products import Operator, hvp, preconditioned
from stepscape.curvature.tracking import Tracked, track_eigenpairs

__all__ = [
    "ROUNDING_FLOOR",
    "Eigenpairs",
    "Operator",
    "Tracked",
    "hvp",
    "preconditioned",
    "top_eigenpairs",
    "track_eigenpairs",
]
