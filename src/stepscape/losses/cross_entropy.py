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
        return -(targets * outputs.log_softmax(dim=1)).sum(dim=1).mean()
