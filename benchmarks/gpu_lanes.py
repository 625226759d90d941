"""Lanes on a device: runs an hour one after another and side by side, whether their bits agree, and products.

Needs torch and numpy alone, so that it runs wherever a GPU is lent: `python gpu_lanes.py`. With `--device cpu` it is
small and slow and says how the code behaves, nothing about a GPU. benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

Parameters = dict[str, Tensor]
UPDATES_OF_A_RUN = 1000


class Attention(nn.Module):
    """Self-attention by plain matrix products, whose second derivatives are right."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, length, width) to the same shape."""
        count, length, width = tokens.shape
        query, key, value = self.mix(tokens).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        return self.out((weights @ value).transpose(1, 2).reshape(count, length, width))


class Normalised(nn.Module):
    """x + f(norm(x)), the normalisation of elementary operations."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        """Any shape to the same shape."""
        centred = tokens - tokens.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()
        return tokens + self.inner(centred * scale)


class Transformer(nn.Module):
    """A small pre-norm transformer on 16 patches of an image."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(192, width), nn.Linear(width, 10)
        blocks = ((Attention(width, heads), _feed_forward(width)) for _ in range(depth))
        self.blocks = nn.Sequential(*(Normalised(part) for block in blocks for part in block))

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, 32, 32) to (n, 10)."""
        patches = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(len(images), 16, 192)
        return self.leave(self.blocks(self.enter(patches)).mean(dim=1))


def _feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.Tanh(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2048, 10),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mlp 3072-200-200-10": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 10)
        ),
        1000,
    ),
    "mlp 3072-32-10, batch 32": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 32), nn.Tanh(), nn.Linear(32, 10)),
        32,
    ),
    "cnn 16-32": (_cnn, 256),
    "transformer 64 x 2": (Transformer, 256),
}


@dataclass
class Workload:
    """A network, and data on the device."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.inputs.device

    def loss(self, parameters: Parameters) -> Tensor:
        """The loss, 1/(2N) sum of squares, of one network."""
        outputs = functional_call(self.module, parameters, (self.inputs,))
        return 0.5 * (outputs - self.targets).square().sum(dim=1).mean()

    def start(self, lanes: int) -> Parameters:
        """Parameters (lanes, ...), those of a lane drawn from its number alone."""
        rows = []
        for lane in range(lanes):
            random = np.random.default_rng(lane)
            named = self.module.named_parameters()
            rows.append({k: random.standard_normal(v.shape) / max(v[0].numel(), 4) ** 0.5 for k, v in named})
        return {
            name: torch.tensor(np.stack([row[name] for row in rows]), dtype=torch.float32, device=self.device)
            for name in rows[0]
        }


def workload(net: str, samples: int, device: torch.device) -> Workload:
    """A network of `NETS` on generated images."""
    random = np.random.default_rng(0)
    inputs = torch.tensor(random.standard_normal((samples, 3, 32, 32)), dtype=torch.float32, device=device)
    targets = torch.eye(10, device=device)[torch.tensor(random.integers(10, size=samples), device=device)]
    return Workload(NETS[net][0]().to(device), inputs, targets)


def update(work: Workload, theta: Parameters, rates: Tensor) -> Parameters:
    """One step of gradient descent in all lanes: theta (lanes, ...), rates (lanes,)."""
    grads = torch.vmap(torch.func.grad(work.loss))(theta)
    return {name: value - rates.view(-1, *[1] * (value.ndim - 1)) * grads[name] for name, value in theta.items()}


def update_one(work: Workload, theta: Parameters, rate: float) -> Parameters:
    """One step of gradient descent of one network, without lanes."""
    point = {name: value.detach().requires_grad_() for name, value in theta.items()}
    grads = torch.autograd.grad(work.loss(point), list(point.values()))
    return {name: value - rate * grad for (name, value), grad in zip(theta.items(), grads, strict=True)}


