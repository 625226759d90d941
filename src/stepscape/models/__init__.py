"""Models: ordinary `torch.nn.Module`s, called functionally on parameters that training keeps as one flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, ClassVar

from stepscape.registry import Member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class Model(Member):
    """The base of all models.

    Attributes:
        sequential_because: why runs of this model never train as lanes of one computation; empty where they may.
        returns_losses: whether outputs are losses themselves, for losses that take such.
    """

    kind: ClassVar[str] = "model"
    sequential_because: ClassVar[str] = ""
    returns_losses: ClassVar[bool] = False

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network that maps (N, *input_shape) to (N, outputs); its values at birth are not used."""
        raise NotImplementedError

    def initialise(self, module: nn.Module, random: np.random.Generator) -> None:
        """Sets every parameter of `module` (float64) in place from `random`."""
        raise NotImplementedError

    def parameter_count(self, input_shape: tuple[int, ...], outputs: int) -> int:
        """Number of parameters P; in closed form where `parameter_shapes` is."""
        return sum(prod(shape) for shape in self.parameter_shapes(input_shape, outputs).values())

    def parameter_shapes(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the network's `named_parameters`, in order; in closed form, planning needs no torch."""
        import torch

        with torch.device("meta"):
            return {name: tuple(held.shape) for name, held in self.build(input_shape, outputs).named_parameters()}

    def multiplications(self, input_shape: tuple[int, ...], outputs: int) -> int:
        """Multiplications that one more sample adds to a forward pass: what the cost of a run is estimated from."""
        raise NotImplementedError

    def input_fault(self, input_shape: tuple[int, ...]) -> str | None:
        """What inputs this model can take, where it cannot take those of `input_shape`; None where it can."""
        return None

    @property
    def trains_last_layer(self) -> bool:
        """Whether outputs are linear in parameters of a last layer."""
        return not self.returns_losses

    @property
    def couples_samples(self) -> bool:
        """Whether the output of a sample depends on which others are computed with it."""
        return False

    @property
    def has_lane_form(self) -> bool:
        """Whether `lane_outputs` computes many networks at once."""
        return type(self).lane_outputs is not Model.lane_outputs

    def lane_outputs(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """What many networks of this model return, each with its own parameters and inputs, from batched products.

        Optional: small networks on small batches then train several times faster, as lanes of one computation.

        Args:
            parameters: (lanes, *shape) of every parameter of the module, by name, in the module's order.
            inputs: (lanes, N, *input_shape).

        Returns:
            Outputs (lanes, N, outputs); those of a lane must not depend on the others.
        """
        raise NotImplementedError
