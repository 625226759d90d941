"""Datasets: what is trained on. The sizes are known without loading anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stepscape.registry import Member

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Data:
    """A dataset in memory, float64.

    Attributes:
        train_inputs: (train_size, *input_shape).
        train_targets: (train_size, outputs); one-hot rows where the data has classes.
        test_inputs: (test_size, *input_shape).
        test_targets: (test_size, outputs).
    """

    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray


class Dataset(Member):
    """The base of all datasets.

    Attributes:
        has_classes: whether targets are classes, so that accuracy has a meaning.
        train_size: number of training samples.
        test_size: number of test samples.
    """

    kind: ClassVar[str] = "dataset"
    has_classes: ClassVar[bool]
    train_size: int
    test_size: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        raise NotImplementedError

    @property
    def outputs(self) -> int:
        """Number of targets of one sample, or of classes."""
        raise NotImplementedError

    def load(self) -> Data:
        """Reads or makes the data; the same bytes each time."""
        raise NotImplementedError