def product(work: Workload, theta: Parameters) -> Callable[[Parameters], tuple[Tensor, ...]]:
    """Hessian products of the sum of all lanes' losses, which are those of each lane; the graph is kept."""
    point = {name: value.detach().requires_grad_() for name, value in theta.items()}
    total = torch.vmap(work.loss)(point).sum()
    grads = torch.autograd.grad(total, list(point.values()), create_graph=True)
    values = list(point.values())
    return lambda v: torch.autograd.grad(grads, values, [v[name] for name in point], retain_graph=True)


def seconds(action: Callable[[], object], device: torch.device, budget: float) -> float:
    """Seconds of an action, the mean over as many as fit the budget, after two to warm up."""
    for _ in range(2):
        action()
    _wait(device)
    count, started = 0, time.perf_counter()
    while count < 3 or time.perf_counter() - started < budget:
        action()
        count += 1
        _wait(device)
    return (time.perf_counter() - started) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device, budget: float) -> float:
    """Measured operations a second of a product of large float32 matrices."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, device, budget)


def operations(work: Workload) -> int:
    """Floating-point operations of one lane's update."""
    with FlopCounterMode(display=False) as counter:
        update_one(work, {name: value[0] for name, value in work.start(1).items()}, 0.1)
    found: int = counter.get_total_flops()
    return found


def same_bits(work: Workload, lanes: Sequence[int], updates: int = 5) -> dict[int, bool]:
    """Whether the first lane has the bits it has among the most lanes, for each number of lanes."""
    ends = {}
    for count in lanes:
        theta, rates = work.start(count), torch.linspace(0.01, 0.1, max(lanes), device=work.device)[:count]
        for _ in range(updates):
            theta = update(work, theta, rates)
        ends[count] = torch.cat([value[0].reshape(-1) for value in theta.values()])
    return {count: torch.equal(end, ends[max(lanes)]) for count, end in ends.items()}


def measure(net: str, samples: int, lanes: Sequence[int], device: torch.device, budget: float) -> Iterator[str]:
    """The rows of one network."""
    work = workload(net, samples, device)
    count, fastest = operations(work), peak(device, budget)
    one = {name: value[0] for name, value in work.start(1).items()}
    alone = seconds(lambda: update_one(work, one, 0.01), device, budget)
    yield f"{net}, {samples} samples, {count:.1e} operations an update"
    yield _row("one after another", alone, count, fastest, "-", _product_seconds(work, 1, device, budget))
    bits = same_bits(work, lanes)
    for number in lanes:
        theta, rates = work.start(number), torch.full((number,), 0.01, device=device)
        each = seconds(lambda t=theta, r=rates: update(work, t, r), device, budget) / number  # type: ignore[misc]
        hvp = _product_seconds(work, number, device, budget)
        yield _row(f"{number} lanes", each, count, fastest, "yes" if bits[number] else "no", hvp)


def _product_seconds(work: Workload, lanes: int, device: torch.device, budget: float) -> float:
    theta = work.start(lanes)
    multiply = product(work, theta)
    return seconds(lambda: multiply(theta), device, budget) / lanes


def _row(name: str, each: float, count: int, fastest: float, bits: str, hvp: float) -> str:
    runs = 3600 / (each * UPDATES_OF_A_RUN)
    return f"  {name:<20}{each * 1e3:>10.3f}{runs:>12.0f}{count / each / fastest:>9.1%}{bits:>6}{hvp * 1e3:>10.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--samples", type=int, help="default: that of each network")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of a measurement")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(
        f"torch {torch.__version__}, {name}; peak measured {peak(device, options.budget) / 1e12:.2f} Tflop/s, float32"
    )
    print(f"{'':<22}{'ms/update':>10}{'runs/hour':>12}{'of peak':>9}{'bits':>6}{'ms/Hv':>10}   each of a lane")
    for net in options.nets:
        for line in measure(net, options.samples or NETS[net][1], options.lanes, device, options.budget):
            print(line, flush=True)
        if device.type == "cuda":
            print(f"  most memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
