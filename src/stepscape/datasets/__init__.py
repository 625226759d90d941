"""Datasets: what is trained on. The sizes are known without loading anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Archive:
    """A published file that a dataset is made of.

    Attributes:
        url: where it is published; http, https, or file.
        checksum: what is published of its bytes: `md5:` or `sha256:` and hex digits.
    """

    url: str
    checksum: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rpartition("/")[2]


class Dataset(Member):
    """The base of all datasets.

    Attributes:
        archives: the published files that it is made of; none where it is generated or comes with a dependency.
        has_classes: whether targets are classes, so that accuracy has a meaning.
        train_size: number of training samples.
        test_size: number of test samples.
    """

    kind: ClassVar[str] = "dataset"
    archives: ClassVar[tuple[Archive, ...]] = ()
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

    @classmethod
    def unpack(cls, files: Sequence[Path]) -> Mapping[str, np.ndarray]:
        """What the archives hold, of which `load` then reads (`prepared_arrays`): runs once, outside of training.

        Args:
            files: the archives, their checksums right, in the order of `archives`.

        Returns:
            Arrays by name, of numbers only. Nothing is written, and nothing in an archive is executed.
        """
        raise NotImplementedError

    def load(self) -> Data:
        """Reads or makes the data; the same bytes each time."""
        raise NotImplementedError
