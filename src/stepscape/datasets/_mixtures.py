"""Samples around random means, one mean a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Spread = Literal["normal", "uniform"]
"""The law of the coordinates around the means: standard normal, or uniform between 0 and 1."""


def class_means(classes: int, inputs: int, separation: float, seed: int) -> np.ndarray:
    """Means (classes, inputs) at distance `separation` from the origin, in random directions."""
    import numpy as np

    from stepscape.training.random import generator

    drawn = generator(seed, "means").standard_normal((classes, inputs))
    return separation * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def around(means: np.ndarray, labels: np.ndarray, subset: str, seed: int, spread: Spread = "normal") -> np.ndarray:
    """Samples (n, inputs): the means of their classes (n,), plus independent coordinates of the law `spread`."""
    from stepscape.training.random import generator

    random, shape = generator(seed, f"{subset} inputs"), (len(labels), means.shape[1])
    around_zero: np.ndarray = random.standard_normal(shape) if spread == "normal" else random.random(shape)
    return means[labels] + around_zero
