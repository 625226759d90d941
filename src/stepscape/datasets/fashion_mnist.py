"""Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stepscape.datasets import Archive
from stepscape.datasets._images import Images, unpack_idx
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


@member("fashion_mnist", source="arXiv:1708.07747")
class FashionMNIST(Images):
    """28 x 28 images of ten kinds of clothes, 60,000 for training and 10,000 for tests."""

    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(f"{_URL}train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Archive(f"{_URL}train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe"),
        Archive(f"{_URL}t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
        Archive(f"{_URL}t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
    )
    image_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    train_counts: ClassVar[tuple[int, ...]] = (6000,) * 10
    test_counts: ClassVar[tuple[int, ...]] = (1000,) * 10

    @classmethod
    def read(cls, files: Sequence[Path]) -> dict[str, np.ndarray]:
        return unpack_idx(files)
