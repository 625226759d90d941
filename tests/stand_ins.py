"""Stand-ins for published archives, in their formats; and the real ones, where a machine has them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import numpy as np
import pytest

from stepscape.datasets import Dataset
from stepscape.datasets.cifar10 import CIFAR10
from stepscape.datasets.fashion_mnist import FashionMNIST
from stepscape.datasets.mnist import MNIST
from stepscape.datasets.sst2 import SST2
from stepscape.registry import make, non_defaults
from stepscape.store.archives import write_arrays
from stepscape.store.files import write_atomically
from stepscape.study.paths import DataPaths

TEST_DATA = "STEPSCAPE_TEST_DATA"
COUNTS = {"train_counts": (120,) * 10, "test_counts": (60,) * 10}
"""Images of each class in a stand-in."""


def real_data(name: str) -> Path:
    """A file of published data in the folder that the environment names; the test is skipped where it is not there."""
    folder = os.environ.get(TEST_DATA)
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"no {name} in the folder named by {TEST_DATA}")
    return Path(folder) / name


def images(shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random images and labels; every class as often, in random order. A corner of every image is black."""
    random = np.random.default_rng(seed)
    arrays = {}
    for part in ("train", "test"):
        labels = random.permutation(np.repeat(np.arange(10, dtype=np.uint8), COUNTS[f"{part}_counts"]))
        pixels = random.integers(256, size=(len(labels), *shape), dtype=np.uint8)
        pixels[..., 0, 0] = 0
        arrays |= {f"{part}_images": pixels, f"{part}_labels": labels}
    return arrays


def idx(array: np.ndarray) -> bytes:
    """A gzipped IDX file of bytes."""
    heading = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(heading + array.tobytes(), compresslevel=1, mtime=0)


def mnist_archives(arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The four files in which sets like MNIST are published."""
    return [
        idx(arrays[f"{part}_{what}"].squeeze() if what == "images" else arrays[f"{part}_{what}"])
        for part in ("train", "test")
        for what in ("images", "labels")
    ]


def cifar_archives(arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The archive of the binary version of CIFAR-10."""
    records = {
        part: np.column_stack([arrays[f"{part}_labels"], arrays[f"{part}_images"].reshape(-1, 3072)])
        for part in ("train", "test")
    }
    members = {f"data_batch_{i + 1}.bin": part for i, part in enumerate(np.split(records["train"], 5))}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name, values in {**members, "test_batch.bin": records["test"]}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = values.nbytes
            archive.addfile(info, io.BytesIO(values.tobytes()))
    return [content.getvalue()]


def phrases() -> dict[str, list[tuple[str, int]]]:
    """Phrases of random words with labels, as many as a small run needs."""
    random = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(300)])
    chances = 1 / np.arange(1, 301) / np.sum(1 / np.arange(1, 301))
    return {
        name: [
            (" ".join(random.choice(words, random.integers(1, 9), p=chances)), int(random.integers(2)))
            for _ in range(n)
        ]
        for name, n in (("train", 1200), ("dev", 600))
    }


def sst2_archives(tables: Mapping[str, list[tuple[str, int]]]) -> list[bytes]:
    """The archive of SST-2 as GLUE publishes it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, rows in tables.items():
            lines = ["sentence\tlabel", *(f"{phrase} \t{label}" for phrase, label in rows), ""]
            archive.writestr(f"SST-2/{name}.tsv", "\n".join(lines))
    return [content.getvalue()]


ARCHIVES: dict[type[Dataset], Any] = {
    MNIST: lambda: mnist_archives(images((28, 28))),
    FashionMNIST: lambda: mnist_archives(images((28, 28), seed=1)),
    CIFAR10: lambda: cifar_archives(images((3, 32, 32))),
    SST2: lambda: sst2_archives(phrases()),
}
"""Datasets with archives, and what makes stand-ins of these."""


def write_archives(dataset: type[Dataset], folder: Path) -> list[Path]:
    """Stand-ins of a dataset's archives, under their published names."""
    files = [folder / archive.name for archive in dataset.archives]
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(files, ARCHIVES[dataset](), strict=True):
        file.write_bytes(content)
    return files


def small(dataset: type[Dataset]) -> type[Dataset]:
    """A dataset that takes its stand-in for whole."""
    return cast(type[Dataset], type(dataset.__name__, (dataset,), COUNTS)) if dataset is not SST2 else dataset


def prepare_stand_in(dataset: type[Dataset], paths: DataPaths) -> None:
    """What `prepare-data` would make of the stand-in of a dataset's archives."""
    files = write_archives(dataset, paths.prepared(dataset.name).parent)
    write_arrays(paths.prepared(dataset.name), small(dataset).unpack(files))


TEXT = "".join(
    np.random.default_rng(0).choice(
        list("etaoin shrdlu\n\u00e9"), 12000, p=np.arange(15, 0, -1) / np.arange(1, 16).sum()
    )
)


@cache
def user_files() -> dict[str, dict[str, Any]]:
    """Datasets of users' files by name, with fields of one as a run holds it; the files lie in the data root."""
    random = np.random.default_rng(0)
    arrays = {"inputs": random.standard_normal((90, 2, 3)), "targets": np.arange(90) % 3}
    folder = data_root() / "given"
    folder.mkdir()
    np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
    (folder / "words.txt").write_text(TEXT)
    given = {"file": {"path": "arrays.npz", "test_size": 30}, "text": {"path": "words.txt"}}
    fields = {}
    for name, said in given.items():
        dataset = cast(Any, make("dataset", {"name": name, **said}, name))
        found = dataset.found(folder / dataset.path, name)
        write_atomically(DataPaths(data_root()).file(found.content), found.copied(folder / dataset.path))
        fields[name] = non_defaults(found)
    return fields


@cache
def data_root() -> Path:
    """A folder in which every dataset with archives is prepared, from stand-ins; made once for all tests."""
    root = Path(mkdtemp(prefix="stepscape-data-"))
    for dataset in ARCHIVES:
        prepare_stand_in(dataset, DataPaths(root))
    return root
