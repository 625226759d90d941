"""Linear maps of matrices that are products of factors."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, Flag, PositiveReal, describe
from stepscape.models import Model
from stepscape.models._initialisation import standard_normal
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@member("matrix_factorisation", source="Gunasekar et al., arXiv:1705.09280")
class MatrixFactorisation(Model):
    """<x, U U^T>, or <x, U V^T>, for inputs x that are matrices; each output has factors of its own.

    Entries start from N(0, scale^2 / columns): U U^T starts around scale^2 times the identity.
    """

    columns: Annotated[Count | None, describe("of the factors, which bounds the rank; none: as many as rows")] = None
    symmetric: Annotated[Flag, describe("whether V is U")] = True
    scale: Annotated[PositiveReal, describe("of the initial factors; small: low rank first")] = 1.0

    def input_fault(self, input_shape: tuple[int, ...]) -> str | None:
        if len(input_shape) != 2:
            return "inputs of two dimensions: matrices"
        if self.symmetric and input_shape[0] != input_shape[1]:
            return "inputs with as many rows as columns, or `symmetric: false`"
        return None

    def _columns(self, input_shape: tuple[int, ...]) -> int:
        return input_shape[0] if self.columns is None else self.columns

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from stepscape.networks.factorisation import Factorisation

        rows, across = input_shape
        return Factorisation(outputs, (rows, across), self._columns(input_shape), symmetric=self.symmetric)

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        columns = next(module.parameters()).shape[-1]
        standard_normal(module, random, self.scale * columns**-0.5)

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        sides = {"left": input_shape[0]} | ({} if self.symmetric else {"right": input_shape[1]})
        return {name: (outputs, rows, self._columns(input_shape)) for name, rows in sides.items()}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        return outputs * prod(input_shape)  # U V^T is made once for all samples

    @property
    def trains_last_layer(self) -> bool:
        return False

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        import torch

        factors = list(parameters.values())
        product = factors[0] @ factors[-1].mT
        return torch.bmm(inputs.flatten(2), product.flatten(2).mT)
