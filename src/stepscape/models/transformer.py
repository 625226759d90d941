"""Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.fields import Count, describe
from stepscape.models import Model
from stepscape.models._activations import Activation, activation_layer
from stepscape.models._initialisation import neutral_normalisations, normal_by_fan_in
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@member("transformer", source="Vaswani et al., arXiv:1706.03762; before normalisation: arXiv:2002.04745")
class Transformer(Model):
    """A small transformer whose blocks are x + attention(norm(x)), then x + mlp(norm(x)); a linear head for classes.

    Inputs (length, features), such as one-hot characters, are tokens as they are; images (channels, height, width) are
    cut into square patches, row by row; of (length,) numbers each is a token. Tokens are embedded by a linear layer,
    and a learned vector for each position is added. Every token sees all; attention has no biases. The head sees the
    mean of the normalised tokens, or the last.

    Weights start normal with variance 1 / fan in, those of the last layer of each of the 2 depth branches with
    1 / (2 depth fan in), positions with standard deviation 0.02, biases and shifts at 0, scales at 1.
    """

    width: Annotated[Count, describe("of the embedding; a multiple of `heads`", "units")] = 32
    depth: Annotated[Count, describe("number of blocks", "blocks")] = 2
    heads: Annotated[Count, describe("of each attention", "heads")] = 2
    mlp_ratio: Annotated[Count, describe("hidden units of a block's mlp", "widths")] = 4
    activation: Annotated[Activation, describe("in the blocks' mlps")] = "gelu"
    patch: Annotated[Count, describe("side of an image's patches; divides its sides", "pixels")] = 4
    pooling: Annotated[Literal["mean", "last"], describe("which tokens the head sees")] = "mean"

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise PydanticCustomError("heads", f"heads that divide the width {self.width}")
        return self

    def input_fault(self, input_shape: tuple[int, ...]) -> str | None:
        sides = input_shape[1:] if len(input_shape) == 3 else ()
        if len(input_shape) > 3 or any(side % self.patch for side in sides):
            return (
                f"images (channels, height, width) that `patch: {self.patch}` divides, (length, features), or (length,)"
            )
        return None

    def _tokens(self, input_shape: tuple[int, ...]) -> tuple[int, int]:
        """How many tokens an input is, and of how many numbers each."""
        if len(input_shape) < 3:
            length, *features = input_shape
            return length, features[0] if features else 1
        channels, height, width = input_shape
        return (height // self.patch) * (width // self.patch), channels * self.patch**2

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        from stepscape.networks.transformer import Block, Numbers, Patches, TransformerNetwork

        reading = {1: Numbers(), 2: nn.Identity(), 3: Patches(self.patch)}
        hidden = self.mlp_ratio * self.width
        blocks = [Block(self.width, self.heads, hidden, activation_layer(self.activation)) for _ in range(self.depth)]
        return TransformerNetwork(
            reading[len(input_shape)],
            *self._tokens(input_shape),
            blocks,
            width=self.width,
            pooling=self.pooling,
            outputs=outputs,
        )

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        import torch

        normal_by_fan_in(module, random)
        neutral_normalisations(module)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name == "positions":
                    parameter.copy_(torch.from_numpy(0.02 * random.standard_normal(tuple(parameter.shape))))
                elif name.endswith(("projection.weight", "contract.weight")):
                    parameter.div_((2 * self.depth) ** 0.5)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        length, features = self._tokens(input_shape)
        shapes: dict[str, tuple[int, ...]] = {
            "positions": (length, self.width),
            "embedding.weight": (self.width, features),
            "embedding.bias": (self.width,),
        }
        for number in range(self.depth):
            shapes |= {f"blocks.{number}.{name}": shape for name, shape in self._block_shapes().items()}
        return {
            **shapes,
            "norm.scale": (self.width,),
            "norm.shift": (self.width,),
            "head.weight": (outputs, self.width),
            "head.bias": (outputs,),
        }

    def _block_shapes(self) -> dict[str, tuple[int, ...]]:
        width, hidden = self.width, self.mlp_ratio * self.width
        return {
            "norm1.scale": (width,),
            "norm1.shift": (width,),
            "attention.query_key_value.weight": (3 * width, width),
            "attention.projection.weight": (width, width),
            "norm2.scale": (width,),
            "norm2.shift": (width,),
            "perceptron.expand.weight": (hidden, width),
            "perceptron.expand.bias": (hidden,),
            "perceptron.contract.weight": (width, hidden),
            "perceptron.contract.bias": (width,),
        }

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        length, features = self._tokens(input_shape)
        token = self.width * ((4 + 2 * self.mlp_ratio) * self.width + 2 * length)  # in a block, attention included
        return length * (features * self.width + self.depth * token) + self.width * outputs
