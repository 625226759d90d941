"""A user's arrays."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from stepscape.datasets import Data
from stepscape.datasets._classes import class_targets
from stepscape.datasets._user_file import FOUND, UserFile
from stepscape.errors import Mistake, Mistaken
from stepscape.fields import Count, Flag, Index, describe
from stepscape.registry import member
from stepscape.study.parameters import content_hash, read_arrays

if TYPE_CHECKING:
    import numpy as np

_SPLIT = ("train_inputs", "train_targets", "test_inputs", "test_targets")
_WHOLE = ("inputs", "targets")


@member("file")
class File(UserFile):
    """Arrays of a user's `.npz` file, or Zarr group in a folder or a zip.

    Either `train_inputs`, `train_targets`, `test_inputs` and `test_targets`, of which the first samples are taken, or
    `inputs` and `targets`, of which training and test samples are drawn without replacement. Samples lie along the
    first axis. Targets (n,) of integers are classes 0, 1, ...; all others, (n,) or (n, outputs), are numbers. Nothing
    is scaled.
    """

    train_size: Annotated[Index, describe("training samples; 0: all that are not for tests", "samples")] = 0
    test_size: Annotated[Index, describe("test samples; 0: all `test_inputs`; needed with `inputs`", "samples")] = 0
    subset_seed: Annotated[Index, describe("draws the samples of `inputs`; apart from the run's seed")] = 0
    input_shape: Annotated[tuple[Count, ...], describe(f"{FOUND}the shape of one input")] = ()
    outputs: Annotated[Index, describe(f"{FOUND}the targets of one sample, or classes")] = 0
    has_classes: Annotated[Flag, describe(f"{FOUND}whether targets are classes")] = False  # type: ignore[misc]

    @classmethod
    def is_found(cls) -> frozenset[str]:
        return frozenset({"content", "input_shape", "outputs", "has_classes"})

    def found(self, path: Path, where: str) -> Self:
        arrays = _read(path, f"{where}: {path}")
        fault = _fault(arrays) or self._size_fault(arrays)
        if fault:
            allowed = f"finite {', '.join(_SPLIT)}, or {' and '.join(_WHOLE)}; a target for each input; enough of them"
            raise Mistaken([Mistake(f"{where}: {path}", fault, allowed)])
        train_size, test_size = self._sizes(arrays)
        inputs, targets = (arrays[f"train_{name}"] if "train_inputs" in arrays else arrays[name] for name in _WHOLE)
        labels = [arrays[name] for name in arrays if name.endswith("targets")]
        has_classes = targets.ndim == 1 and targets.dtype.kind in "iu"
        outputs = 1 + max(int(held.max()) for held in labels) if has_classes else _columns(targets).shape[1]
        return dataclasses.replace(
            self,
            path=None,
            content=content_hash(_as_float(arrays)),
            train_size=train_size,
            test_size=test_size,
            input_shape=_columns(inputs).shape[1:],
            outputs=outputs,
            has_classes=has_classes,
        )

    def _sizes(self, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Training and test samples."""
        if "inputs" in arrays:
            return self.train_size or len(arrays["inputs"]) - self.test_size, self.test_size
        return self.train_size or len(arrays["train_inputs"]), self.test_size or len(arrays["test_inputs"])

    def _size_fault(self, arrays: Mapping[str, np.ndarray]) -> str:
        train, test = self._sizes(arrays)
        told = f"train_size {train} and test_size {test}"
        if "inputs" in arrays:
            there = len(arrays["inputs"])
            return "" if min(train, test) > 0 and train + test <= there else f"{told} of {there} samples"
        most_train, most_test = (len(arrays[f"{part}_inputs"]) for part in ("train", "test"))
        fits = train <= most_train and test <= most_test
        return "" if fits else f"{told} of {most_train} training and {most_test} test samples"

    def copied(self, path: Path) -> bytes:
        import numpy as np

        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **_read(path, str(path)))
        return content.getvalue()

    def load(self) -> Data:
        arrays = _as_float(read_arrays(self.copy(), str(self.copy())))
        if content_hash(arrays) != self.content:
            raise self.damaged("its content is not what its name says")
        inputs, targets, test_inputs, test_targets = self._parts(arrays)
        return Data(_columns(inputs), self._targets(targets), _columns(test_inputs), self._targets(test_targets))

    def _parts(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        from stepscape.training.random import generator

        if "inputs" not in arrays:
            sizes = (self.train_size, self.train_size, self.test_size, self.test_size)
            return [arrays[name][:size] for name, size in zip(_SPLIT, sizes, strict=True)]
        order = generator(self.subset_seed, "subset").permutation(len(arrays["inputs"]))
        chosen = (order[: self.train_size], order[len(order) - self.test_size :])
        return [arrays[name][part] for part in chosen for name in _WHOLE]

    def _targets(self, targets: np.ndarray) -> np.ndarray:
        return class_targets(targets.astype(int), self.outputs, "one_hot") if self.has_classes else _columns(targets)


def _read(path: Path, where: str) -> dict[str, np.ndarray]:
    if path.is_dir() or path.name.endswith(".zarr.zip"):
        from stepscape.store.groups import read_group

        return read_group(path, where)
    return read_arrays(path, where)


def _as_float(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype("float64") for name, array in arrays.items()}


def _columns(array: np.ndarray) -> np.ndarray:
    """An array with one more axis if it has one alone: numbers (n,) are (n, 1)."""
    return array[:, None] if array.ndim == 1 else array


def _fault(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with arrays, whatever samples are taken of them."""
    import numpy as np

    if set(arrays) not in (set(_SPLIT), set(_WHOLE)):
        return f"the arrays {', '.join(sorted(arrays)) or '(none)'}"
    for name, array in arrays.items():
        if array.ndim == 0 or array.size == 0:
            return f"{name} of shape {list(array.shape)}"
        if not np.isfinite(array).all():
            return f"{name} with values that are not finite"
    for name in arrays:
        targets = arrays[name.replace("inputs", "targets")]
        if len(arrays[name]) != len(targets):
            return f"{len(arrays[name])} {name} and {len(targets)} {name.replace('inputs', 'targets')}"
        other = arrays[name.replace("test_", "train_")]
        if arrays[name].shape[1:] != other.shape[1:] or arrays[name].dtype.kind != other.dtype.kind:
            return f"{name} {list(arrays[name].shape)} {arrays[name].dtype}, unlike those for training"
        if name.endswith("targets") and targets.ndim > 2:
            return f"{name} of shape {list(targets.shape)}"
        if name.endswith("targets") and targets.ndim == 1 and targets.dtype.kind in "iu" and targets.min() < 0:
            return f"the class {targets.min()} in {name}"
    return ""
