"""Sums of neurons that learn a teacher, by their population risk."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.fields import Count, PositiveReal, describe
from stepscape.models import Model
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("student_neurons", source="Xu & Du, arXiv:2302.10034")
class StudentNeurons(Model):
    """1/2 E (sum_i relu(w_i . x) - relu(v . x))^2 over standard normal x, for n neurons w_i and a teacher v, the input.

    The output is the population risk itself, by the arc-cosine kernel: for the loss `mean_output`. Entries start from
    N(0, scale^2). Each output has n neurons of its own.
    """

    returns_losses: ClassVar[bool] = True
    neurons: Annotated[Count, describe("of a student, n", "neurons")] = 2
    scale: Annotated[PositiveReal, describe("standard deviation of initial entries; |v| is 1 in `teacher_neuron`")] = (
        0.1
    )

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from stepscape.networks.neurons import StudentNeurons as Network

        return Network(prod(input_shape), outputs, self.neurons)

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        from stepscape.models._initialisation import standard_normal

        standard_normal(module, random, self.scale)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (outputs, self.neurons, prod(input_shape))}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return outputs * self.neurons * (self.neurons + 1) * prod(input_shape)

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        from stepscape.networks.neurons import relu_risk

        return relu_risk(parameters["weight"], inputs.flatten(2))
