"""Files of parameters by name: an `.npz` with an array for each parameter of a network.

NumPy is imported when there is such a file: Snakemake parses its rules in every job.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from stepscape.errors import Mistake, Mistaken
from stepscape.study.identity import DIGITS, canonical_json

if TYPE_CHECKING:
    import numpy as np

_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, RuntimeError)
_FORM = "arrays of real numbers by name, as `numpy.savez` writes them"
_MOST_TOLD = 6


def read_arrays(path: Path, where: str) -> dict[str, np.ndarray]:
    """Reads an `.npz` file of real numbers.

    Args:
        path: the file.
        where: what to call it in messages.

    Returns:
        Arrays by name, of the types that they have there.

    Raises:
        Mistaken: it cannot be read, or holds anything but real numbers.
    """
    import numpy as np

    if not path.is_file():
        raise Mistaken([Mistake(where, "no such file", "a file, its path as seen from the study")])
    try:
        with zipfile.ZipFile(path):  # what NumPy says of other files is of pickles
            pass
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: np.asarray(held[name]) for name in held.files}
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Mistaken([Mistake(where, f"a file that cannot be read ({reason})", _FORM)]) from None
    others = [f"{name} ({array.dtype})" for name, array in arrays.items() if array.dtype.kind not in "fiu"]
    if others:
        raise Mistaken([Mistake(where, _several(others), _FORM)])
    return arrays


def read_parameters(path: Path, where: str) -> dict[str, np.ndarray]:
    """Reads a file of parameters as `read_arrays` does: name of a parameter to its values, float64."""
    return {name: array.astype("float64") for name, array in read_arrays(path, where).items()}


def content_hash(parameters: Mapping[str, np.ndarray]) -> str:
    """A hash of names, shapes and float64 values, whatever their order and the bytes of the file around them."""
    found = hashlib.sha256()
    for name in sorted(parameters):
        found.update(canonical_json([name, list(parameters[name].shape)]).encode())
        found.update(parameters[name].astype("<f8").tobytes())
    return found.hexdigest()[:DIGITS]


def flat_parameters(
    parameters: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], dtype: str, where: str
) -> np.ndarray:
    """Parameters by name as one vector.

    Args:
        parameters: name to values, float64.
        shapes: names and shapes of a network's parameters, in its order.
        dtype: of the vector.
        where: what the file is called in messages.

    Returns:
        The vector (P,).

    Raises:
        Mistaken: names or shapes are not those of the network, or a value is not finite in that dtype.
    """
    import numpy as np

    differences = [f"no {name}" for name in shapes if name not in parameters]
    differences += [f"{name}, which the model has not" for name in parameters if name not in shapes]
    differences += [
        f"{name} of shape {_spelled(parameters[name].shape)}, not {_spelled(shape)}"
        for name, shape in shapes.items()
        if name in parameters and parameters[name].shape != shape
    ]
    if differences:
        allowed = _several([f"{name} {_spelled(shape)}" for name, shape in shapes.items()])
        remedy = "name them as `named_parameters()` of this model does"
        raise Mistaken([Mistake(where, _several(differences), allowed, remedy)])
    with np.errstate(over="ignore"):
        cast = {name: parameters[name].astype(dtype) for name in shapes}
    wild = [name for name, values in cast.items() if not np.isfinite(values).all()]
    if wild:
        raise Mistaken([Mistake(where, f"values that are not finite in {_several(wild)}", f"finite {dtype} numbers")])
    return np.concatenate([values.reshape(prod(shapes[name])) for name, values in cast.items()])


def _spelled(shape: tuple[int, ...]) -> str:
    return str(list(shape))


def _several(words: list[str]) -> str:
    return ", ".join([*words[:_MOST_TOLD], *(["..."] if len(words) > _MOST_TOLD else [])])
