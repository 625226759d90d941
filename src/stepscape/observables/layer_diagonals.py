"""How uniform the diagonal of the Hessian is in each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, describe
from stepscape.observables import Observable, Variable
from stepscape.observables._layers import layers
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("layer_diagonals", source="Jiang, Malik & Li, arXiv:2211.02254")
class LayerDiagonals(Observable):
    """Largest and median absolute entry of the diagonal of the Hessian, in each layer's weights; their ratio is R_med.

    Entries are exact, a Hessian product each. In layers of more weights than `entries` they are of weights drawn once
    for a seed, the same at all times and for all optimizers: the largest is then that of the draw. The training loss
    stands beside them, since optimizers are compared where it is equal.

    Layers are the weights with more than one dimension, in the network's order.
    """

    entries: Annotated[Count, describe("of each layer, or all where there are fewer", "weights")] = 64

    def variables(self, run: Run) -> tuple[Variable, ...]:
        each = (("layer",), (len(layers(run)),), "float64")
        return (
            Variable("layer_diagonal_largest", "largest |H_ii| in each layer's weights", *each),
            Variable("layer_diagonal_median", "median |H_ii| in each layer's weights", *each),
            Variable("layer_diagonal_loss", "training loss", dtype="float64"),
        )

    def gradients(self, run: Run) -> float:
        return 2 + sum(min(self.entries, place.stop - place.start) for place, _ in layers(run))

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        import numpy as np

        chosen = self._chosen(snapshot.run)
        found = snapshot.problem.hessian_entries(snapshot.theta, np.concatenate(chosen))
        parts = np.split(np.abs(found), np.cumsum([len(part) for part in chosen])[:-1])
        return {
            "layer_diagonal_largest": np.array([part.max() for part in parts]),
            "layer_diagonal_median": np.array([np.median(part) for part in parts]),
            "layer_diagonal_loss": float(snapshot.train.loss),
        }, memory

    def _chosen(self, run: Run) -> list[np.ndarray]:
        """Places in theta of the weights of each layer that are looked at; they depend on seed and layer alone."""
        from stepscape.training.random import generator

        found = []
        for number, (place, _) in enumerate(layers(run)):
            random = generator(run.seed, f"entries of layer {number}")
            found.append(place.start + random.permutation(place.stop - place.start)[: self.entries])
        return found
