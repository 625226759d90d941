"""Linear layers of many networks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def lane_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W h + b in every lane.

    Args:
        inputs: h, (lanes, N, fan in).
        weight: W, (lanes, fan out, fan in).
        bias: b, (lanes, fan out); None for none.

    Returns:
        (lanes, N, fan out).
    """
    import torch

    if bias is None:
        return torch.bmm(inputs, weight.mT)
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
