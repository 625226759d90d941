"""The stable flow: what an optimizer would do if it took infinitely many, infinitely small steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, describe
from stepscape.optimizers._flows import Flow, Rule
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.optimizers import State
    from stepscape.optimizers._flows import LaneLoss

_TOL = 0.05  # of the sharpness that chooses the number of Runge-Kutta steps
_EVERY = 10  # updates between its measurements


@member("stable_flow", source="arXiv:2410.24206, appendix A; arXiv:2103.00065, appendix G")
class StableFlow(Flow):
    """d theta / dt = -P^-1 g, d nu / dt = (1 - beta2) / beta2 (squares(g) - nu), by the classical Runge-Kutta method.

    One update is one unit of time. With `of: gd` P = 1 / lr: gradient flow, for a time of lr an update, so that after s
    updates at a constant rate the usual time is lr s. It has no threshold: it never oscillates.
    """

    substeps: Annotated[
        Count | None,
        describe("Runge-Kutta steps an update; none: so many that each is at most 1 / lambda_1(P^-1 H) long"),
    ] = None

    @property
    def gradients(self) -> float:
        return 4.0 * (self.substeps or 3)

    def init(self, theta: Tensor) -> State:
        return {**super().init(theta), "vector": theta.new_zeros(theta.shape), "steps": theta.new_ones(len(theta), 1)}

    def advance(
        self,
        at: LaneLoss,
        theta: Tensor,
        state: State,
        rule: Rule,
        hyper: Mapping[str, float],
        generators: Sequence[np.random.Generator],
    ) -> tuple[Tensor, State]:
        kept = dict(state)
        if self.substeps is None and (int(state["updates"]) - 1) % _EVERY == 0:
            kept |= _measured(at, theta, state, rule, generators[0])
        steps = self.substeps or int(kept["steps"])
        nu = state["nu"]
        for _ in range(steps):
            theta, nu = _runge_kutta(at, theta, nu, rule, 1 / steps)
        return theta, {**kept, "nu": nu}


def _measured(
    at: LaneLoss, theta: Tensor, state: State, rule: Rule, generator: np.random.Generator
) -> dict[str, Tensor]:
    """The number of steps that the sharpness at theta asks for, and its eigenvector, where the next search starts."""
    from stepscape.curvature import preconditioned, track_eigenpairs

    operator = preconditioned(at(theta).hessian, rule.denominator(state["nu"], theta) / rule.lr)
    previous = state["vector"][None] if bool(state["vector"].any()) else None
    found = track_eigenpairs(
        operator,
        len(theta),
        1,
        tol=_TOL,
        previous=previous,
        generator=generator,
        dtype=theta.dtype,
        device=theta.device,
        search=False,
    ).pairs
    sharpness = float(found.values[0])
    if not isfinite(sharpness):
        return {}
    return {"vector": found.vectors[0], "steps": theta.new_tensor([max(1, ceil(sharpness))])}


def _runge_kutta(at: LaneLoss, theta: Tensor, nu: Tensor, rule: Rule, time: float) -> tuple[Tensor, Tensor]:
    """One step of the classical method of fourth order."""

    def velocity(share: float, slope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        here, mean = theta + share * time * slope[0], nu + share * time * slope[1]
        return rule.velocity(mean, at(here).gradient)

    first = rule.velocity(nu, at(theta).gradient)
    second = velocity(0.5, first)
    third = velocity(0.5, second)
    fourth = velocity(1.0, third)
    theta, nu = (
        start + time / 6 * (a + 2 * (b + c) + d)
        for start, a, b, c, d in zip((theta, nu), first, second, third, fourth, strict=True)
    )
    return theta, nu.clamp(min=0)
