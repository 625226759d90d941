"""Kernel matrices of a network on some samples, and their spectra."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_COLUMNS = 2**16  # of a Jacobian that are multiplied at a time, in float64


def tangent_kernel(outputs: Callable[[Tensor, Tensor], Tensor], theta: Tensor, inputs: Tensor) -> Tensor:
    """J J^T, with J the Jacobian of all outputs on all inputs: the empirical tangent kernel.

    One reverse pass an output of an input; the Jacobian, n C x P numbers, is in memory.

    Args:
        outputs: maps theta (P,) and inputs (n, ...) to (n, C).
        theta: (P,), the point.
        inputs: (n, ...).

    Returns:
        (n C, n C), sample by sample, in float64.

    Source: Jacot, Gabriel & Hongler 2018 (arXiv:1806.07572).
    """
    point = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        values = outputs(point, inputs).reshape(-1)
    rows = [torch.autograd.grad(value, point, retain_graph=True, materialize_grads=True)[0] for value in values]
    jacobian = torch.stack(rows)
    kernel = torch.zeros(len(values), len(values), dtype=torch.float64, device=theta.device)
    for columns in jacobian.split(_COLUMNS, dim=1):
        kernel.addmm_(columns.double(), columns.double().T)
    return kernel


def feature_kernel(features: Tensor) -> Tensor:
    """F F^T / width of features F (n, width): the conjugate kernel; (n, n) in float64."""
    rows = features.double()
    return rows @ rows.T / rows.shape[1]


def alignment(kernel: Tensor, targets: Tensor) -> float:
    """The cosine <K, Y Y^T> / (|K| |Y Y^T|) between a kernel and that of the targets, in Frobenius norms.

    Args:
        kernel: K, (n, n), or (n C, n C) with targets flattened.
        targets: Y, (n, C).

    Returns:
        The cosine.

    Source: Cristianini et al. 2001 (NeurIPS 14), kernel-target alignment.
    """
    labels = targets.double()
    if len(kernel) != len(labels):
        labels = labels.reshape(-1, 1)
    wanted = labels @ labels.T
    norms = torch.linalg.matrix_norm(kernel) * torch.linalg.matrix_norm(wanted)
    return ((kernel * wanted).sum() / norms).item()
