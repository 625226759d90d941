"""What a run minimises: data, network and loss, as functions of one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature import Operator, hvp
from stepscape.datasets import Dataset
from stepscape.study.run import Run
from stepscape.training.network import network_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (..., n, *input_shape) and targets (..., n, outputs), on the device and in the dtype of the run."""

    inputs: Tensor
    targets: Tensor

    @cached_property
    def classes(self) -> Tensor:
        """The class (..., n) of each sample, where targets are one-hot."""
        return self.targets.argmax(dim=-1)

    def pick(self, indices: Tensor) -> Samples:
        """Those at `indices` (..., B), of samples without lanes."""
        return Samples(self.inputs[indices], self.targets[indices])


def stack_samples(lanes: Sequence[Samples]) -> Samples:
    """The samples of many lanes, (lanes, n, ...); samples that all lanes share are not copied."""
    first = lanes[0]
    if all(samples is first for samples in lanes):
        held = (first.inputs, first.targets)
        return Samples(*(tensor.expand(len(lanes), *tensor.shape) for tensor in held))
    return Samples(torch.stack([each.inputs for each in lanes]), torch.stack([each.targets for each in lanes]))


def pick_samples(lanes: Sequence[Samples], indices: Tensor) -> Samples:
    """Each lane's samples at its own indices (lanes, B), stacked: (lanes, B, ...)."""
    if all(samples is lanes[0] for samples in lanes):
        return lanes[0].pick(indices)
    return stack_samples([samples.pick(chosen) for samples, chosen in zip(lanes, indices, strict=True)])


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
        network: the network, which all runs of its kind share.

    Raises:
        ValueError: the run has a start and `start` (P,) is not given, or the other way round.
    """

    def __init__(self, run: Run, device: torch.device, start: np.ndarray | None = None) -> None:
        if (run.start is None) != (start is None):
            raise ValueError(f"run {run.id} starts from {run.start or 'its seed'}; `start_parameters` gives from what")
        self.run = run
        self._start = start
        self.dtype = DTYPES[run.dtype]
        self.device = device
        self.train, self.test = _load(run.dataset, self.dtype, device)
        self.network = network_of(run.model, run.dataset.input_shape, run.dataset.outputs)

    @property
    def sizes(self) -> list[int]:
        """Numbers of entries of the tensors that the flat parameters consist of, in order."""
        return self.network.sizes

    def initial(self) -> Tensor:
        """The parameters (P,) that the run starts from: those given, or of model and seed, not of the learning rate."""
        if self._start is not None:
            return torch.tensor(self._start, device=self.device, dtype=self.dtype)
        return self.network.initial(self.run.seed).to(self.device, self.dtype)

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Outputs (n, C) of the network with parameters theta (P,)."""
        return self.network.outputs(theta, inputs)

    def loss_on(self, samples: Samples) -> Callable[[Tensor], Tensor]:
        """The loss on `samples` as a function of theta (P,)."""
        return lambda theta: self.run.loss(self.outputs(theta, samples.inputs), samples.targets)

    def hessian(self, theta: Tensor, samples: Samples | None = None) -> Operator:
        """Products with the Hessian of the loss on `samples` at theta (P,); by default on the whole training set."""
        return hvp(self.loss_on(samples or self.train), theta)

    def evaluations(self, outputs: Tensor, losses: Tensor, samples: Samples) -> list[Evaluation]:
        """What outputs (lanes, n, C) with those losses (lanes,) on samples (lanes, n, ...) amount to."""
        if not self.run.dataset.has_classes:
            return [Evaluation(loss, float("nan")) for loss in losses.tolist()]
        hits = (outputs.argmax(dim=-1) == samples.classes).sum(dim=-1).tolist()
        count = outputs.shape[-2]
        return [Evaluation(loss, hit / count) for loss, hit in zip(losses.tolist(), hits, strict=True)]


@lru_cache(maxsize=8)
def _load(dataset: Dataset, dtype: torch.dtype, device: torch.device) -> tuple[Samples, Samples]:
    """The training and the test set, shared by all runs on them."""
    data = dataset.load()

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values).to(device, dtype)

    train = Samples(tensor(data.train_inputs), tensor(data.train_targets))
    return train, Samples(tensor(data.test_inputs), tensor(data.test_targets))
