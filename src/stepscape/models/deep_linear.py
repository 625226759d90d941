"""Deep linear networks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stepscape.fields import Count, Flag, PositiveReal, describe
from stepscape.models import Model
from stepscape.models._initialisation import normal_by_fan_in
from stepscape.models._lanes import lane_linear
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("deep_linear", source="Saxe, McClelland & Ganguli, arXiv:1312.6120")
class DeepLinear(Model):
    """W_L ... W_2 W_1 x: a linear map, and a loss that is not convex in its factors.

    Weights start normal with variance gain^2 / fan in, biases at 0.
    """

    hidden: Annotated[tuple[Count, ...], Field(min_length=1), describe("widths of the hidden layers", "units")] = (
        32,
        32,
    )
    bias: Annotated[Flag, describe("whether layers have biases")] = False
    gain: Annotated[
        PositiveReal, describe("standard deviation of the initial weights; small: plateaus first", "1/sqrt(fan in)")
    ] = 1.0

    def _widths(self, input_shape: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
        return list(pairwise([prod(input_shape), *self.hidden, outputs]))

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layers = [nn.Linear(*widths, bias=self.bias) for widths in self._widths(input_shape, outputs)]
        return nn.Sequential(nn.Flatten(), *layers)

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        normal_by_fan_in(module, random, self.gain)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for number, (fan_in, fan_out) in enumerate(self._widths(input_shape, outputs), start=1):
            shapes[f"{number}.weight"] = (fan_out, fan_in)
            if self.bias:
                shapes[f"{number}.bias"] = (fan_out,)
        return shapes

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return sum(fan_in * fan_out for fan_in, fan_out in self._widths(input_shape, outputs))

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        hidden, tensors = inputs.flatten(2), list(parameters.values())
        each = 2 if self.bias else 1
        for weight, *bias in (tensors[first : first + each] for first in range(0, len(tensors), each)):
            hidden = lane_linear(hidden, weight, bias[0] if bias else None)
        return hidden
