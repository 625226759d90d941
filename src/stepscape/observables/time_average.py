"""What a run is on average over its oscillation: measured, or as a central flow predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("time_average", source="arXiv:2410.24206")
class TimeAverage(Observable):
    """Loss, squared gradient norm and step size, on average over an oscillation.

    Of an optimizer that averages over it, such as `central_flow`, the values at theta and what the oscillation adds. Of
    all others the values at theta alone: theirs are what such predictions are compared with, smoothed over time.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (
            Variable("average_loss", "training loss, and what the oscillation adds", dtype="float64"),
            Variable(
                "average_squared_gradient", "squared gradient norm, and what the oscillation adds", dtype="float64"
            ),
            Variable("mean_step_size", "mean over parameters of lr / P", dtype="float64"),
            Variable(
                "mean_squared_preconditioner",
                "mean over parameters of P^2: of RMSProp's mean of squares",
                dtype="float64",
            ),
            Variable("oscillation_modes", "directions that oscillate"),
            Variable("oscillation_variance", "mean square of the oscillation, tr Sigma", dtype="float64"),
            Variable("oscillation_residual", "residual of the complementarity problem"),
            Variable("oscillation_products", "Hessian products of the last update"),
        )

    def gradients(self, run: Run) -> float:
        return 1.0

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        known = {name: float(held) for name, held in snapshot.run.optimizer.averages(snapshot.state).items()}
        diagonal = snapshot.preconditioner
        scale = snapshot.theta.new_ones(1).double() if diagonal is None else diagonal.double()
        lr = float(snapshot.moment.hyper["lr"][snapshot.lane]) if snapshot.run.optimizer.has_lr else float("nan")
        return {
            "average_loss": snapshot.train.loss + known.get("loss", 0.0),
            "average_squared_gradient": float(snapshot.gradient.double().square().sum())
            + known.get("squared_gradient", 0.0),
            "mean_step_size": float((lr / scale).mean()),
            "mean_squared_preconditioner": float(scale.square().mean()),
            "oscillation_modes": known.get("modes", 0.0),
            "oscillation_variance": known.get("variance", 0.0),
            "oscillation_residual": known.get("residual", 0.0),
            "oscillation_products": known.get("products", 0.0),
        }, memory
