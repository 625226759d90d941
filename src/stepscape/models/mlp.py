"""Fully connected networks."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stepscape.fields import Count, describe
from stepscape.models import Model
from stepscape.models._initialisation import uniform_by_fan_in
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@member("mlp")
class MLP(Model):
    """A multilayer perceptron: linear layers with biases and an activation between them."""

    hidden: Annotated[tuple[Count, ...], Field(min_length=1), describe("widths of the hidden layers", "units")] = (
        32,
        32,
    )
    activation: Annotated[Literal["tanh"], describe("applied after every hidden layer")] = "tanh"

    def _widths(self, input_shape: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
        widths = [prod(input_shape), *self.hidden, outputs]
        return list(pairwise(widths))

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
        for fan_in, fan_out in self._widths(input_shape, outputs):
            layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
        return nn.Sequential(*layers[:-1])

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        uniform_by_fan_in(module, random)

    def parameter_count(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self._widths(input_shape, outputs))

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return sum(fan_in * fan_out for fan_in, fan_out in self._widths(input_shape, outputs))
