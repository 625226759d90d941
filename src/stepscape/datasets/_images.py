"""What published sets of labelled images have in common."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import Targets, class_targets
from stepscape.datasets._root import prepared_arrays
from stepscape.fields import Count, Index, describe

if TYPE_CHECKING:
    import numpy as np


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Images(Dataset):
    """The base of sets of images with classes, training and test images apart.

    Attributes:
        image_shape: (channels, height, width).
        train_counts: training images of each class.
        test_counts: test images of each class.
    """

    image_shape: ClassVar[tuple[int, int, int]]
    train_counts: ClassVar[tuple[int, ...]]
    test_counts: ClassVar[tuple[int, ...]]
    train_size: Annotated[Count, describe("training images", "images")] = 1000
    test_size: Annotated[Count, describe("test images", "images")] = 500
    classes: Annotated[
        tuple[Index, ...], describe("only images of these classes, which become 0, 1, ... in this order; none: all")
    ] = ()
    take: Annotated[
        Literal["first", "first_of_each_class", "random"],
        describe("which of them: the first in the published order, as many first ones of each class, or drawn ones"),
    ] = "first"
    subset_seed: Annotated[Index, describe("draws the images of `random`; apart from the run's seed")] = 0
    scale: Annotated[
        Literal["all", "pixel"],
        describe(
            "what a pixel minus its mean is divided by: the standard deviation of all pixels, or its own (1 where that "
            "is 0); mean and deviations are those of the whole training set"
        ),
    ] = "all"
    targets: Annotated[Targets, describe("rows with a one at the class, or -1 and 1 for the two `classes`")] = "one_hot"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = len(self.train_counts)
        if len(set(self.classes)) < len(self.classes) or any(label >= known for label in self.classes):
            raise PydanticCustomError("classes", f"different classes of 0 to {known - 1}")
        if self.targets == "sign" and len(self.chosen) != 2:
            raise PydanticCustomError("targets", "two `classes` for the targets `sign`")
        for name, counts in (("train_size", self.train_counts), ("test_size", self.test_counts)):
            self._check_size(name, [counts[label] for label in self.chosen])
        return self

    def _check_size(self, name: str, counts: Sequence[int]) -> None:
        each = self.take == "first_of_each_class"
        most = len(counts) * min(counts) if each else sum(counts)
        size = getattr(self, name)
        if size > most or (each and size % len(counts)):
            times = f" that is a multiple of {len(counts)}, the number of classes," if each else ""
            raise PydanticCustomError("size", f"a {name}{times} of at most {most}")

    @property
    def chosen(self) -> tuple[int, ...]:
        """The classes whose images are used."""
        return self.classes or tuple(range(len(self.train_counts)))

    @property
    def has_classes(self) -> bool:  # type: ignore[override]
        """Only one-hot rows are classes."""
        return self.targets == "one_hot"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.image_shape

    @property
    def outputs(self) -> int:
        return len(self.chosen) if self.targets == "one_hot" else 1

    @classmethod
    def read(cls, files: Sequence[Path]) -> dict[str, np.ndarray]:
        """What the archives hold, uint8: `train_images` (n, *image_shape), `train_labels` (n,), and those of tests."""
        raise NotImplementedError

    @classmethod
    def unpack(cls, files: Sequence[Path]) -> Mapping[str, np.ndarray]:
        arrays = cls.read(files)
        for part, counts in (("train", cls.train_counts), ("test", cls.test_counts)):
            _check(arrays[f"{part}_images"], arrays[f"{part}_labels"], cls.image_shape, counts)
        total, squares = _sums(arrays["train_images"])
        return {**arrays, "train_sum": total, "train_squares": squares}

    def load(self) -> Data:
        arrays = prepared_arrays(type(self))
        mean, deviation = self._moments(len(arrays["train_images"]), arrays["train_sum"], arrays["train_squares"])
        train, test = (
            self._subset(arrays[f"{part}_labels"], size, part)
            for part, size in (("train", self.train_size), ("test", self.test_size))
        )
        return Data(
            (arrays["train_images"][train] - mean) / deviation,
            self._targets(arrays["train_labels"][train]),
            (arrays["test_images"][test] - mean) / deviation,
            self._targets(arrays["test_labels"][test]),
        )

    def _moments(self, n: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Mean of each pixel, and what it is divided by, from its sums over n images."""
        import numpy as np

        if self.scale == "all":
            pixels = n * total.size
            return total / n, math.sqrt(pixels * int(squares.sum()) - int(total.sum()) ** 2) / pixels
        deviation = np.sqrt(n * squares - total**2) / n
        return total / n, np.where(deviation > 0, deviation, 1.0)

    def _subset(self, labels: np.ndarray, size: int, part: str) -> np.ndarray:
        """Which images (size,) are used, by their place in the published order."""
        import numpy as np

        from stepscape.training.random import generator

        (eligible,) = np.nonzero(np.isin(labels, self.chosen))
        if self.take == "random":
            return generator(self.subset_seed, f"{part} subset").permutation(eligible)[:size]
        if self.take == "first":
            return eligible[:size]
        each = size // len(self.chosen)
        return np.sort(np.concatenate([np.nonzero(labels == label)[0][:each] for label in self.chosen]))

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        import numpy as np

        renamed = np.argmax(labels[:, None] == np.asarray(self.chosen), axis=1)
        return class_targets(renamed, len(self.chosen), self.targets)


def _check(images: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], counts: tuple[int, ...]) -> None:
    import numpy as np

    found = tuple(np.bincount(labels).tolist())
    if images.shape != (sum(counts), *shape) or found != counts:
        raise ValueError(f"images {images.shape} with labels {found}, not {(sum(counts), *shape)} with {counts}")


def _sums(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel, its sum and that of its squares over all images: whole numbers, in whatever order they add up."""
    import numpy as np

    total, squares = np.zeros((2, *images.shape[1:]), np.int64)
    for first in range(0, len(images), 1000):
        block = images[first : first + 1000].astype(np.int64)
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    return total, squares


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes from a gzipped file in the IDX format, in which MNIST is published.

    Args:
        path: the file.

    Returns:
        The array, uint8.

    Raises:
        ValueError: it is not such a file.
    """
    import numpy as np

    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        raise ValueError(f"{path.name}: no IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) != start + math.prod(shape):
        raise ValueError(f"{path.name}: {len(content)} bytes for the shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def unpack_idx(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """The arrays of training images, training labels, test images and test labels, from IDX files in this order."""
    train_images, train_labels, test_images, test_labels = map(read_idx, files)
    return {
        "train_images": train_images[:, None],
        "train_labels": train_labels,
        "test_images": test_images[:, None],
        "test_labels": test_labels,
    }
