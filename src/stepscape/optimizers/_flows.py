"""What the flows share: which optimizer they follow, its preconditioner, and lanes integrated one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.fields import Fraction, NonNegativeReal, PositiveReal, describe
from stepscape.optimizers import Optimizer

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Expansion
    from stepscape.optimizers import Hyper, LaneRandom, Objective, State

_NEVER_SEEN = 1e-24  # a mean square below this: its coordinate has no gradient, and 1 / sqrt of it no meaning


@dataclass(frozen=True, eq=False)
class Rule:
    """The optimizer that a flow follows in one update of one lane: P = (sqrt(nu) + eps) / lr, or 1 / lr.

    Attributes:
        of: its name.
        lr: learning rate of the update.
        beta2: decay of nu, per update.
        eps: added to the root of nu.
    """

    of: str
    lr: float
    beta2: float
    eps: float

    @property
    def rate(self) -> float:
        """The factor of nu's derivative, (1 - beta2) / beta2; 0 where there is no nu."""
        return 0.0 if self.of == "gd" else (1 - self.beta2) / self.beta2

    def squares(self, gradient: Tensor) -> Tensor:
        """What nu is a mean of: (P,), (1,) or (0,), from the gradient (P,)."""
        return self.products(gradient, gradient)

    def products(self, one: Tensor, other: Tensor) -> Tensor:
        """What a product of two vectors (..., P) adds to nu: (..., n)."""
        if self.of == "gd":
            return one[..., :0]
        product = one * other
        return product if self.of == "rmsprop" else product.sum(-1, keepdim=True)

    def denominator(self, nu: Tensor, theta: Tensor) -> Tensor:
        """The diagonal (P,) of lr P."""
        return theta.new_ones(theta.shape) if self.of == "gd" else (nu.clamp(min=0).sqrt() + self.eps).expand_as(theta)

    def slopes(self, nu: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """The gradient (..., n) in nu of u^T P(nu) v, with u and v (..., P) held fixed."""
        slope = 0.5 / (self.lr * nu.clamp(min=_NEVER_SEEN).sqrt()) * (nu > _NEVER_SEEN)
        return self.products(one, other) * slope

    def velocity(self, nu: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The stable flow's derivatives of theta (P,) and nu (n,), in time of updates."""
        theta = -self.lr * gradient / self.denominator(nu, gradient)
        return theta, self.rate * (self.squares(gradient) - nu)


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Flow(Optimizer):
    """A flow in continuous time that follows an optimizer; an update integrates it over one unit of time.

    The discrete rule updates nu before theta, so a flow's nu starts one update ahead: at
    beta2 `initial` + (1 - beta2) squares(g). There is no bias correction.
    """

    sequential_because: ClassVar[str] = "every lane is integrated with steps of its own"
    of: Annotated[Literal["gd", "scalar_rmsprop", "rmsprop"], describe("the optimizer that it follows")] = "gd"
    beta2: Annotated[Fraction, describe("decay of the mean of squared gradients, per update; not for gd")] = 0.99
    eps: Annotated[PositiveReal, describe("added to the root, outside of it; not for gd", "gradient")] = 1e-8
    initial: Annotated[
        NonNegativeReal, describe("mean of squares before the first update; not for gd", "gradient^2")
    ] = 0.0

    @property
    def preconditions(self) -> bool:
        return self.of != "gd"

    def init(self, theta: Tensor) -> State:
        width = {"gd": 0, "scalar_rmsprop": 1, "rmsprop": theta.shape[1]}[self.of]
        return {"updates": theta.new_zeros(len(theta), 1), "nu": theta.new_zeros(len(theta), width)}

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        import torch

        generators, audits = random.generators("flow"), random.generators("flow audit")
        moved = []
        for lane, start in enumerate(theta):
            kept = {name: held[lane].clone() for name, held in state.items()}
            at = LaneLoss(objective, lane)
            numbers = {name: float(column[lane]) for name, column in hyper.items()}
            rule = self._rule(numbers)
            kept["nu"] = self._nu(at(start), kept, rule, numbers)
            kept["updates"] = kept["updates"] + 1
            moved.append(self.advance(at, start.clone(), kept, rule, numbers, (generators[lane], audits[lane])))
        ends, states = zip(*moved, strict=True)
        return torch.stack(ends), {name: torch.stack([kept[name] for kept in states]) for name in state}

    def advance(
        self,
        at: LaneLoss,
        theta: Tensor,
        state: State,
        rule: Rule,
        hyper: Mapping[str, float],
        generators: Sequence[np.random.Generator],
    ) -> tuple[Tensor, State]:
        """One unit of time of one lane.

        Args:
            at: theta (P,) to the loss around it.
            theta: parameters (P,).
            state: the lane's, with `updates` of one more than were done.
            rule: what is followed.
            hyper: the lane's hyper-parameters.
            generators: of this update: for warm solves, and for audits.

        Returns:
            The new parameters and state.
        """
        raise NotImplementedError

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor | None:
        if self.of == "gd":
            return None
        import torch

        rows = []
        for lane, point in enumerate(theta):
            kept = {name: held[lane] for name, held in state.items()}
            numbers = {name: float(column[lane]) for name, column in hyper.items()}
            rule = self._rule(numbers)
            nu = self._nu(LaneLoss(objective, lane)(point), kept, rule, numbers)
            rows.append(rule.denominator(nu, point))
        return torch.stack(rows)

    def _rule(self, hyper: Mapping[str, float]) -> Rule:
        return Rule(self.of, hyper["lr"], hyper["beta2"], hyper["eps"])

    def _nu(self, loss: Expansion, state: State, rule: Rule, hyper: Mapping[str, float]) -> Tensor:
        """The lane's nu; before the first update, that of the discrete rule after it."""
        if bool(state["updates"]) or self.of == "gd":
            return state["nu"]
        return rule.beta2 * hyper["initial"] + (1 - rule.beta2) * rule.squares(loss.gradient)


@dataclass(frozen=True, eq=False)
class LaneLoss:
    """One lane's loss around any of its points."""

    objective: Objective
    lane: int

    def __call__(self, theta: Tensor) -> Expansion:
        return self.objective.expansion(theta, self.lane)
