"""Test problems: small networks on generated data, as functions of one flat parameter vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

SAMPLES, FEATURES, CLASSES = 40, 9, 3


@dataclass(frozen=True)
class Problem:
    """A training loss, theta (P,) to scalar, in the dtype of theta; and a point in float64."""

    loss: Callable[[Tensor], Tensor]
    theta: Tensor

    @property
    def dim(self) -> int:
        return self.theta.numel()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(FEATURES, CLASSES),
    "deep_linear": lambda: nn.Sequential(nn.Linear(FEATURES, 6, bias=False), nn.Linear(6, CLASSES, bias=False)),
    "tanh_mlp": lambda: nn.Sequential(
        nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, CLASSES)
    ),
    "wide_mlp": lambda: nn.Sequential(
        nn.Linear(FEATURES, 30), nn.Tanh(), nn.Linear(30, 12), nn.Tanh(), nn.Linear(12, CLASSES)
    ),
    "relu_mlp": lambda: nn.Sequential(nn.Linear(FEATURES, 12, bias=False), nn.ReLU(), nn.Linear(12, CLASSES)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 4, 2), nn.Softplus(), nn.Flatten(), nn.Linear(16, CLASSES)
    ),
    "normalised": lambda: nn.Sequential(nn.Linear(FEATURES, 7), nn.LayerNorm(7), nn.GELU(), nn.Linear(7, CLASSES)),
}


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    return 0.5 * ((outputs - nn.functional.one_hot(labels, CLASSES)) ** 2).sum(1).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cross_entropy": nn.functional.cross_entropy}


def _problem(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], seed: int) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def objective(theta: Tensor) -> Tensor:
        parts = zip(shapes.items(), theta.split(sizes), strict=True)
        parameters = {name: part.view(shape) for (name, shape), part in parts}
        return loss(functional_call(module, parameters, (inputs.to(theta.dtype),)), labels)

    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes.values()]
    theta = torch.cat([(part / max(part[0].numel(), 4) ** 0.5).flatten() for part in parts])
    return Problem(objective, theta)


PROBLEMS: dict[str, Problem] = {
    f"{model}-{loss}": _problem(MODELS[model](), LOSSES[loss], seed)
    for seed, (model, loss) in enumerate((model, loss) for model in MODELS for loss in LOSSES)
}
