"""MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stepscape.datasets import Archive
from stepscape.datasets._images import Images, unpack_idx
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"


@member("mnist", source="LeCun, Bottou, Bengio & Haffner 1998")
class MNIST(Images):
    """28 x 28 images of handwritten digits, 60,000 for training and 10,000 for tests."""

    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(f"{_URL}train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Archive(f"{_URL}train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
        Archive(f"{_URL}t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
        Archive(f"{_URL}t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
    )
    image_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    train_counts: ClassVar[tuple[int, ...]] = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    test_counts: ClassVar[tuple[int, ...]] = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)

    @classmethod
    def read(cls, files: Sequence[Path]) -> dict[str, np.ndarray]:
        return unpack_idx(files)
