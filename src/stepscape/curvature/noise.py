"""How much the gradients and the Hessians of single samples differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_NUMBERS = 2**20  # in one chunk of gradients: a rule of P alone, so that a run's bits do not depend on free memory


def gradient_variance(
    sample_loss: Callable[..., Tensor], theta: Tensor, samples: tuple[Tensor, ...], mean: Tensor
) -> float:
    """Trace of the covariance of the samples' gradients: tr Sigma = 1/N sum_i |g_i - g|^2, exact.

    The N samples are the whole population, so that the sum is divided by N. Takes the time of 10 to 30 gradients of the
    mean loss on a CPU, since every sample's gradient goes through memory, a million numbers at a time.

    Args:
        sample_loss: maps theta (P,) and one entry of each of `samples` to the scalar loss of that sample.
        theta: (P,), the point.
        samples: tensors (N, ...).
        mean: g (P,), the mean of the samples' gradients.

    Returns:
        The trace; NaN or infinite where a gradient is not finite.
    """
    one = torch.func.grad(sample_loss)
    rows = torch.func.vmap(one, in_dims=(None, *(0 for _ in samples)))
    total = torch.zeros((), dtype=torch.float64, device=theta.device)
    for chunk in chunks(theta.numel(), samples):
        total += torch.linalg.vector_norm(rows(theta, *chunk) - mean, dtype=torch.float64) ** 2
    return (total / len(samples[0])).item()


def hessian_variance(
    sample_loss: Callable[..., Tensor], theta: Tensor, samples: tuple[Tensor, ...], vector: Tensor, product: Tensor
) -> tuple[float, float]:
    """How far the samples' Hessians take a unit vector v from where their mean H takes it, exact.

    Takes the time of 20 to 60 gradients of the mean loss on a CPU.

    Args:
        sample_loss: maps theta (P,) and one entry of each of `samples` to the scalar loss of that sample.
        theta: (P,), the point.
        samples: tensors (N, ...).
        vector: v (P,).
        product: H v (P,), of the mean of the samples' losses.

    Returns:
        1/N sum_i |(H_i - H) v|^2, and of it the part along v, 1/N sum_i (v^T (H_i - H) v)^2; NaN or infinite where a
        product is not finite.
    """

    def slope(point: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.func.grad(sample_loss)(point, inputs, targets) @ vector

    rows = torch.func.vmap(torch.func.grad(slope), in_dims=(None, 0, 0))  # networks here have no forward mode
    whole, along = torch.zeros(2, dtype=torch.float64, device=theta.device)
    for chunk in chunks(theta.numel(), samples):
        away = (rows(theta, *chunk) - product).double()
        whole += (away**2).sum()
        along += ((away @ vector.double()) ** 2).sum()
    return (whole / len(samples[0])).item(), (along / len(samples[0])).item()


def chunks(numbers: int, samples: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """The samples in parts of which so many numbers each are held at once, such as a gradient (P,)."""
    size = max(1, min(len(samples[0]), _NUMBERS // numbers))
    return zip(*(values.split(size) for values in samples), strict=True)
