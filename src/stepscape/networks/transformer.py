"""A small transformer for sequences of vectors, or for the patches of images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stepscape.networks.normalisation import Normalisation


class Patches(nn.Module):
    """Images (N, channels, height, width) to their square patches (N, patches, channels * side * side), row by row."""

    def __init__(self, side: int) -> None:
        """`side` is in pixels."""
        super().__init__()
        self._side = side

    def forward(self, images: Tensor) -> Tensor:
        """Cuts the images."""
        rows = images.unflatten(-1, (-1, self._side)).unflatten(
            -3, (-1, self._side)
        )  # (N, c, rows, side, columns, side)
        return rows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class Numbers(nn.Module):
    """Sequences (N, length) of numbers to sequences of vectors of one number."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Adds the dimension."""
        return numbers.unsqueeze(-1)


class Attention(nn.Module):
    """Self-attention of several heads without biases: softmax(Q K' / sqrt(width / heads)) V, every token sees all.

    Written as matrix products: fused kernels have no second derivative.
    """

    def __init__(self, width: int, heads: int) -> None:
        """`heads` divides `width`."""
        super().__init__()
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width, bias=False)
        self._heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, length, width) to the same shape."""
        query, key, value = self.query_key_value(tokens).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query * query.shape[-1] ** -0.5 @ key.mT).softmax(dim=-1)  # (N, heads, length, length)
        mixed: Tensor = self.projection((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class Perceptron(nn.Module):
    """Two linear layers with an activation between them, on every token by itself."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.activation = activation
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, length, width) to the same shape."""
        result: Tensor = self.contract(self.activation(self.expand(tokens)))
        return result


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width: int, heads: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.norm1 = Normalisation((-1,), (width,))
        self.attention = Attention(width, heads)
        self.norm2 = Normalisation((-1,), (width,))
        self.perceptron = Perceptron(width, hidden, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, length, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        result: Tensor = tokens + self.perceptron(self.norm2(tokens))
        return result


class TransformerNetwork(nn.Module):
    """Tokens, embedded with their positions, through blocks to one vector and a linear head.

    Args:
        tokens: maps inputs to tokens (N, length, features).
        length: tokens of one input.
        features: numbers of one token.
        blocks: the blocks, of the width of the embedding.
        width: that width.
        pooling: what the head sees: the mean of the tokens, or the last.
        outputs: of the head.
    """

    def __init__(
        self,
        tokens: nn.Module,
        length: int,
        features: int,
        blocks: list[Block],
        *,
        width: int,
        pooling: Literal["mean", "last"],
        outputs: int,
    ) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.tokens = tokens
        self.embedding = nn.Linear(features, width)
        self.blocks = nn.Sequential(*blocks)
        self.norm = Normalisation((-1,), (width,))
        self.head = nn.Linear(width, outputs)
        self._pooling = pooling

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, *input_shape) to (N, outputs)."""
        tokens = self.norm(self.blocks(self.embedding(self.tokens(inputs)) + self.positions))
        result: Tensor = self.head(tokens.mean(dim=1) if self._pooling == "mean" else tokens[:, -1])
        return result
