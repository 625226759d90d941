"""The layers of a network: its weight tensors, as pieces of the flat vector of parameters."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepscape.study.run import Run


def layers(run: Run) -> list[tuple[slice, tuple[int, ...]]]:
    """Where each weight with more than one dimension lies in theta (P,), and its shape; in the network's order."""
    found, first = [], 0
    for shape in run.model.parameter_shapes(run.dataset.input_shape, run.dataset.outputs).values():
        last = first + prod(shape)
        if len(shape) > 1:
            found.append((slice(first, last), shape))
        first = last
    return found
