"""Where datasets find what is not generated: the data root, and the arrays that were prepared in it."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.study.paths import DataPaths

if TYPE_CHECKING:
    import numpy as np

    from stepscape.datasets import Dataset

DATA_ROOT = "STEPSCAPE_DATA_ROOT"
"""The environment variable that names the folder: jobs set it from the configuration's `data_root`."""

UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, RuntimeError)


def use_data_root(root: Path | str) -> None:
    """Has the datasets of this process, and of those it starts, found in a folder."""
    os.environ[DATA_ROOT] = str(root)


def data_paths() -> DataPaths:
    """Where data lie for this process."""
    root = os.environ.get(DATA_ROOT)
    return DataPaths(Path(root)) if root else DataPaths()


def prepared_arrays(dataset: type[Dataset]) -> dict[str, np.ndarray]:
    """What `unpack` of a dataset returned, when it was prepared.

    Args:
        dataset: a dataset with archives.

    Returns:
        Its arrays by name.

    Raises:
        StepscapeError: it is not prepared.
        DamagedFileError: the file is not whole.
    """
    import numpy as np

    path = data_paths().prepared(dataset.name)
    if not path.exists():
        raise StepscapeError(
            f"{path}: not there, so dataset {dataset.name} is not prepared; start Snakemake, which does it, or type "
            f"`stepscape prepare-data {dataset.name}`. `data_root` in config/config.yaml says where data lie"
        )
    try:
        with zipfile.ZipFile(path):  # what NumPy says of other files is of pickles
            pass
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except UNREADABLE as error:
        raise DamagedFileError(path, f"{error}; delete it and start Snakemake, which makes it again") from None
