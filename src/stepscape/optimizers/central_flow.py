"""The central flow: the path that an optimizer at the edge of stability follows on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

from stepscape.errors import StepscapeError
from stepscape.fields import Count, Index, PositiveReal, describe
from stepscape.optimizers._flows import Flow, Rule
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Expansion
    from stepscape.curvature.leading import Leading
    from stepscape.optimizers import State
    from stepscape.optimizers._flows import LaneLoss

CRITICAL, TRACKED = 1.95, 1.9  # values of P^-1 H that may oscillate, and that are followed; the edge is 2
_SOLVED = 1e-4  # residual of the complementarity problem above which a step means nothing


@member("central_flow", source="arXiv:2410.24206")
class CentralFlow(Flow):
    """d theta / dt = -P^-1 (g + 1/2 grad <H, Sigma>), d nu / dt = (1 - beta2) / beta2 (squares(g) + of H Sigma H - nu).

    Sigma, the covariance of the oscillation, is positive semidefinite and lives where H = 2 P; it is so large that
    curvature stays at the edge: 0 <= Sigma, 0 <= 2 P - H, <Sigma, 2 P - H> = 0. The time-averaged loss is then
    L + <H, Sigma> / 2. One update is one unit of time. Start it below the edge: above, one large Sigma brings it down.
    """

    substeps: Annotated[Count, describe("steps of Euler's method an update")] = 2
    max_modes: Annotated[Count, describe("directions that may oscillate at once; a step costs their square")] = 10
    tol: Annotated[PositiveReal, describe("largest relative residual of the eigenpairs that are followed")] = 1e-3
    audit_every: Annotated[
        Index, describe("updates between searches for eigenvalues that were missed; 0: none", "steps")
    ] = 50

    @property
    def gradients(self) -> float:
        return {"gd": 30.0, "scalar_rmsprop": 40.0, "rmsprop": 80.0}[self.of] * self.substeps

    def threshold(self, lr: float) -> float:
        return 2 / lr

    def init(self, theta: Tensor) -> State:
        from stepscape.optimizers._averaging import Covariance

        count = min(self.max_modes + 1, theta.shape[1])
        numbers = theta.double().new_zeros(len(theta), 1)
        known = {entry.name: numbers for entry in fields(Covariance)}
        vectors = theta.new_zeros(len(theta), count, theta.shape[1])
        return {**super().init(theta), "vectors": vectors, "products": numbers, **known}

    def averages(self, state: State) -> Mapping[str, Tensor]:
        from stepscape.optimizers._averaging import Covariance

        return {name: state[name] for name in (*(entry.name for entry in fields(Covariance)), "products")}

    def advance(
        self,
        at: LaneLoss,
        theta: Tensor,
        state: State,
        rule: Rule,
        hyper: Mapping[str, float],
        generators: Sequence[np.random.Generator],
    ) -> tuple[Tensor, State]:
        from dataclasses import asdict

        from stepscape.optimizers._averaging import Covariance, step

        nu, vectors, products, covariance = state["nu"], state["vectors"], 0, Covariance()
        for substep in range(self.substeps):
            loss = at(theta)
            is_audit = substep == 0 and bool(self.audit_every) and int(state["updates"] - 1) % self.audit_every == 0
            found = self._leading(loss, nu, rule, vectors, hyper["tol"], generators[is_audit], is_audit)
            k = found.above(CRITICAL)
            theta, nu, covariance = step(loss, nu, rule, found.values[:k], found.vectors[:k], 1 / self.substeps)
            if covariance.residual > _SOLVED:
                raise StepscapeError(_unsolved(k, covariance.residual))
            vectors = vectors.new_zeros(vectors.shape)
            vectors[: len(found.vectors)] = found.vectors
            products += found.products
        known = {name: state[name].new_tensor([value]) for name, value in asdict(covariance).items()}
        spent = state["products"].new_tensor([products])
        return theta, {**state, "nu": nu, "vectors": vectors, "products": spent, **known}

    def _leading(
        self,
        loss: Expansion,
        nu: Tensor,
        rule: Rule,
        held: Tensor,
        tol: float,
        generator: np.random.Generator,
        is_audit: bool,
    ) -> Leading:
        from stepscape.curvature import preconditioned
        from stepscape.curvature.leading import follow_leading

        operator = preconditioned(loss.hessian, rule.denominator(nu, loss.theta) / rule.lr)
        known = max(1, int(held.any(dim=1).sum()))
        found = follow_leading(operator, held[:known], TRACKED, len(held), tol=tol, generator=generator, cold=is_audit)
        if found.above(CRITICAL) > self.max_modes:
            raise StepscapeError(
                f"central_flow: more than {self.max_modes} eigenvalues of P^-1 H are above {CRITICAL}; allowed: "
                f"max_modes = {self.max_modes}. Raise it (a step costs its square), or lower the learning rate."
            )
        return found


def _unsolved(k: int, residual: float) -> str:
    return (
        f"central_flow: no covariance of {k} directions holds the curvature at the edge (residual {residual:.1e}); "
        "allowed: losses whose third derivatives do not vanish, from a start below the edge. Start earlier, lower the "
        "learning rate or raise `substeps`."
    )
