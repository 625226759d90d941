"""Curvature of a scalar function of a flat parameter vector: Hessian products, eigenpairs, subspaces, spectral density.

The room takes callables: it knows no model, no study and no optimizer.
"""

from stepscape.curvature.basis import ROUNDING_FLOOR
from stepscape.curvature.complementarity import Complementary, solve_complementarity
from stepscape.curvature.dense import dense_eigenvalues, dense_hessian, diagonal_entries
from stepscape.curvature.density import Density, counting_function, density_curve, spectral_density
from stepscape.curvature.diagonal import estimated_diagonal
from stepscape.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from stepscape.curvature.expansion import Expansion
from stepscape.curvature.gauss_newton import difference, gauss_newton, gauss_newton_trace
from stepscape.curvature.kernels import alignment, feature_kernel, tangent_kernel
from stepscape.curvature.label_noise import regulariser, stationary_loss
from stepscape.curvature.leading import Leading, follow_leading
from stepscape.curvature.noise import gradient_variance, hessian_variance
from stepscape.curvature.products import Operator, hvp, preconditioned, summed
from stepscape.curvature.subspaces import overlap, principal_cosines, shuffled_overlaps, sketch, span_alignment
from stepscape.curvature.third_order import curvature_gradient, third_derivative
from stepscape.curvature.tracking import Tracked, track_eigenpairs

__all__ = [
    "ROUNDING_FLOOR",
    "Complementary",
    "Density",
    "Eigenpairs",
    "Expansion",
    "Leading",
    "Operator",
    "Tracked",
    "alignment",
    "counting_function",
    "curvature_gradient",
    "dense_eigenvalues",
    "dense_hessian",
    "density_curve",
    "diagonal_entries",
    "difference",
    "estimated_diagonal",
    "feature_kernel",
    "follow_leading",
    "gauss_newton",
    "gauss_newton_trace",
    "gradient_variance",
    "hessian_variance",
    "hvp",
    "overlap",
    "preconditioned",
    "principal_cosines",
    "regulariser",
    "shuffled_overlaps",
    "sketch",
    "solve_complementarity",
    "span_alignment",
    "spectral_density",
    "stationary_loss",
    "summed",
    "tangent_kernel",
    "third_derivative",
    "top_eigenpairs",
    "track_eigenpairs",
]
