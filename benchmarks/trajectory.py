"""The top eigenpairs along trajectories at the edge of stability, followed in several ways: products, seconds, misses.

Run from the repository's root as `python -m benchmarks.trajectory`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.eigenpairs import REFERENCE_TOL, Reference, bar, residuals, solve_reference
from benchmarks.followers import FOLLOWERS, Measurement
from benchmarks.problem import Problem, make_digits, make_problem
from stepscape.curvature import Tracked, hvp, track_eigenpairs

LEAST_RATIOS = {
    "eigsh, rebuilt products": 3.0,
    "power iteration, deflated": 12.0,
    "warm LOBPCG, basis anew": 3.0,
}
"""The bars for CPU seconds, relative to Stepscape's."""
MOST_PRODUCTS, MOST_GRADIENTS, AT_THE_EDGE = 20, 1.8, 0.95
DENSE = 2000  # parameters up to which the reference is the dense matrix
DRIFTS = (0.0, 1e-3, 1e-2)


@dataclass(frozen=True)
class Net:
    """A network on the digits, and gradient descent to the edge of stability.

    Attributes:
        samples: images.
        hidden: widths of the hidden layers.
        centred: whether each pixel's mean is subtracted.
        lr: learning rate.
        before: steps until the sharpness has reached 2 / lr.
    """

    samples: int
    hidden: tuple[int, ...]
    centred: bool
    lr: float
    before: int


NETS = {
    "small": Net(500, (16, 16), centred=True, lr=0.5, before=200),
    "digits": Net(1000, (100, 100), centred=False, lr=0.1, before=300),
}


@dataclass(frozen=True)
class Row:
    """One way, over all measurements of a trajectory.

    Attributes:
        products: a measurement, in the mean; without audits.
        audit_products: an audit, in the mean; NaN without.
        seconds: CPU seconds of a measurement, in the mean.
        residual: largest |Hv - lambda v| / |lambda|, computed in float64.
        missed: eigenvalues that are not as close to the reference's as their residual promises.
    """

    products: float
    audit_products: float
    seconds: float
    residual: float
    missed: int


