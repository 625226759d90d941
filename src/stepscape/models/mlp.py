"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stepscape.fields import Count, describe
from stepscape.models import Model
from stepscape.models._activations import Activation, activation_layer
from stepscape.models._initialisation import standard_normal, uniform_by_fan_in
from stepscape.models._lanes import lane_linear
from stepscape.models._ntk import BIAS_SCALE, ntk_linear
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("mlp")
class MLP(Model):
    """A multilayer perceptron: linear layers with biases and an activation between them.

    With `scaling: standard` a layer is W h + b, all entries uniform in +-1/sqrt(fan in), as PyTorch draws them. With
    `scaling: ntk` it is W h / sqrt(fan in) + 0.1 b, all entries from N(0, 1) (arXiv:1806.07572): the tangent kernel has
    a limit as widths grow, and learning rates are on another scale.

    The activations are tanh; relu, max(0, x), whose second derivative counts as 0 everywhere; elu, x where x > 0 and
    e^x - 1 elsewhere; gelu, x Phi(x) with the normal distribution function itself; softplus, log(1 + e^x).
    """

    hidden: Annotated[tuple[Count, ...], Field(min_length=1), describe("widths of the hidden layers", "units")] = (
        32,
        32,
    )
    activation: Annotated[Activation, describe("applied after every hidden layer")] = "tanh"
    scaling: Annotated[
        Literal["standard", "ntk"], describe("whether 1/sqrt(fan in) stands in the initial weights or in the layer")
    ] = "standard"

    def _widths(self, input_shape: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
        widths = [prod(input_shape), *self.hidden, outputs]
        return list(pairwise(widths))

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        linear = ntk_linear if self.scaling == "ntk" else nn.Linear
        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
        for fan_in, fan_out in self._widths(input_shape, outputs):
            layers += [linear(fan_in, fan_out), activation_layer(self.activation)]
        return nn.Sequential(*layers[:-1])

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        draw = standard_normal if self.scaling == "ntk" else uniform_by_fan_in
        draw(module, random)

    def parameter_count(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self._widths(input_shape, outputs))

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        first = int(len(input_shape) > 1)  # behind the layer that flattens
        for depth, (fan_in, fan_out) in enumerate(self._widths(input_shape, outputs)):
            layer = first + 2 * depth
            shapes |= {f"{layer}.weight": (fan_out, fan_in), f"{layer}.bias": (fan_out,)}
        return shapes

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return sum(fan_in * fan_out for fan_in, fan_out in self._widths(input_shape, outputs))

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        tensors = list(parameters.values())
        activation = activation_layer(self.activation)
        hidden = inputs.flatten(2)
        for number, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
            if number:
                hidden = activation(hidden)
            if self.scaling == "ntk":
                hidden, bias = hidden / weight.shape[-1] ** 0.5, BIAS_SCALE * bias
            hidden = lane_linear(hidden, weight, bias)
        return hidden
