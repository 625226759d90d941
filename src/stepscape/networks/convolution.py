"""Convolutions whose Hessian products cost no more than they must.

PyTorch's derivative of a convolution's derivative forms products that nobody asked for, and takes kernels as large as
the image. Here the three products of one trilinear form are each other's derivatives, to any order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight


class Convolution(nn.Module):
    """Cross-correlation with a square kernel of odd size, zeros around the image: its height and width stay."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, bias: bool) -> None:
        """`kernel` is its side, in pixels."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, channels in, height, width) to (N, channels out, height, width)."""
        result: Tensor = _Correlate.apply(inputs, self.weight)
        return result if self.bias is None else result + self.bias[:, None, None]


def _padding(weight_shape: tuple[int, ...]) -> int:
    return weight_shape[-1] // 2


class _Bilinear(Function):
    """One of the three products; its derivatives are the other two."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])


class _Correlate(_Bilinear):
    """(inputs, weight) to outputs."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(inputs, weight, padding=_padding(weight.shape))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _ToInputs.apply(grad, weight) if wanted[0] else None,
            _ToWeight.apply(inputs, grad, weight.shape) if wanted[1] else None,
        )


class _ToInputs(_Bilinear):
    """(outputs, weight) to inputs."""

    @staticmethod
    def forward(outputs: Tensor, weight: Tensor) -> Tensor:
        shape = (outputs.shape[0], weight.shape[1], *outputs.shape[2:])
        return conv2d_input(shape, weight, outputs, padding=_padding(weight.shape))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        outputs, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Correlate.apply(grad, weight) if wanted[0] else None,
            _ToWeight.apply(grad, outputs, weight.shape) if wanted[1] else None,
        )


class _ToWeight(_Bilinear):
    """(inputs, outputs) to weight, of a shape."""

    @staticmethod
    def forward(inputs: Tensor, outputs: Tensor, shape: tuple[int, ...]) -> Tensor:
        return conv2d_weight(inputs, shape, outputs, padding=_padding(shape))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, outputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _ToInputs.apply(outputs, grad) if wanted[0] else None,
            _Correlate.apply(inputs, grad) if wanted[1] else None,
            None,
        )
