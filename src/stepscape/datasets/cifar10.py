"""CIFAR-10."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from stepscape.datasets import Archive
from stepscape.datasets._images import Images
from stepscape.fields import describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

_FOLDER = "cifar-10-batches-bin"
_PIXELS = 3 * 32 * 32


@member("cifar10", source="Krizhevsky 2009")
class CIFAR10(Images):
    """32 x 32 colour images of ten kinds of things, 50,000 for training and 10,000 for tests.

    With `scale: pixel` and the first 5,000 images this is the set of arXiv:2103.00065: standardised before it is cut.
    """

    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
        ),
    )
    image_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    train_counts: ClassVar[tuple[int, ...]] = (5000,) * 10
    test_counts: ClassVar[tuple[int, ...]] = (1000,) * 10
    scale: Annotated[
        Literal["all", "pixel"],
        describe(
            "what a pixel minus its mean is divided by: the standard deviation of all pixels, or its own; mean and "
            "deviations are those of the whole training set"
        ),
    ] = "pixel"

    @classmethod
    def read(cls, files: Sequence[Path]) -> dict[str, np.ndarray]:
        import numpy as np

        with tarfile.open(files[0], "r:gz") as archive:
            train = np.concatenate([_records(archive, f"data_batch_{number}.bin") for number in range(1, 6)])
            test = _records(archive, "test_batch.bin")
        return {
            f"{part}_{what}": values
            for part, records in (("train", train), ("test", test))
            for what, values in (("labels", records[:, 0]), ("images", records[:, 1:].reshape(-1, 3, 32, 32)))
        }


def _records(archive: tarfile.TarFile, name: str) -> np.ndarray:
    """The records (n, 1 + pixels) of one member, read where it lies: no path in the archive is ever written to."""
    import numpy as np

    member_ = archive.getmember(f"{_FOLDER}/{name}")
    source = archive.extractfile(member_) if member_.isreg() else None
    if source is None:
        raise ValueError(f"{member_.name} is no plain file")
    return np.frombuffer(source.read(), np.uint8).reshape(-1, 1 + _PIXELS)
