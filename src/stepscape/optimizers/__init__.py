"""Optimizers: pure update rules, with the preconditioner and the stability threshold that the literature gives them.

Elementwise rules work for one run and for many: `theta` and what is kept of the past are (lanes, P), hyper-parameters
are (lanes, 1). On a quadratic with Hessian H, full-batch training with preconditioner P is stable while
lambda_1(P^-1 H) is below the threshold (Cohen et al., arXiv:2103.00065 and arXiv:2207.14484).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from stepscape.registry import Member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Expansion

    State = Mapping[str, Tensor]
    Hyper = Mapping[str, Tensor]


class Objective(Protocol):
    """The loss of every lane on the data of one update; values and gradients at the last point are kept."""

    def value(self, theta: Tensor) -> Tensor:
        """Losses (lanes,) at theta (lanes, P)."""
        ...

    def gradient(self, theta: Tensor) -> Tensor:
        """Gradients (lanes, P) at theta (lanes, P)."""
        ...

    def hessian_product(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """Products (lanes, P) of every lane's Hessian at theta (lanes, P) with its own vector (lanes, P)."""
        ...

    def expansion(self, theta: Tensor, lane: int) -> Expansion:
        """One lane's loss around any theta (P,): gradient, Hessian products and third derivatives."""
        ...

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape (B, C) of one lane's targets."""
        ...

    def relabelled(self, shifts: Tensor) -> Objective:
        """The same loss on the same inputs, with `shifts` (lanes, B, C) added to the targets."""
        ...


class LaneRandom(Protocol):
    """Random numbers for one update, keyed by (seed of the lane, purpose, step)."""

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """One generator a lane."""
        ...

    def draws(self, purpose: str, draw: Callable[[np.random.Generator], np.ndarray], like: Tensor) -> Tensor:
        """What `draw` takes from the generator of each lane, (lanes, ...), cast to the dtype of `like`."""
        ...

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers (lanes, P), drawn in float64 and cast to the dtype of `like` (lanes, P)."""
        ...


@dataclass(frozen=True)
class ImplicitRegularisation:
    """What label noise adds to the loss that is followed on average: weight * R, with R of the threshold c.

    R = -(c / 4) tr log(1 - H / c), which is tr H / 4 far below the threshold.

    Attributes:
        weight: lambda, of R in the loss; 0 without noise.
        rate: length of an update in the time of gradient flow, so that updates * rate * weight is the time in which R
            alone is descended.

    Source: Damian, Ma & Lee, arXiv:2106.06530; there c is 2 / lr, or (2 + 2 beta) / lr with momentum.
    """

    weight: float
    rate: float


class Optimizer(Member):
    """The base of all optimizers.

    A hyper-parameter is any field of type float; `hyper` holds them and `lr` as float64 arrays (lanes, 1), so that
    lanes may differ in them. Other fields hold for all lanes.

    Attributes:
        has_lr: whether the rule has a learning rate.
        sequential_because: why runs of this optimizer never train as lanes of one computation; empty where they may.
    """

    kind: ClassVar[str] = "optimizer"
    has_lr: ClassVar[bool] = True
    sequential_because: ClassVar[str] = ""

    @property
    def preconditions(self) -> bool:
        """Whether the preconditioner is anything but the identity."""
        return False

    @property
    def gradients(self) -> float:
        """Estimated cost of one update, in gradients of the batch's loss."""
        return 1.0

    def init(self, theta: Tensor) -> State:
        """What is kept between updates, before the first one, for theta (lanes, P)."""
        return {}

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        """One update.

        Args:
            objective: the loss on this update's batch.
            theta: parameters (lanes, P); not changed in place.
            state: what was kept; not changed in place.
            hyper: hyper-parameters, (lanes, 1) each, float64.
            random: random numbers of this update.

        Returns:
            The new parameters and what to keep.
        """
        raise NotImplementedError

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor | None:
        """The diagonal (lanes, P) of P in the update about to be taken, theta - lr P^-1 (direction); None: identity."""
        return None

    def averages(self, state: State) -> Mapping[str, Tensor]:
        """What the optimizer knows of an oscillation that it averages over.

        Args:
            state: what was kept.

        Returns:
            Any of these, (lanes, 1) each, and nothing where there is none: `modes`, directions that oscillate; `loss`
            and `squared_gradient`, what the oscillation adds to the time averages of the loss and of |g|^2; `variance`,
            its mean square; `residual`, of the equations that it solves; `products`, Hessian products of the last
            update.
        """
        return {}

    def threshold(self, lr: float) -> float | None:
        """The largest stable lambda_1(P^-1 H) at learning rate `lr`; None where the literature gives none."""
        return None

    def implicit_regularisation(self, lr: float, batch: int) -> ImplicitRegularisation | None:
        """How strongly noise of its own regularises at learning rate `lr` and `batch` samples; None where not known."""
        return None
