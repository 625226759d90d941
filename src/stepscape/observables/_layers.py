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


def head(run: Run) -> tuple[slice, slice | None] | None:
    """Where the last layer lies in theta (P,).

    Args:
        run: what is trained.

    Returns:
        The place of its weights (outputs, width), and of its biases (outputs,), None where there are none; None where
        the model trains no such layer.
    """
    if not run.model.trains_last_layer:
        return None
    outputs = run.dataset.outputs
    weight, shape = layers(run)[-1]
    behind = run.parameter_count - weight.stop
    if shape[:-1] != (outputs,) or behind not in (0, outputs):
        return None
    return weight, slice(weight.stop, run.parameter_count) if behind else None
