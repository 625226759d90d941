"""The problem that eigensolvers are compared on: a network on images, after some steps of gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call

CLASSES = 10
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Problem:
    """A network whose loss is 1/(2N) sum over samples and outputs of (f - y)^2, in one dtype.

    Attributes:
        module: the network, its parameters at the point where the Hessian is wanted.
        inputs: (N, features).
        targets: (N, CLASSES), one-hot.
    """

    module: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def parameters(self) -> list[Tensor]:
        """The network's parameters, whose sizes add up to P."""
        return list(self.module.parameters())

    @property
    def theta(self) -> Tensor:
        """The parameters as one vector (P,)."""
        return nn.utils.parameters_to_vector(self.parameters).detach()

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs (N, CLASSES), a scalar."""
        return 0.5 * (outputs - targets).square().sum(dim=1).mean()

    def module_loss(self) -> Tensor:
        """The loss as a function of the module's own parameters."""
        return self.criterion(self.module(self.inputs), self.targets)

    def loss(self, theta: Tensor) -> Tensor:
        """The loss as a function of theta (P,)."""
        named = dict(self.module.named_parameters())
        pieces = theta.split([value.numel() for value in named.values()])
        given = {name: piece.view_as(value) for (name, value), piece in zip(named.items(), pieces, strict=True)}
        return self.criterion(functional_call(self.module, given, (self.inputs,)), self.targets)

    def descend(self, steps: int, lr: float) -> None:
        """Moves the parameters by `steps` steps of gradient descent with the full batch."""
        optimizer = torch.optim.SGD(self.module.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            self.module_loss().backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def copy(self) -> Problem:
        """The same problem, whose parameters stay where they are."""
        return Problem(deepcopy(self.module), self.inputs, self.targets)

    def double(self) -> Problem:
        """The same problem at the same point in float64."""
        return Problem(deepcopy(self.module).double(), self.inputs.double(), self.targets.double())


def make_problem(images: Path | None, samples: int, hidden: Sequence[int]) -> Problem:
    """A tanh network with PyTorch's own initialisation (seed 0) on standardised images, in float32.

    Args:
        images: an npz file with `x_train` (n, 32, 32, 3) and `y_train` (n,); None for generated ones.
        samples: how many images, the first of the file.
        hidden: widths of the hidden layers.

    Returns:
        The problem at its initial parameters.

    Raises:
        ValueError: the file holds fewer images than are wanted.
    """
    pixels, labels = _generated(samples) if images is None else _read(images, samples)
    spread = pixels.std(axis=0)
    standardised = (pixels - pixels.mean(axis=0)) / np.where(spread > 0, spread, 1)
    torch.manual_seed(0)
    targets = torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels])
    return Problem(_network(PIXELS, hidden), torch.from_numpy(standardised).float(), targets)


def make_digits(samples: int, hidden: Sequence[int], *, centred: bool) -> Problem:
    """A tanh network with PyTorch's own initialisation (seed 0) on scikit-learn's handwritten digits, in float32.

    Args:
        samples: how many images, the first ones.
        hidden: widths of the hidden layers.
        centred: whether each pixel's mean is subtracted, or only that of all; the scale is that of all.

    Returns:
        The problem at its initial parameters.
    """
    images, labels = load_digits(return_X_y=True)
    pixels = images[:samples] - images[:samples].mean(axis=0 if centred else None)
    torch.manual_seed(0)
    targets = torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels[:samples]])
    return Problem(_network(pixels.shape[1], hidden), torch.from_numpy(pixels / pixels.std()).float(), targets)


def _read(path: Path, samples: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        pixels, labels = file["x_train"][:samples], file["y_train"][:samples]
    if len(pixels) < samples:
        raise ValueError(f"{path} holds {len(pixels)} images; allowed: at least {samples}. Ask for fewer --samples.")
    return pixels.reshape(samples, PIXELS).astype(np.float64), labels.reshape(samples).astype(np.int64)


def _generated(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """A pattern for each class, and noise of the same size."""
    random = np.random.default_rng(0)
    labels = random.integers(CLASSES, size=samples)
    patterns = random.standard_normal((CLASSES, PIXELS))
    return patterns[labels] + random.standard_normal((samples, PIXELS)), labels


def _network(inputs: int, hidden: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([inputs, *hidden, CLASSES]):
        layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
