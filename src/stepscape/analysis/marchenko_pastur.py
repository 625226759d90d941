"""The law of the eigenvalues of a large random matrix."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np


@dataclass(frozen=True)
class MarchenkoPastur:
    """The limit law of the eigenvalues of W^T W / h, W (h, d) with independent entries of mean 0.

    Attributes:
        ratio: d / h, above 0; above 1 a share 1 - h / d of the eigenvalues is 0.
        variance: of an entry of W.

    Source: Marchenko & Pastur 1967; Bai & Silverstein 2010, Spectral Analysis of Large Dimensional Random Matrices,
    section 3.1. The distribution function is their density integrated.
    """

    ratio: float
    variance: float = 1.0

    def __post_init__(self) -> None:
        if not (self.ratio > 0 and self.variance > 0):
            raise ValueError(f"ratio {self.ratio} and variance {self.variance}; both must be above 0")

    @property
    def edges(self) -> tuple[float, float]:
        """Where the bulk begins and ends: variance (1 -+ sqrt(ratio))^2."""
        root = sqrt(self.ratio)
        return self.variance * (1 - root) ** 2, self.variance * (1 + root) ** 2

    @property
    def atom(self) -> float:
        """The share of eigenvalues that are 0."""
        return max(0.0, 1 - 1 / self.ratio)

    def density(self, at: np.ndarray) -> np.ndarray:
        """The density of the bulk, which holds all but the atom.

        Args:
            at: eigenvalues, of any shape.

        Returns:
            The density at each; 0 outside of the edges, and at 0 itself.
        """
        low, high = self.edges
        at = np.asarray(at, dtype=float)
        inside = (at > low) & (at < high)
        safe = np.where(inside, at, 1.0)
        height = np.sqrt(np.maximum((high - safe) * (safe - low), 0)) / (2 * pi * self.ratio * self.variance * safe)
        return np.where(inside, height, 0.0)

    def distribution(self, at: np.ndarray) -> np.ndarray:
        """The share of eigenvalues at most as large as each of `at`.

        With x = variance (1 + ratio + 2 sqrt(ratio) cos phi) the density is that of sin^2 phi over
        1 + ratio + 2 sqrt(ratio) cos phi, which has an integral in closed form.

        Args:
            at: eigenvalues, of any shape.

        Returns:
            The shares, the atom among them from 0 on.
        """
        at = np.asarray(at, dtype=float)
        root = sqrt(self.ratio)
        cosine = np.clip((at / self.variance - 1 - self.ratio) / (2 * root), -1, 1)
        angle = np.arccos(cosine)
        turned = np.arctan2(abs(1 - root) * np.sin(angle / 2), (1 + root) * np.cos(angle / 2))
        above = (1 + self.ratio) * angle - 2 * root * np.sin(angle) - 2 * abs(1 - self.ratio) * turned
        return np.where(at < 0, 0.0, 1 - above / (2 * pi * self.ratio))

    def kolmogorov_distance(self, eigenvalues: np.ndarray) -> float:
        """The largest difference between this distribution function and that of some eigenvalues.

        Args:
            eigenvalues: (n,), n at least 1; what is 0 but for rounding counts as 0.

        Returns:
            A number between 0 and 1.

        Raises:
            ValueError: there are none.
        """
        found = np.sort(np.asarray(eigenvalues, dtype=float))
        if not len(found):
            raise ValueError("no eigenvalues; at least one is needed")
        found[abs(found) < _ROUNDING * abs(found).max()] = 0
        at, counts = np.unique(found, return_counts=True)
        upto = np.cumsum(counts) / len(found)
        law = self.distribution(at)
        before = law - np.where(at == 0, self.atom, 0)
        return float(max(abs(upto - law).max(), abs(upto - counts / len(found) - before).max()))


_ROUNDING = 1e-12  # of the largest eigenvalue
