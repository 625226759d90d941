"""Cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from stepscape.losses import Loss
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor


@member("cross_entropy")
class CrossEntropy(Loss):
    """-1/N sum over samples of y . log softmax(f), with one-hot y."""

    needs_classes: ClassVar[bool] = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # Several times faster than PyTorch's log_softmax on few classes, and as exact: the largest output is taken off.
        shifted = outputs - outputs.detach().amax(dim=-1, keepdim=True)
        return (shifted.exp().sum(dim=-1).log() - (targets * shifted).sum(dim=-1)).mean(dim=-1)
