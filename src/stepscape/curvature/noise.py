"""How much the gradients of single samples differ."""

from __future__ import annotations

from collections.abc import Callable

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
    count = len(samples[0])
    size = max(1, min(count, _NUMBERS // theta.numel()))
    total = torch.zeros((), dtype=torch.float64, device=theta.device)
    for chunk in zip(*(values.split(size) for values in samples), strict=True):
        total += torch.linalg.vector_norm(rows(theta, *chunk) - mean, dtype=torch.float64) ** 2
    return (total / count).item()
