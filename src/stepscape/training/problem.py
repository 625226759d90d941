"""What a run minimises: data, network and loss, as functions of one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature import Expansion, Operator, dense_hessian, diagonal_entries, gauss_newton, hvp, summed
from stepscape.datasets import Dataset
from stepscape.study.run import Run
from stepscape.training.network import Network, network_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}
GRAPH_BYTES = {"cpu": 2**31, "cuda": 2**33}
"""What the kept graph of a gradient may take; data that would need more are gone through in chunks."""

_ROWS = 16  # of the Hessian at once, where the graph times as many would fit; more are no faster


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

    def shares(self, samples: Samples) -> list[tuple[Samples, float]]:
        """Samples in chunks whose graphs fit memory: a rule of network, dtype and device alone, since it decides bits.

        Args:
            samples: (n, ...), without lanes.

        Returns:
            Each chunk, and its share of the samples.
        """
        count, size = len(samples.inputs), chunk_size(self.run, self.network, self.device)
        if count <= size:
            return [(samples, 1.0)]
        parts = zip(samples.inputs.split(size), samples.targets.split(size), strict=True)
        return [(Samples(*part), len(part[0]) / count) for part in parts]

    def loss_on(self, samples: Samples) -> Callable[[Tensor], Tensor]:
        """The loss on `samples` as a function of theta (P,)."""
        return lambda theta: self.run.loss(self.outputs(theta, samples.inputs), samples.targets)

    def hessian(self, theta: Tensor, samples: Samples | None = None) -> Operator:
        """Products with the Hessian of the loss on `samples` at theta (P,); by default on the whole training set."""
        return self._in_shares(lambda part, share: hvp(self._shared_loss(part, share), theta), samples or self.train)

    def dense_hessian(self, theta: Tensor) -> Tensor:
        """The Hessian (P, P) of the full training loss at theta (P,), for networks of few parameters."""
        return dense_hessian([self._shared_loss(*part) for part in self.shares(self.train)], theta)

    def hessian_entries(self, theta: Tensor, places: np.ndarray) -> np.ndarray:
        """Entries (n,), float64, of the diagonal of the Hessian of the full training loss at theta (P,)."""
        shares = self.shares(self.train)
        fitting = chunk_size(self.run, self.network, self.device) // len(shares[0][0].inputs)
        rows = max(1, min(_ROWS, fitting))
        return diagonal_entries([self._shared_loss(*part) for part in shares], theta, places, rows=rows)

    def expansion(self, theta: Tensor, samples: Samples) -> Expansion:
        """The loss on `samples` around theta (P,), to the third order."""
        return Expansion([self._shared_loss(*part) for part in self.shares(samples)], theta)

    def gauss_newton(self, theta: Tensor) -> Operator:
        """Products with the Gauss-Newton matrix of the full training loss at theta (P,)."""

        def make(part: Samples, share: float) -> Operator:
            def outputs(point: Tensor) -> Tensor:
                return self.outputs(point, part.inputs)

            return gauss_newton(outputs, lambda found: share * self.run.loss(found, part.targets), theta)

        return self._in_shares(make, self.train)

    def _in_shares(self, make: Callable[[Samples, float], Operator], samples: Samples) -> Operator:
        """The sum over chunks of samples; its only operator where there is one."""
        shares = self.shares(samples)
        return make(*shares[0]) if len(shares) == 1 else summed([partial(make, *share) for share in shares])

    def _shared_loss(self, part: Samples, share: float) -> Callable[[Tensor], Tensor]:
        loss = self.loss_on(part)
        return loss if share == 1 else lambda theta: share * loss(theta)

    def evaluations(self, outputs: Tensor, losses: Tensor, samples: Samples) -> list[Evaluation]:
        """What outputs (lanes, n, C) with those losses (lanes,) on samples (lanes, n, ...) amount to."""
        if not self.run.dataset.has_classes:
            return [Evaluation(loss, float("nan")) for loss in losses.tolist()]
        hits = (outputs.argmax(dim=-1) == samples.classes).sum(dim=-1).tolist()
        count = outputs.shape[-2]
        return [Evaluation(loss, hit / count) for loss, hit in zip(losses.tolist(), hits, strict=True)]


def chunk_size(run: Run, network: Network, device: torch.device) -> int:
    """Samples whose kept graph fits the memory that a job may take for it; all where samples cannot be parted."""
    if run.model.couples_samples:
        return run.train_size
    fitting = max(1, GRAPH_BYTES[device.type] // network.bytes_a_sample(DTYPES[run.dtype]))
    return 1 << (fitting.bit_length() - 1)


@lru_cache(maxsize=8)
def _load(dataset: Dataset, dtype: torch.dtype, device: torch.device) -> tuple[Samples, Samples]:
    """The training and the test set, shared by all runs on them."""
    data = dataset.load()

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values).to(device, dtype)

    train = Samples(tensor(data.train_inputs), tensor(data.train_targets))
    return train, Samples(tensor(data.test_inputs), tensor(data.test_targets))
