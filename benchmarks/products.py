"""What a product with the Hessian of the full-batch loss costs, in gradients of it, for each architecture.

Run from the repository's root as `python -m benchmarks.products`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.eigenpairs import bar
from stepscape.curvature import hvp
from stepscape.losses import Loss
from stepscape.models import Model
from stepscape.registry import make
from stepscape.training.network import network_of
from stepscape.training.platform import prepare

OUTPUTS = 10
IMAGES, CHARACTERS = (3, 32, 32), (32, 65)


@dataclass(frozen=True)
class Architecture:
    """What is measured: a model on inputs of some shape, and the most gradients that a product may cost, if any."""

    model: dict[str, Any]
    input_shape: tuple[int, ...]
    most: float | None = None


ARCHITECTURES = (
    Architecture({"name": "mlp", "hidden": [200, 200]}, IMAGES),
    Architecture({"name": "cnn"}, IMAGES, most=2.0),
    Architecture({"name": "cnn", "channels": [32, 32]}, IMAGES, most=2.0),
    Architecture({"name": "cnn", "norm": "batch"}, IMAGES),
    Architecture({"name": "cnn", "norm": "layer"}, IMAGES),
    Architecture({"name": "residual", "norm": "none"}, IMAGES),
    Architecture({"name": "residual"}, IMAGES),
    Architecture({"name": "transformer"}, IMAGES, most=3.0),
    Architecture({"name": "transformer"}, CHARACTERS, most=3.0),
)


@dataclass(frozen=True)
class Row:
    """CPU seconds of a gradient, and of a product from the kept graph, the fastest of some."""

    parameters: int
    gradient: float
    product: float


def measure(architecture: Architecture, samples: int, repeats: int) -> Row:
    """Times both at the initial parameters, on standard normal inputs, alternating."""
    model = cast(Model, make("model", architecture.model, "model"))
    network = network_of(model, architecture.input_shape, OUTPUTS)
    loss = cast(Loss, make("loss", "cross_entropy", "loss"))
    torch.manual_seed(0)
    inputs = torch.randn(samples, *architecture.input_shape)
    targets = torch.eye(OUTPUTS)[torch.arange(samples) % OUTPUTS]
    theta = network.initial(0).float()
    operator = hvp(lambda point: loss(network.outputs(point, inputs), targets), theta)
    vector, point = torch.randn_like(theta), theta.clone().requires_grad_()

    def gradient() -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(network.outputs(point, inputs), targets), point)

    gradients, products = zip(
        *((_seconds(gradient), _seconds(lambda: operator(vector))) for _ in range(repeats)), strict=True
    )
    return Row(len(theta), min(gradients), min(products))


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def compare(samples: int, repeats: int) -> Iterator[str]:
    """The table, line by line, each with its bar."""
    yield f"{'model':<40}{'inputs':<14}{'parameters':>11}{'gradient':>11}{'product':>11}{'ratio':>7}"
    for architecture in ARCHITECTURES:
        row = measure(architecture, samples, repeats)
        fields = ", ".join(f"{key}: {value}" for key, value in architecture.model.items() if key != "name")
        ratio, most = row.product / row.gradient, architecture.most
        yield (
            f"{architecture.model['name'] + (f' ({fields})' if fields else ''):<40}"
            f"{'x'.join(map(str, architecture.input_shape)):<14}{row.parameters:>11}"
            f"{row.gradient * 1e3:>9.1f}ms{row.product * 1e3:>9.1f}ms{ratio:>7.2f}"
            + (f"  {bar(ratio <= most, f'at most {most:g}')}" if most else "")
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.products", description=__doc__)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=10, help="of which the fastest counts")
    options = parser.parse_args(arguments)
    prepare("cpu")
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread, float32")
    print(
        f"{options.samples} samples, cross entropy; CPU time of a gradient and of a Hessian product from a kept graph"
    )
    for line in compare(options.samples, options.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
