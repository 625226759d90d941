"""Gaussian inputs, a few directions in them, and the polynomials of what lies along these."""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def hermite(degree: int, z: np.ndarray) -> np.ndarray:
    """He_degree(z) / sqrt(degree!), of unit variance where z is standard normal; the probabilists' polynomials."""
    import numpy as np

    values: np.ndarray = np.polynomial.hermite_e.hermeval(z, [0.0] * degree + [factorial(degree) ** -0.5])
    return values


def directions(inputs: int, count: int, seed: int) -> np.ndarray:
    """Orthonormal rows (count, inputs), uniformly distributed."""
    import numpy as np

    from stepscape.training.random import generator

    drawn = generator(seed, "directions").standard_normal((count, inputs)).T
    orthogonal, triangular = np.linalg.qr(drawn)
    return (orthogonal * np.sign(np.diag(triangular))).T


def normal_inputs(seed: int, subset: str, size: int, inputs: int) -> np.ndarray:
    """Standard normal inputs (size, inputs); of another size they begin alike."""
    from stepscape.training.random import generator

    return generator(seed, f"{subset} inputs").standard_normal((size, inputs))


def noise(seed: int, size: int) -> np.ndarray:
    """Standard normal noise (size, 1) on training targets; of another size it begins alike."""
    from stepscape.training.random import generator

    return generator(seed, "noise").standard_normal((size, 1))
