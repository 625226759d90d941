"""Population risks of sums of neurons, in closed form."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn


class StudentNeurons(nn.Module):
    """Students of n neurons each, and how far each is from a teacher neuron."""

    def __init__(self, inputs: int, outputs: int, neurons: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, neurons, inputs))

    def forward(self, teachers: Tensor) -> Tensor:
        """Risks (N, outputs) against the teachers v (N, inputs)."""
        return relu_risk(self.weight, teachers.flatten(1))


def relu_risk(students: Tensor, teachers: Tensor) -> Tensor:
    """L = 1/2 E (sum_i relu(w_i . x) - relu(v . x))^2 for standard normal x.

    With t the angle between a and b, E relu(a . x) relu(b . x) = a . b / 2 + |a| |b| h(t) / (2 pi) where
    h(t) = sin t - t cos t. So L = |sum_i w_i - v|^2 / 4 + (sum_{i<j} |w_i| |w_j| h_ij - sum_i |w_i| |v| h_i) / (2 pi):
    h vanishes as t^3, and near the optimum nothing of order one cancels, as it does in the usual form below L = 1e-15.

    Args:
        students: w, (..., C, n, d): C students of n neurons; none of length 0.
        teachers: v, (..., N, d); none of length 0.

    Returns:
        (..., N, C).

    Source: Cho & Saul 2009 (arc-cosine kernel of order 1); Xu & Du, arXiv:2302.10034.
    """
    lengths = torch.linalg.vector_norm(students, dim=-1)
    units = students / lengths.unsqueeze(-1)
    teacher_lengths = torch.linalg.vector_norm(teachers, dim=-1)
    teacher_units = teachers / teacher_lengths.unsqueeze(-1)
    residuals = students.sum(dim=-2).unsqueeze(-3) - teachers.unsqueeze(-2)
    first, second = torch.triu_indices(students.shape[-2], students.shape[-2], 1, device=students.device)
    among = lengths[..., first] * lengths[..., second] * _excess(units[..., first, :], units[..., second, :])
    towards = lengths.unsqueeze(-3) * _excess(units.unsqueeze(-4), teacher_units[..., None, None, :])
    coupling = among.sum(dim=-1).unsqueeze(-2) - teacher_lengths.unsqueeze(-1) * towards.sum(dim=-1)
    return residuals.square().sum(dim=-1) / 4 + coupling / (2 * pi)


def _excess(first: Tensor, second: Tensor) -> Tensor:
    """h(t) = sin t - t cos t (...) of the angle t between unit vectors (..., d)."""
    angle = _angle(first, second)
    return angle.sin() - angle * angle.cos()


def _angle(first: Tensor, second: Tensor) -> Tensor:
    """The angle between unit vectors, exact for small ones too (Kahan 2006); its gradient at angle 0 counts as 0."""
    apart = torch.linalg.vector_norm(first - second, dim=-1)
    return 2 * torch.atan2(apart, torch.linalg.vector_norm(first + second, dim=-1))
