"""Handwritten digits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import class_targets
from stepscape.fields import Count, Index, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

IMAGES = 1797


@member("digits", source="UCI optical recognition of handwritten digits, in scikit-learn")
class Digits(Dataset):
    """8 x 8 images of the ten digits: each pixel minus its mean, over one scale, the standard deviation of all pixels.

    Means and scale are those of all 1,797 images as they come, so that subsets of any size see the same inputs.
    """

    train_size: Annotated[Count, describe("training images, drawn without replacement", "images")] = 1000
    test_size: Annotated[Count, describe("test images, none of them a training image", "images")] = 500
    subset_seed: Annotated[Index, describe("which images are drawn; apart from the run's seed")] = 0
    shape: Annotated[
        Literal["flat", "image"], describe("of an input: 64 numbers, or 1 channel of 8 x 8 pixels for models of images")
    ] = "flat"
    targets: Annotated[
        Literal["one_hot", "sign"],
        describe("ten numbers with a one at the digit, or one: 1 from 5 on, else -1"),
    ] = "one_hot"

    @property
    def has_classes(self) -> bool:  # type: ignore[override]
        return self.targets == "one_hot"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train_size + self.test_size > IMAGES:
            raise PydanticCustomError("size", f"train_size + test_size of at most {IMAGES}")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (64,) if self.shape == "flat" else (1, 8, 8)

    @property
    def outputs(self) -> int:
        return 10 if self.targets == "one_hot" else 1

    def load(self) -> Data:

        from stepscape.training.random import generator

        images, labels = _read()
        inputs = ((images - images.mean(axis=0)) / images.std()).reshape(IMAGES, *self.input_shape)
        classes = labels if self.targets == "one_hot" else labels >= 5
        targets = class_targets(classes, self.outputs, self.targets)
        order = generator(self.subset_seed, "subset").permutation(IMAGES)
        train, test = order[: self.train_size], order[IMAGES - self.test_size :]
        return Data(inputs[train], targets[train], inputs[test], targets[test])


def _read() -> tuple[np.ndarray, np.ndarray]:
    """The images (1797, 64) and labels (1797,), from scikit-learn's file: importing the package would take a second."""
    import numpy as np

    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)
