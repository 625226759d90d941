"""Convolutional networks."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from stepscape.fields import Count, describe
from stepscape.models import Model
from stepscape.models._activations import Activation, activation_layer
from stepscape.models._images import SEQUENTIAL_BECAUSE, Norm, convolution, convolution_shapes, image_fault
from stepscape.models._initialisation import neutral_normalisations, uniform_by_fan_in
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

_KERNEL = 3


@member("cnn", source="arXiv:2103.00065, appendix (with two convolutions of 32 channels)")
class CNN(Model):
    """Convolutions of 3 x 3 pixels, each with activation and pooling over 2 x 2 pixels, then one linear layer.

    `norm: batch` subtracts each channel's mean over the batch and all pixels and divides by its standard deviation. The
    statistics are always those of the samples that the loss is taken over, so that the loss on the whole training set
    is one function of the parameters; nothing is averaged over updates. `norm: layer` takes mean and deviation over all
    channels and pixels of a sample. With either, channels have a scale and a shift, and convolutions no biases.

    Weights and biases start uniform in +-1/sqrt(fan in), as PyTorch draws them, scales at 1 and shifts at 0. Zeros lie
    around the images; an odd last row or column is not pooled.
    """

    sequential_because: ClassVar[str] = SEQUENTIAL_BECAUSE
    channels: Annotated[
        tuple[Count, ...], Field(min_length=1, max_length=4), describe("of each convolution", "channels")
    ] = (16, 32)
    activation: Annotated[Activation, describe("applied before every pooling")] = "tanh"
    pooling: Annotated[Literal["average", "max"], describe("what stands for 2 x 2 pixels")] = "average"
    norm: Annotated[Norm, describe("how the outputs of convolutions are normalised")] = "none"

    def _sizes(self, input_shape: tuple[int, ...]) -> list[tuple[int, int]]:
        return list(pairwise([input_shape[0], *self.channels]))

    def _features(self, input_shape: tuple[int, ...]) -> int:
        """Numbers of one image behind the last pooling."""
        height, width = (side >> len(self.channels) for side in input_shape[1:])
        return self.channels[-1] * height * width

    def input_fault(self, input_shape: tuple[int, ...]) -> str | None:
        return image_fault(input_shape, halvings=len(self.channels))

    @property
    def couples_samples(self) -> bool:
        return self.norm == "batch"

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (channels_in, channels_out) in enumerate(self._sizes(input_shape), start=1):
            layers[f"convolution{number}"] = convolution(channels_in, channels_out, _KERNEL, self.norm)
            layers[f"activation{number}"] = activation_layer(self.activation)
            layers[f"pooling{number}"] = nn.AvgPool2d(2) if self.pooling == "average" else nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(self._features(input_shape), outputs)
        return nn.Sequential(layers)

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        uniform_by_fan_in(module, random)
        neutral_normalisations(module)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for number, (channels_in, channels_out) in enumerate(self._sizes(input_shape), start=1):
            shapes |= convolution_shapes(f"convolution{number}", channels_in, channels_out, _KERNEL, self.norm)
        return {**shapes, "head.weight": (outputs, self._features(input_shape)), "head.bias": (outputs,)}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        total = self._features(input_shape) * outputs
        for depth, (channels_in, channels_out) in enumerate(self._sizes(input_shape)):
            height, width = (side >> depth for side in input_shape[1:])
            total += height * width * channels_in * channels_out * _KERNEL**2
        return total
