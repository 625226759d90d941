"""What models of images share: their inputs, convolutions and normalisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Norm = Literal["none", "batch", "layer"]

SEQUENTIAL_BECAUSE = "convolutions of many networks at once are slower on a CPU"


def image_fault(input_shape: tuple[int, ...], halvings: int) -> str | None:
    """What inputs would have to be for a network that halves them some times; None if they are."""
    side = 2**halvings
    if len(input_shape) == 3 and min(input_shape[1:]) >= side:
        return None
    return f"images (channels, height, width) of at least {side} x {side} pixels, as `digits` has with `shape: image`"


def convolution(channels_in: int, channels_out: int, kernel: int, norm: Norm) -> nn.Module:
    """A convolution and its normalisation."""
    from torch import nn

    from stepscape.networks.convolution import Convolution
    from stepscape.networks.normalisation import Normalisation

    made = Convolution(channels_in, channels_out, kernel, bias=norm == "none")
    if norm == "none":
        return nn.Sequential(made)
    dims = (0, -2, -1) if norm == "batch" else (-3, -2, -1)
    return nn.Sequential(made, Normalisation(dims, (channels_out, 1, 1)))


def convolution_shapes(
    name: str, channels_in: int, channels_out: int, kernel: int, norm: Norm
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of such a layer that is called `name`."""
    weight = {f"{name}.0.weight": (channels_out, channels_in, kernel, kernel)}
    if norm == "none":
        return {**weight, f"{name}.0.bias": (channels_out,)}
    return {**weight, f"{name}.1.scale": (channels_out, 1, 1), f"{name}.1.shift": (channels_out, 1, 1)}
