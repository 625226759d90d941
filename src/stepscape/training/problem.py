"""What a run minimises: data, network and loss, as functions of one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from stepscape.curvature import Operator, hvp
from stepscape.datasets import Data, Dataset
from stepscape.study.run import Run
from stepscape.training.random import generator

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Samples:
    """Inputs (n, *input_shape) and targets (n, outputs), on the device and in the dtype of the run."""

    inputs: Tensor
    targets: Tensor

    def pick(self, indices: Tensor) -> Samples:
        """Those at `indices` (B,)."""
        return Samples(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy on a set of samples; the accuracy is NaN where there are no classes."""

    loss: float
    accuracy: float


class Problem:
    """The data and the loss of a run.

    Attributes:
        run: the run.
        train: the training set.
        test: the test set.
        sizes: numbers of entries of the tensors that the flat parameters consist of, in order.

    Raises:
        ValueError: the run has a start and `start` (P,) is not given, or the other way round.
    """

    def __init__(self, run: Run, device: torch.device, start: np.ndarray | None = None) -> None:
        if (run.start is None) != (start is None):
            raise ValueError(f"run {run.id} starts from {run.start or 'its seed'}; `start_parameters` gives from what")
        self.run = run
        self.dtype = DTYPES[run.dtype]
        self.device = device
        data = _load(run.dataset)
        self.train = self._samples(data.train_inputs, data.train_targets)
        self.test = self._samples(data.test_inputs, data.test_targets)
        self._start = start
        self._module = self._build()
        named = dict(self._module.named_parameters())
        self._shapes = [tuple(value.shape) for value in named.values()]
        self._slots = [_emptied(self._module, name) for name in named]
        self.sizes = [prod(shape) for shape in self._shapes]

    def _samples(self, inputs: object, targets: object) -> Samples:
        return Samples(
            torch.as_tensor(inputs).to(self.device, self.dtype), torch.as_tensor(targets).to(self.device, self.dtype)
        )

    def _build(self) -> nn.Module:
        return self.run.model.build(self.run.dataset.input_shape, self.run.dataset.outputs)

    def initial(self) -> Tensor:
        """The parameters (P,) that the run starts from: those given, or of model and seed, not of the learning rate."""
        if self._start is not None:
            return torch.from_numpy(self._start).to(self.device, self.dtype)
        module = self._build().double()
        self.run.model.initialise(module, generator(self.run.seed, "initialisation"))
        flat = torch.cat([value.detach().reshape(-1) for value in module.parameters()])
        return flat.to(self.device, self.dtype)

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Outputs (n, C) of the network with parameters theta (P,)."""
        for (owner, name), piece, shape in zip(self._slots, theta.split(self.sizes), self._shapes, strict=True):
            owner.__dict__[name] = piece.view(shape)
        result: Tensor = self._module(inputs)
        return result

    def loss_on(self, samples: Samples) -> Callable[[Tensor], Tensor]:
        """The loss on `samples` as a function of theta (P,)."""
        return lambda theta: self.run.loss(self.outputs(theta, samples.inputs), samples.targets)

    def hessian(self, theta: Tensor) -> Operator:
        """Products with the Hessian of the full training loss at theta (P,)."""
        return hvp(self.loss_on(self.train), theta)

    def evaluation(self, outputs: Tensor, loss: Tensor, samples: Samples) -> Evaluation:
        """What outputs (n, C) with that loss amount to."""
        if not self.run.dataset.has_classes:
            return Evaluation(float(loss), float("nan"))
        hits = outputs.argmax(dim=1) == samples.targets.argmax(dim=1)
        return Evaluation(float(loss), int(hits.sum()) / len(hits))

    @torch.no_grad()
    def evaluate(self, theta: Tensor, samples: Samples) -> Evaluation:
        """Loss and accuracy of theta (P,) on `samples`."""
        outputs = self.outputs(theta, samples.inputs)
        return self.evaluation(outputs, self.run.loss(outputs, samples.targets), samples)


def _emptied(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The place of a parameter in its module, made free for plain tensors.

    `torch.func.functional_call` would do this and undo it in every call, which takes as long as a small network itself.

    Args:
        module: the network.
        path: the parameter's name in it.

    Returns:
        The submodule that the parameter belongs to, and its name there.
    """
    owner, _, name = path.rpartition(".")
    holder = module.get_submodule(owner)
    del holder._parameters[name]
    return holder, name


@lru_cache(maxsize=8)
def _load(dataset: Dataset) -> Data:
    return dataset.load()
