"""One run as a plain script trains it: a process of its own, torch.optim, scipy's eigsh. It knows nothing of Stepscape.

Run as `python benchmarks/plain_run.py SPEC OUT`, a run's spec in JSON and the npz file to write. It records what the
spec observes, at the same steps; numbers agree in kind, not to the bit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}


def data(spec: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and one-hot targets, then those of the test set."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor((images - images.mean(axis=0)) / images.std(), dtype=torch.float32)
    targets = torch.eye(10)[torch.tensor(labels)]
    train, test = spec["dataset"]["train_size"], spec["dataset"]["test_size"]
    return inputs[:train], targets[:train], inputs[-test:], targets[-test:]


def network(spec: dict[str, Any]) -> nn.Module:
    """A tanh network."""
    widths = [64, *spec["model"].get("hidden", [32, 32]), 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def loss_of(spec: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of outputs against one-hot targets."""
    if spec["loss"]["name"] == "cross_entropy":
        return nn.functional.cross_entropy
    return lambda outputs, targets: 0.5 * (outputs - targets).square().sum(dim=1).mean()


def is_due(clock: dict[str, Any], step: int) -> bool:
    """Whether an observable is recorded at a step."""
    every, pairs = clock.get("every"), clock.get("pairs")
    return bool(every and step % every == 0) or bool(pairs and step % pairs <= 1) or step in clock.get("at", ())


class Observer:
    """What is recorded of a network along its training."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], sets: tuple[Tensor, ...]) -> None:
        self.model, self.loss, self.sets = model, loss, sets
        self.kept: dict[str, list[Any]] = {}

    def record(self, name: str, value: Any) -> None:
        """Keeps a number or an array."""
        self.kept.setdefault(name, []).append(value)

    def losses(self) -> None:
        """Loss and accuracy on both sets."""
        with torch.no_grad():
            for name, inputs, targets in (("train", *self.sets[:2]), ("test", *self.sets[2:])):
                outputs = self.model(inputs)
                self.record(f"{name}_loss", self.loss(outputs, targets).item())
                self.record(f"{name}_accuracy", (outputs.argmax(1) == targets.argmax(1)).float().mean().item())

    def product(self, vector: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
        """The Hessian of the training loss times a vector, between two diagonal scales."""
        parameters = list(self.model.parameters())
        along = torch.tensor(scale * vector.ravel(), dtype=torch.float32)
        value = self.loss(self.model(self.sets[0]), self.sets[1])
        grads = parameters_to_vector(torch.autograd.grad(value, parameters, create_graph=True))
        found: np.ndarray = parameters_to_vector(torch.autograd.grad(grads @ along, parameters)).numpy()
        return scale * found

    def top(self, k: int, tol: float, scale: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """The k largest eigenvalues and their eigenvectors (P, k)."""
        size = sum(parameter.numel() for parameter in self.model.parameters())
        operator = LinearOperator((size, size), lambda vector: self.product(vector, scale), dtype=np.float32)
        try:
            values, vectors = eigsh(operator, k, which="LA", tol=tol)
        except ArpackError:  # the run diverges, a product was not finite
            return np.full(k, np.nan), np.full((size, k), np.nan)
        return values[::-1], vectors[:, ::-1]

    def subspace(self, k: int, tol: float) -> None:
        """The overlap of the top subspace with the last one."""
        values, vectors = self.top(k, tol)
        self.record("subspace_eigenvalue", values)
        last = self.kept.get("subspace_vector", [vectors])[-1]
        self.record("subspace_overlap", np.square(vectors.T @ last).sum() / k)
        self.record("subspace_vector", vectors)

    def density(self, probes: int = 4, nodes: int = 40) -> None:
        """Nodes and weights of the spectral density by stochastic Lanczos quadrature."""
        size = sum(parameter.numel() for parameter in self.model.parameters())
        for _ in range(probes):
            rows = [np.sign(np.random.default_rng().standard_normal(size)) / size**0.5]
            matrix = np.zeros((nodes, nodes))
            for j in range(nodes):
                image = self.product(rows[j])
                for _ in range(2):
                    parts = np.array(rows) @ image
                    image = image - parts @ np.array(rows)
                    matrix[: j + 1, j] += parts
                if j + 1 < nodes:
                    rows.append(image / np.linalg.norm(image))
            values, vectors = np.linalg.eigh(np.triu(matrix) + np.triu(matrix, 1).T)
            self.record("density_node", values)
            self.record("density_weight", np.square(vectors[0]))


def train(spec: dict[str, Any], out: Path) -> None:
    """Trains a run and writes what it recorded."""
    torch.set_num_threads(1)
    torch.manual_seed(spec.get("seed", 0))
    sets = data(spec)
    model, loss = network(spec), loss_of(spec)
    rule = spec["optimizer"]
    given = {"betas": (rule.get("beta1", 0.9), rule.get("beta2", 0.999))} if rule["name"] == "adam" else {}
    optimizer = OPTIMIZERS[rule["name"]](model.parameters(), lr=spec["lr"], **given)
    observer = Observer(model, loss, sets)
    updates, batch = spec["budget"]["steps"], spec.get("batch_size", len(sets[0]))
    order = torch.randperm(len(sets[0]))
    for step in range(updates + 1):
        observe(spec, observer, optimizer, step)
        if step == updates or not torch.isfinite(parameters_to_vector(model.parameters())).all():
            break
        first = step * batch % (len(sets[0]) - batch + 1)
        chosen = slice(None) if batch == len(sets[0]) else order[first : first + batch]
        optimizer.zero_grad()
        loss(model(sets[0][chosen]), sets[1][chosen]).backward()
        optimizer.step()
    np.savez(out, **{name: np.array(values) for name, values in observer.kept.items()})


def observe(spec: dict[str, Any], observer: Observer, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Records what is due at a step."""
    due = {name: fields for name, fields in spec["observe"].items() if is_due(fields, step)}
    if "losses" in due:
        observer.losses()
    if not all(torch.isfinite(parameter).all() for parameter in observer.model.parameters()):
        return
    if "hessian_top" in due and "hessian_subspace" not in due:
        fields = due["hessian_top"]
        observer.record("eigenvalue", observer.top(fields.get("k", 1), fields.get("tol", 1e-2))[0])
    if "hessian_subspace" in due:
        observer.subspace(due["hessian_subspace"].get("k", 10), due["hessian_subspace"].get("tol", 1e-3))
    if "preconditioned_top" in due and optimizer.state:
        states = [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]
        squares = [state.get("exp_avg_sq", state.get("square_avg")).reshape(-1) for state in states]
        scale = (torch.cat(squares).sqrt() + 1e-8).rsqrt().numpy()
        observer.record("preconditioned", observer.top(1, 1e-2, scale)[0])
    if "hessian_density" in due:
        observer.density()


if __name__ == "__main__":
    train(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
