"""Gradient descent on the set where it is stable, and gradient descent itself beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.errors import StepscapeError
from stepscape.fields import Count, NonNegativeReal, PositiveReal, describe
from stepscape.optimizers import Optimizer
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Expansion
    from stepscape.curvature.leading import Leading
    from stepscape.optimizers import Hyper, LaneRandom, Objective, State

_NEAR = 0.9  # eigenvalues above this share of the bound are followed
_ROUNDS = 20  # of projecting and looking again, in one update
_FLAT = 1e-3  # share of the gradient along the top eigenvector that is let be


@member("constrained_gd", source="arXiv:2209.15594")
class ConstrainedGradientDescent(Optimizer):
    """theta <- proj(theta - lr g), on the set of sharpness at most 2 / lr where, on its border, g is orthogonal to u.

    u is the top eigenvector. The projection is that of the linearised bounds, repeated: theta goes back along the
    gradients of all eigenvalues above 2 / lr, and then along u to where the loss has no slope there.

    The state's `free` is gradient descent from the same start. When the bound is first met it is moved by `kick` times
    sqrt(2 alpha / beta) along u: what would otherwise grow from rounding, so that dtypes differ, is given a size.
    """

    sequential_because: ClassVar[str] = "every lane is projected in as many rounds as it needs"
    kick: Annotated[
        NonNegativeReal, describe("how far `free` is moved when the bound is first met", "sqrt(2 alpha / beta)")
    ] = 0.2
    slack: Annotated[PositiveReal, describe("relative excess of the sharpness over the bound that is let be")] = 1e-3
    tol: Annotated[PositiveReal, describe("largest relative residual of the eigenpairs that are followed")] = 1e-4
    max_modes: Annotated[Count, describe("eigenvalues that may be at the bound at once")] = 5

    @property
    def gradients(self) -> float:
        return 45.0

    def threshold(self, lr: float) -> float:
        return 2 / lr

    def init(self, theta: Tensor) -> State:
        count = min(self.max_modes + 1, theta.shape[1])
        return {
            "free": theta.clone(),
            "vectors": theta.new_zeros(len(theta), count, theta.shape[1]),
            "met": theta.new_zeros(len(theta), 1),
        }

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        import torch

        ends, states = [], []
        for lane, generator in enumerate(random.generators("constrained_gd")):
            kept = {name: held[lane].clone() for name, held in state.items()}
            lr, slack, tol, kick = (float(hyper[name][lane]) for name in ("lr", "slack", "tol", "kick"))
            problem = _Bounded(objective, lane, lr, slack, tol, self.max_modes, generator)
            end, vectors, has_met = problem.step(theta[lane].clone(), kept["vectors"])
            free = kept["free"] - lr * objective.expansion(kept["free"], lane).gradient
            if has_met and not bool(kept["met"]):
                free = free + kick * problem.amplitude(end, vectors[0]) * vectors[0]
            ends.append(end)
            states.append({"free": free, "vectors": vectors, "met": kept["met"] + has_met})
        return torch.stack(ends), {name: torch.stack([kept[name] for kept in states]) for name in state}


class _Bounded:
    """One update of one lane."""

    def __init__(
        self,
        objective: Objective,
        lane: int,
        lr: float,
        slack: float,
        tol: float,
        max_modes: int,
        generator: np.random.Generator,
    ) -> None:
        self._objective, self._lane, self._generator = objective, lane, generator
        self._lr, self._bound, self._slack, self._tol, self._max_modes = lr, 2 / lr, slack, tol, max_modes

    def _at(self, theta: Tensor) -> Expansion:
        return self._objective.expansion(theta, self._lane)

    def step(self, theta: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Theta (P,) and vectors (k, P) after an update, and whether the bound was met."""
        theta = theta - self._lr * self._at(theta).gradient
        has_met = False
        for _ in range(_ROUNDS):
            loss = self._at(theta)
            found = self._top(loss, vectors)
            vectors = vectors.new_zeros(vectors.shape)
            vectors[: len(found.vectors)] = found.vectors
            count = found.above((1 + self._slack) * self._bound)
            if count:
                theta, has_met = self._lowered(loss, found, count), True
                continue
            slope = loss.gradient @ vectors[0]
            is_at_border = float(found.values[0]) > (1 - 2 * self._slack) * self._bound
            if not is_at_border or bool(slope.abs() <= _FLAT * loss.gradient.norm()):
                return theta, vectors, has_met
            theta = theta - slope / self._bound * vectors[0]
        raise StepscapeError(
            f"constrained_gd: no point with a sharpness of at most 2 / lr = {self._bound:g} was found in {_ROUNDS} "
            "rounds; allowed: a start whose sharpness is below it. Start earlier, or lower the learning rate."
        )

    def _top(self, loss: Expansion, vectors: Tensor) -> Leading:
        from stepscape.curvature.leading import follow_leading

        known = max(1, int(vectors.any(dim=1).sum()))
        level = _NEAR * self._bound
        found = follow_leading(
            loss.hessian, vectors[:known], level, len(vectors), tol=self._tol, generator=self._generator
        )
        if found.above(self._bound) > self._max_modes:
            raise StepscapeError(
                f"constrained_gd: more than {self._max_modes} eigenvalues are above 2 / lr = {self._bound:g}; allowed: "
                f"max_modes = {self._max_modes}. Raise it, start earlier, or lower the learning rate."
            )
        return found

    def _lowered(self, loss: Expansion, found: Leading, count: int) -> Tensor:
        """The nearest point at which the first `count` eigenvalues, to first order, are at the bound."""
        import torch

        rows = torch.cat([loss.third_derivatives(vector[None]) for vector in found.vectors[:count]])
        excess = (found.values[:count] - self._bound).to(rows)
        return loss.theta - rows.T @ torch.linalg.solve(rows @ rows.T, excess)

    def amplitude(self, theta: Tensor, vector: Tensor) -> Tensor:
        """sqrt(2 alpha / beta) at theta: the size at which the oscillation settles; 0 where nothing sharpens."""
        loss = self._at(theta)
        slope = loss.third_derivatives(vector[None])[0]
        across = slope - (slope @ vector) * vector
        alpha, beta = -(loss.gradient @ slope), across @ across
        return (2 * alpha.clamp(min=0) / beta.clamp(min=1e-30)).sqrt()
