"""Losses: mean over samples of a function of outputs and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from stepscape.registry import Member

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Member):
    """The base of all losses.

    Attributes:
        needs_classes: whether targets must be one-hot classes.
        takes_losses: whether it is of models whose outputs are losses themselves, and of no others.
    """

    kind: ClassVar[str] = "loss"
    needs_classes: ClassVar[bool] = False
    takes_losses: ClassVar[bool] = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses (...) of outputs (..., N, C) against targets (..., N, C): a scalar for one network, or (lanes,)."""
        raise NotImplementedError
