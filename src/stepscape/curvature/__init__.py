"""Curvature of a scalar function of a flat parameter vector: Hessian products, eigenpairs, subspaces, spectral density.

The room takes callables: it knows no model, no study and no optimizer.
"""

from stepscape.curvature.basis import ROUNDING_FLOOR
from stepscape.curvature.density import Density, counting_function, density_curve, spectral_density
from stepscape.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from stepscape.curvature.noise import gradient_variance
from stepscape.curvature.products import Operator, hvp, preconditioned
from stepscape.curvature.subspaces import overlap, principal_cosines, shuffled_overlaps, sketch
from stepscape.curvature.tracking import Tracked, track_eigenpairs

__all__ = [
    "ROUNDING_FLOOR",
    "Density",
    "Eigenpairs",
    "Operator",
    "Tracked",
    "counting_function",
    "density_curve",
    "gradient_variance",
    "hvp",
    "overlap",
    "preconditioned",
    "principal_cosines",
    "shuffled_overlaps",
    "sketch",
    "spectral_density",
    "top_eigenpairs",
    "track_eigenpairs",
]