def trajectory(problem: Problem, lr: float, steps: int, every: int) -> Iterator[Problem]:
    """The problem now and after each `every` of `steps` steps of gradient descent."""
    yield problem.copy()
    for _ in range(steps // every):
        problem.descend(every, lr)
        yield problem.copy()


def reference(problem: Problem, k: int) -> Reference:
    """The k largest eigenvalues in float64: of the dense matrix up to `DENSE` parameters, else by ARPACK."""
    if len(problem.theta) > DENSE:
        return solve_reference(problem, k)
    exact = problem.double()
    operator = hvp(exact.loss, exact.theta)
    return Reference(operator, torch.linalg.eigvalsh(_dense(problem)).flip(0)[:k])


def follow(name: str, problems: Sequence[Problem], k: int, tol: float) -> tuple[list[Measurement], float]:
    """The measurements of a trajectory, and the CPU seconds of all."""
    measured: list[Measurement] = []
    memory = None
    started = time.process_time()
    for step, problem in enumerate(problems):
        measured.append(FOLLOWERS[name](problem, step, k, tol, memory))
        memory = measured[-1].memory
    return measured, time.process_time() - started


def judge(measured: Sequence[Measurement], seconds: float, references: Sequence[Reference]) -> Row:
    """What a way found, against the references."""
    missed, worst = 0, 0.0
    for measurement, exact in zip(measured, references, strict=True):
        values = measurement.found.values.double()
        sizes = residuals(exact.operator, measurement.found)
        bounds = sizes * values.abs() + REFERENCE_TOL * exact.values.abs()
        missed += int(((values - exact.values).abs() > bounds).sum())
        worst = max(worst, sizes.max().item())
    audits = [measurement.audit_products for measurement in measured if measurement.audit_products]
    products = float(np.mean([measurement.found.products for measurement in measured]))
    return Row(products, float(np.mean(audits)) if audits else np.nan, seconds / len(measured), worst, missed)


def compare(
    problem: Problem, lr: float, k: int, tol: float, steps: int, every: int
) -> Generator[str, None, dict[str, Row]]:
    """The table of one network, line by line, and what became of its bars; the rows at the end."""
    problems = list(trajectory(problem, lr, steps, every))
    references = [reference(each, k) for each in problems]
    edge = float(np.mean([exact.values[0].item() for exact in references])) * lr / 2
    yield f"{len(problem.theta)} parameters, {len(problem.inputs)} images, lr {lr:g}, {len(problems)} measurements"
    yield f"sharpness over 2 / lr, mean: {edge:.3f}, {bar(edge >= AT_THE_EDGE, f'at least {AT_THE_EDGE:g}')}"
    yield ""
    yield f"{'':<34}{'products':>9}{'audit':>7}{'CPU ms':>9}{'ratio':>7}{'residual':>10}  missed"
    FOLLOWERS["stepscape"](problems[0], 0, k, tol, None)  # the first solve of a process pays for its start
    rows: dict[str, Row] = {}
    for name in FOLLOWERS:
        row = rows[name] = judge(*follow(name, problems, k, tol), references)
        ratio = row.seconds / rows[next(iter(FOLLOWERS))].seconds
        audit = "-" if np.isnan(row.audit_products) else f"{row.audit_products:.1f}"
        yield (
            f"{name:<34}{row.products:>9.1f}{audit:>7}{1e3 * row.seconds:>9.1f}{ratio:>7.2f}{row.residual:>10.1e}"
            f"{row.missed:>8}"
        )
    yield ""
    yield from _bars(rows, tol)
    return rows


def _bars(rows: dict[str, Row], tol: float) -> Iterator[str]:
    own, audited = rows["stepscape"], rows["stepscape, audited"]
    for name, least in LEAST_RATIOS.items():
        ratio = rows[name].seconds / own.seconds
        yield f"{name}: {ratio:.1f} times the CPU seconds, {bar(ratio >= least, f'at least {least:g}')}"
    for name, row in (("stepscape", own), ("stepscape, audited", audited)):
        yield f"{name}: largest residual {row.residual:.1e}, {bar(row.residual <= tol, f'at most {tol:g}')}"
        yield f"{name}: {row.missed} eigenvalues missed, {bar(row.missed == 0, 'none')}"


def _products(nets: dict[str, dict[str, Row]]) -> Iterator[str]:
    """The bar for products, of the mean over all networks' measurements, of which each has as many."""
    for way in ("stepscape", "stepscape, audited"):
        products = {name: rows[way].products for name, rows in nets.items()}
        mean = float(np.mean(list(products.values())))
        own = ", ".join(f"{name} {found:.1f}" for name, found in products.items())
        yield f"{way}: {mean:.1f} products ({own}), {bar(mean <= MOST_PRODUCTS, f'at most {MOST_PRODUCTS}')}"


def blind_starts(problem: Problem, k: int, tol: float, repeats: int) -> Iterator[str]:
    """How often the first eigenvector is found from the exact eigenvectors 2 to k + 1 and a drift without the first."""
    values, vectors = torch.linalg.eigh(_dense(problem))
    exact, rows = values.flip(0)[:k], vectors.flip(1).T[: k + 1]
    for drift in DRIFTS:
        warm = [_from_blind_start(problem, rows, drift, repeat, tol, audit=False) for repeat in range(repeats)]
        kept = [_from_blind_start(problem, rows, drift, repeat, tol, audit=True) for repeat in range(repeats)]
        found, corrected = (sum(_right(each, exact, tol) for each in tracked) for tracked in (warm, kept))
        products = np.mean([each.pairs.products for each in warm]), np.mean([each.audit_products for each in kept])
        yield (
            f"start without the first eigenvector, drift {drift:g}: found {found} of {repeats} times, "
            f"{bar(found == repeats, 'every time')}; {products[0]:.1f} products"
        )
        yield f"    with an audit {corrected} of {repeats} times; {products[1]:.1f} products more"


def _from_blind_start(problem: Problem, rows: Tensor, drift: float, repeat: int, tol: float, *, audit: bool) -> Tracked:
    first, blind = rows[0], rows[1:]
    noise = torch.from_numpy(np.random.default_rng(repeat).standard_normal(blind.shape)) / len(first) ** 0.5
    start = blind + drift * (noise - torch.outer(noise @ first, first))
    theta = problem.theta
    return track_eigenpairs(
        hvp(problem.loss, theta),
        len(theta),
        len(blind),
        tol=tol,
        previous=(start / torch.linalg.vector_norm(start, dim=1, keepdim=True)).to(theta),
        generator=np.random.default_rng((repeat, 0)),
        audit_generator=np.random.default_rng((repeat, 1)) if audit else None,
        dtype=theta.dtype,
        search=False,
    )


def _right(tracked: Tracked, exact: Tensor, tol: float) -> bool:
    return bool(((tracked.pairs.values - exact).abs() <= tol * exact).all())


def cost_of_a_product(name: str, problem: Problem) -> str:
    """CPU seconds of a product with the Hessian, its graph kept, in gradients; of several blocks of each the least."""
    theta = problem.theta
    point, operator = theta.clone().requires_grad_(), hvp(problem.loss, theta)
    product = _least_seconds(lambda: operator(theta))
    gradient = _least_seconds(lambda: torch.autograd.grad(problem.loss(point), point))
    cost = product / gradient
    return f"{name}: a product costs {cost:.2f} gradients, {bar(cost <= MOST_GRADIENTS, f'at most {MOST_GRADIENTS:g}')}"


def _least_seconds(call: Callable[[], object], blocks: int = 5, calls: int = 20) -> float:
    seconds = []
    for _ in range(blocks):
        started = time.process_time()
        for _ in range(calls):
            call()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _dense(problem: Problem) -> Tensor:
    exact = problem.double()
    matrix = hvp(exact.loss, exact.theta)(torch.eye(len(exact.theta), dtype=torch.float64))
    return (matrix + matrix.T) / 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trajectory", description=__doc__)
    parser.add_argument("--nets", choices=NETS, nargs="+", default=list(NETS), help="which networks")
    parser.add_argument("--samples", type=int, help="training images; default: the network's")
    parser.add_argument("--hidden", type=int, nargs="+", help="widths of the hidden layers; default: the network's")
    parser.add_argument("--steps", type=int, default=500, help="of gradient descent that are followed")
    parser.add_argument("--every", type=int, default=10, help="steps between measurements")
    parser.add_argument("-k", type=int, default=5, help="eigenpairs")
    parser.add_argument("--tol", type=float, default=1e-3, help="relative residual")
    parser.add_argument("--repeats", type=int, default=20, help="blind starts")
    options = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            for line in _report(options):
                print(line, flush=True)
    finally:
        torch.set_num_threads(before)


def _report(options: argparse.Namespace) -> Iterator[str]:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, scipy {scipy.__version__}"
    yield f"{versions}, one thread, float32"
    yield f"top {options.k}, tol {options.tol:g}, every {options.every} of {options.steps} steps"
    given = {key: value for key in ("samples", "hidden") if (value := getattr(options, key)) is not None}
    nets = {}
    for name in options.nets:
        net = replace(NETS[name], **given)
        problem = make_digits(net.samples, net.hidden, centred=net.centred)
        problem.descend(net.before, net.lr)
        yield ""
        yield cost_of_a_product(name, problem)
        if len(problem.theta) <= DENSE:
            yield from blind_starts(problem, options.k, options.tol, options.repeats)
        nets[name] = yield from compare(problem, net.lr, options.k, options.tol, options.steps, options.every)
    yield ""
    yield from _products(nets)
    yield cost_of_a_product("3072-200-200-10", make_problem(None, 1000, [200, 200]))


if __name__ == "__main__":
    main()
