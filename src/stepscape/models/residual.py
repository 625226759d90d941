"""Residual convolutional networks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from stepscape.fields import Count, describe
from stepscape.models import Model
from stepscape.models._activations import Activation, activation_layer
from stepscape.models._images import SEQUENTIAL_BECAUSE, Norm, convolution, convolution_shapes, image_fault
from stepscape.models._initialisation import neutral_normalisations, normal_by_fan_in
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True)
class _Convolution:
    """One convolution of the network.

    Attributes:
        name: that of the layer.
        channels_in: of its inputs.
        channels_out: of its outputs.
        kernel: its side, in pixels.
        halvings: how often the image was pooled before.
    """

    name: str
    channels_in: int
    channels_out: int
    kernel: int
    halvings: int


@member("residual", source="He et al., arXiv:1512.03385")
class Residual(Model):
    """A small residual network: a convolution, blocks of two convolutions with a skip around them, and a linear head.

    The blocks come in stages of one number of channels; average pooling over 2 x 2 pixels stands before each stage but
    the first. Where the number of channels changes the skip is a 1 x 1 convolution. Activations follow the sums; the
    head sees the mean of all pixels. All other convolutions are of 3 x 3 pixels; `norm` is as in `cnn`, and also stands
    behind the convolutions of skips.

    Weights of convolutions start normal with variance 2 / fan in, those of the head with 1 / fan in, biases and shifts
    at 0, scales at 1.
    """

    sequential_because: ClassVar[str] = SEQUENTIAL_BECAUSE
    channels: Annotated[tuple[Count, ...], Field(min_length=1), describe("of each stage", "channels")] = (8, 16)
    blocks: Annotated[Count, describe("in each stage", "blocks")] = 1
    activation: Annotated[Activation, describe("after the first convolution and in each block")] = "relu"
    norm: Annotated[Norm, describe("how the outputs of convolutions are normalised")] = "batch"

    def _block_convolutions(self, channels_in: int) -> dict[str, list[_Convolution]]:
        """The convolutions of each block; the last is that of the skip, where it has one."""
        found: dict[str, list[_Convolution]] = {}
        before = channels_in
        for stage, channels in enumerate(self.channels):
            for number in range(1, self.blocks + 1):
                name = f"stage{stage + 1}_block{number}"
                made = [
                    _Convolution(f"{name}.first", before, channels, 3, stage),
                    _Convolution(f"{name}.second", channels, channels, 3, stage),
                ]
                if before != channels:
                    made.append(_Convolution(f"{name}.skip", before, channels, 1, stage))
                found[name] = made
                before = channels
        return found

    def _convolutions(self, input_shape: tuple[int, ...]) -> list[_Convolution]:
        stem = _Convolution("stem", input_shape[0], self.channels[0], 3, 0)
        return [stem, *(each for block in self._block_convolutions(self.channels[0]).values() for each in block)]

    def input_fault(self, input_shape: tuple[int, ...]) -> str | None:
        return image_fault(input_shape, halvings=len(self.channels) - 1)

    @property
    def couples_samples(self) -> bool:
        return self.norm == "batch"

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        from stepscape.networks.residual import GlobalAverage, ResidualBlock

        def made(given: _Convolution) -> nn.Module:
            return convolution(given.channels_in, given.channels_out, given.kernel, self.norm)

        stem, *_ = self._convolutions(input_shape)
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=made(stem), activation=activation_layer(self.activation))
        halvings = 0
        for name, (first, second, *skip) in self._block_convolutions(self.channels[0]).items():
            if first.halvings > halvings:
                halvings = first.halvings
                layers[f"pooling{halvings}"] = nn.AvgPool2d(2)
            around = made(skip[0]) if skip else nn.Identity()
            layers[name] = ResidualBlock(made(first), made(second), around, activation_layer(self.activation))
        layers["average"] = GlobalAverage()
        layers["head"] = nn.Linear(self.channels[-1], outputs)
        return nn.Sequential(layers)

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        for name, layer in module.named_children():
            normal_by_fan_in(layer, random, gain=1.0 if name == "head" else 2**0.5)
        neutral_normalisations(module)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for each in self._convolutions(input_shape):
            shapes |= convolution_shapes(each.name, each.channels_in, each.channels_out, each.kernel, self.norm)
        return {**shapes, "head.weight": (outputs, self.channels[-1]), "head.bias": (outputs,)}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        total = self.channels[-1] * outputs
        for each in self._convolutions(input_shape):
            height, width = (side >> each.halvings for side in input_shape[1:])
            total += height * width * each.channels_in * each.channels_out * each.kernel**2
        return total
