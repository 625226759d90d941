"""Classes as targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Targets = Literal["one_hot", "sign"]
"""How classes are told: a row with a one at the class, or, of two classes, the one number -1 or 1."""


def class_targets(labels: np.ndarray, classes: int, targets: Targets) -> np.ndarray:
    """Targets (n, classes), or (n, 1) for `sign`, of the classes (n,)."""
    import numpy as np

    if targets == "sign":
        return (2.0 * labels - 1)[:, None]
    return np.eye(classes)[labels]
