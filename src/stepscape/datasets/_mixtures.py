"""Samples around random means, one mean a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def class_means(classes: int, inputs: int, separation: float, seed: int) -> np.ndarray:
    """Means (classes, inputs) at distance `separation` from the origin, in random directions."""
    import numpy as np

    from stepscape.training.random import generator

    drawn = generator(seed, "means").standard_normal((classes, inputs))
    return separation * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def around(means: np.ndarray, labels: np.ndarray, subset: str, seed: int) -> np.ndarray:
    """Samples (n, inputs) with the means of their classes (n,) and identity covariance."""
    from stepscape.training.random import generator

    spread: np.ndarray = generator(seed, f"{subset} inputs").standard_normal((len(labels), means.shape[1]))
    return means[labels] + spread
