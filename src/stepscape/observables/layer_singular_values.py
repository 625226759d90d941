"""The singular values of the layers."""

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


@member("layer_singular_values")
class LayerSingularValues(Observable):
    """The largest singular values of every layer's weights, as a matrix with a row for each unit or channel.

    Layers are the weights with more than one dimension, in the network's order; biases, scales and shifts are not. The
    values of a layer with fewer than k are followed by NaN.
    """

    k: Annotated[Count, describe("singular values of each layer")] = 3

    def variables(self, run: Run) -> tuple[Variable, ...]:
        each = (("layer", "singular_value"), (len(layers(run)), self.k), "float64")
        return (Variable("layer_singular_value", "largest singular values of each layer's weights", *each),)

    def gradients(self, run: Run) -> float:
        return 1.0

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray], Memory]:
        import numpy as np
        import torch

        found = np.full((len(layers(snapshot.run)), self.k), np.nan)
        for row, (place, shape) in zip(found, layers(snapshot.run), strict=True):
            weights = snapshot.theta[place].view(shape[0], -1).double()
            if weights.isfinite().all():
                values = torch.linalg.svdvals(weights)[: self.k].cpu().numpy()
                row[: len(values)] = values
        return {"layer_singular_value": found}, memory
