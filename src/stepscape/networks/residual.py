"""Convolutional networks with skips."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two convolutions and a skip: act(s(x) + norm(conv(act(norm(conv(x)))))), s a 1 x 1 convolution or nothing.

    Source: He et al., arXiv:1512.03385, figure 2; the activation comes after the sum.
    """

    def __init__(self, first: nn.Module, second: nn.Module, skip: nn.Module, activation: nn.Module) -> None:
        """Both convolutions come with their normalisation."""
        super().__init__()
        self.first, self.second, self.skip = first, second, skip
        self.activation = activation

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, channels in, height, width) to (N, channels out, height, width)."""
        result: Tensor = self.activation(self.skip(images) + self.second(self.activation(self.first(images))))
        return result


class GlobalAverage(nn.Module):
    """Images (N, channels, height, width) to the means (N, channels) of their channels."""

    def forward(self, images: Tensor) -> Tensor:
        """Takes the means."""
        return images.mean((-2, -1))
