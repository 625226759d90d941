"""The largest eigenvalue of each layer's block of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import PositiveReal, describe
from stepscape.observables import Observable, Variable
from stepscape.observables._layers import layers
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("layer_blocks")
class LayerBlocks(Observable):
    """The largest eigenvalue of the diagonal block of the Hessian that belongs to each layer's weights.

    Layers are the weights with more than one dimension, in the network's order. A block's largest eigenvalue is at most
    the Hessian's. Every solve starts cold and searches what it has not found.
    """

    tol: Annotated[PositiveReal, describe("largest relative residual |Bv - lambda v| / |lambda|")] = 1e-2

    def variables(self, run: Run) -> tuple[Variable, ...]:
        each = (("layer",), (len(layers(run)),))
        return (
            Variable("layer_block_eigenvalue", "largest eigenvalue of each layer's Hessian block", *each, "float64"),
            Variable("layer_block_residual", "relative residual of the eigenpair", *each),
        )

    def gradients(self, run: Run) -> float:
        return 2 + 1.5 * 15 * len(layers(run))

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray], Memory]:
        import numpy as np

        from stepscape.curvature import top_eigenpairs

        theta = snapshot.theta
        solved = [
            top_eigenpairs(
                lambda vector, place=place: _block(snapshot, place, vector),  # type: ignore[misc]
                place.stop - place.start,
                1,
                tol=self.tol,
                generator=snapshot.random(f"layer block {number}"),
                dtype=theta.dtype,
                device=theta.device,
            )
            for number, (place, _) in enumerate(layers(snapshot.run))
        ]
        return {
            "layer_block_eigenvalue": np.array([pairs.values.item() for pairs in solved]),
            "layer_block_residual": np.array([pairs.residuals.item() for pairs in solved]),
        }, memory


def _block(snapshot: Snapshot, place: slice, vector: Tensor) -> Tensor:
    whole = snapshot.theta.new_zeros(len(snapshot.theta))
    whole[place] = vector
    return snapshot.hessian(whole)[place]
