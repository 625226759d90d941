"""Networks of one hidden layer, as theory knows them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.fields import Count, PositiveReal, describe
from stepscape.models import Model
from stepscape.models._activations import Activation, activation_layer
from stepscape.models._initialisation import standard_normal
from stepscape.models._lanes import lane_linear
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("two_layer", source="arXiv:1812.07956, arXiv:1806.07572, arXiv:1810.02054")
class TwoLayer(Model):
    """f(x) = alpha / sqrt(m) A act(W x / sqrt(d)), with m hidden units, d inputs and no biases.

    All entries start from N(0, 1). With alpha = 1 the tangent kernel has a limit as m grows; alpha = 1 / sqrt(m) is the
    mean-field scale; training is the lazier the larger alpha is, at learning rates of order 1 / alpha^2.
    """

    width: Annotated[Count, describe("hidden units m", "units")] = 64
    activation: Annotated[Activation, describe("of the hidden units")] = "relu"
    alpha: Annotated[PositiveReal, describe("scale of the output")] = 1.0
    second_layer: Annotated[
        Literal["trained", "fixed"],
        describe("A trained, or fixed at signs that are drawn once, the same in all runs"),
    ] = "trained"

    @property
    def _scale(self) -> float:
        return self.alpha * float(self.width**-0.5)

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        from stepscape.networks.fixed import FixedLinear, Scaled

        trained = self.second_layer == "trained"
        return nn.Sequential(
            nn.Flatten(),
            Scaled(prod(input_shape) ** -0.5),
            nn.Linear(prod(input_shape), self.width, bias=False),
            activation_layer(self.activation),
            nn.Linear(self.width, outputs, bias=False) if trained else FixedLinear(self.signs(outputs)),
            Scaled(self._scale),
        )

    def signs(self, outputs: int) -> np.ndarray:
        """The second layer (outputs, width) where it is fixed."""
        from stepscape.training.random import generator

        return generator(0, "second layer").choice([-1.0, 1.0], size=(outputs, self.width))

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        standard_normal(module, random)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"2.weight": (self.width, prod(input_shape))}
        return shapes | ({"4.weight": (outputs, self.width)} if self.second_layer == "trained" else {})

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return self.width * (prod(input_shape) + outputs)

    @property
    def trains_last_layer(self) -> bool:
        return self.second_layer == "trained"

    @property
    def has_lane_form(self) -> bool:
        return self.second_layer == "trained"

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        first, second = parameters.values()
        hidden = lane_linear(inputs.flatten(2) * first.shape[-1] ** -0.5, first, None)
        return lane_linear(activation_layer(self.activation)(hidden), second, None) * self._scale
