"""The spectrum of the first layer's weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from stepscape.fields import Count, describe
from stepscape.observables import Observable, Variable
from stepscape.observables._layers import layers
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("first_layer", source="arXiv:2211.06506")
class FirstLayer(Observable):
    """All eigenvalues of W^T W / h, W (h, d) the weights of the first layer, and where its eigenvectors point.

    The alignment of an eigenvector is the length of its projection onto the span of X^T Y, of the training inputs X and
    targets Y: with one output, |cos| of the angle between the two. The ratio is d / h, of the Marchenko-Pastur law.
    """

    k: Annotated[Count, describe("leading eigenvectors that are compared, or all where there are fewer")] = 1

    def variables(self, run: Run) -> tuple[Variable, ...]:
        inputs = prod(run.dataset.input_shape)
        leading = (("leading_direction",), (min(self.k, inputs),), "float64")
        return (
            Variable(
                "first_layer_eigenvalue",
                "eigenvalues of W^T W / h of the first layer",
                ("direction",),
                (inputs,),
                "float64",
            ),
            Variable("first_layer_ratio", "inputs over units of the first layer", dtype="float64"),
            Variable("first_layer_alignment", "alignment of leading eigenvectors with X^T Y", *leading, summary=True),
        )

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        held, inputs = layers(run), prod(run.dataset.input_shape)
        if not held or len(held[0][1]) != 2 or held[0][1][1] != inputs:
            return "name", self.name, f"nothing: the first layer of {run.model.name} has no row of inputs for each unit"
        return super().fault(run)

    def gradients(self, run: Run) -> float:
        return 1.0

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        import numpy as np
        import torch

        from stepscape.curvature import span_alignment

        place, (units, inputs) = layers(snapshot.run)[0]
        k = min(self.k, inputs)
        weights = snapshot.theta[place].view(units, inputs).double()
        if not weights.isfinite().all():
            values, aligned = np.full(inputs, np.nan), np.full(k, np.nan)
        else:
            found, vectors = torch.linalg.eigh(weights.T @ weights / units)
            train = snapshot.problem.train
            wanted = train.targets.double().T @ train.inputs.flatten(1).double()
            values = found.flip(0).cpu().numpy()
            aligned = span_alignment(vectors.flip(1)[:, :k].T, wanted).cpu().numpy()
        return {
            "first_layer_eigenvalue": values,
            "first_layer_ratio": inputs / units,
            "first_layer_alignment": aligned,
        }, memory
