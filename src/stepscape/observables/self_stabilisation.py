"""What holds the sharpness at its threshold: how fast it rises, and how strongly an oscillation lowers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from stepscape.fields import PositiveReal, describe
from stepscape.observables import Observable, Variable
from stepscape.observables._tracking import LEAST_TOL
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.curvature import Eigenpairs, Operator
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("self_stabilisation", source="arXiv:2209.15594, section 4")
class SelfStabilisation(Observable):
    """alpha = -g . grad S and beta = |the part of grad S across u|^2, with S the sharpness and u its eigenvector.

    Gradient descent oscillates along u by x, and its sharpness is off the threshold by y, about a path on which S is at
    most 2 / lr: x <- -(1 + lr y) x, y <- y + lr (alpha - beta x^2 / 2), which settle at x^2 = 2 alpha / beta, y = 0. Of
    an optimizer that follows that path and has gradient descent beside it (`constrained_gd`), x, y and the rest of the
    second's are recorded as well; NaN for others. `free` is gradient descent.
    """

    tol: Annotated[PositiveReal, describe("largest relative residual of the eigenpairs")] = 1e-4

    def variables(self, run: Run) -> tuple[Variable, ...]:
        words = {
            "progressive_sharpening": "alpha, minus gradient times gradient of the sharpness",
            "stabilisation": "beta, squared gradient of the sharpness across the top eigenvector",
            "sharpness_slope": "gradient of the sharpness along the top eigenvector",
            "path_sharpness": "largest Hessian eigenvalue",
            "path_second": "second largest Hessian eigenvalue",
            "path_loss": "training loss",
            "free_oscillation": "x, of gradient descent from here along the top eigenvector",
            "free_rise": "y, of gradient descent from here along the gradient of the sharpness across it",
            "free_loss": "training loss of gradient descent",
            "free_sharpness": "largest Hessian eigenvalue of gradient descent",
            "free_distance": "distance from here to gradient descent",
        }
        return tuple(Variable(name, text, dtype="float64") for name, text in words.items())

    def gradients(self, run: Run) -> float:
        return 40.0

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if self.tol < LEAST_TOL[run.dtype]:
            return "tol", self.tol, f"at least {LEAST_TOL[run.dtype]:g}, what {run.dtype} can reach"
        return None

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        theta, free = snapshot.theta, snapshot.state.get("free")
        pairs = self._top(snapshot, "path", snapshot.hessian, min(2, len(theta)), memory.get("path"))
        vector = pairs.vectors[0]
        loss = snapshot.problem.expansion(theta, snapshot.problem.train)
        slope = loss.third_derivatives(vector[None])[0].double()
        unit, gradient = vector.double(), snapshot.gradient.double()
        across = slope - (slope @ unit) * unit
        values = {
            "progressive_sharpening": -float(gradient @ slope),
            "stabilisation": float(across @ across),
            "sharpness_slope": float(slope @ unit),
            "path_sharpness": float(pairs.values[0]),
            "path_second": float(pairs.values[-1]) if len(pairs.values) > 1 else float("nan"),
            "path_loss": snapshot.train.loss,
        }
        kept = {"path": pairs.vectors}
        if free is None:
            return values | dict.fromkeys(_FREE, float("nan")), kept
        there = snapshot.problem.expansion(free, snapshot.problem.train)
        top = self._top(snapshot, "free", there.hessian, 1, memory.get("free"))
        away = free.double() - theta.double()
        held = (unit @ away, across @ away, there.value, top.values[0], away.norm())
        return values | dict(zip(_FREE, map(float, held), strict=True)), {**kept, "free": top.vectors}

    def _top(self, snapshot: Snapshot, path: str, operator: Operator, k: int, previous: Tensor | None) -> Eigenpairs:
        from stepscape.curvature import track_eigenpairs

        return track_eigenpairs(
            operator,
            len(snapshot.theta),
            k,
            tol=self.tol,
            previous=previous,
            generator=snapshot.random(f"self_stabilisation {path}"),
            dtype=snapshot.theta.dtype,
            device=snapshot.theta.device,
            search=False,
        ).pairs


_FREE = ("free_oscillation", "free_rise", "free_loss", "free_sharpness", "free_distance")
