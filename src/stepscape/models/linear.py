"""Linear models."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Flag, describe
from stepscape.models import Model
from stepscape.models._initialisation import uniform_by_fan_in
from stepscape.models._lanes import lane_linear
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("linear")
class Linear(Model):
    """One linear layer: least squares or logistic regression, depending on the loss."""

    bias: Annotated[Flag, describe("whether there is a bias")] = True

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layer = nn.Linear(prod(input_shape), outputs, bias=self.bias)
        return nn.Sequential(nn.Flatten(), layer) if len(input_shape) > 1 else layer

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        uniform_by_fan_in(module, random)

    def parameter_count(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return (prod(input_shape) + self.bias) * outputs

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        layer = "1." if len(input_shape) > 1 else ""  # behind the layer that flattens
        bias: dict[str, tuple[int, ...]] = {f"{layer}bias": (outputs,)} if self.bias else {}
        return {f"{layer}weight": (outputs, prod(input_shape)), **bias}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return prod(input_shape) * outputs

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        weight, *bias = parameters.values()
        return lane_linear(inputs.flatten(2), weight, bias[0] if bias else None)
