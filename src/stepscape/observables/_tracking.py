"""What the observables of extreme eigenpairs share: fields, refusals, warm starts and audits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.fields import Count, Index, PositiveReal, describe
from stepscape.observables import Observable, Variable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.curvature import Tracked
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot

LEAST_TOL = {"float32": 1e-5, "float64": 1e-12}  # the curvature room's, known here without torch


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrackedEigenpairs(Observable):
    """Eigenpairs of a symmetric operator, followed along a run.

    A measurement starts from the previous one's eigenvectors, mixed with a random direction. The first and every tenth
    or so is audited by a solve that starts from a random direction alone and searches what it has not found; where
    that differs by more than the tolerance (eigenvalues repeat, as those of a linear model do), every later
    measurement of the run searches too.
    """

    k: Annotated[Count, describe("number of eigenvalues")] = 1
    tol: Annotated[PositiveReal, describe("largest relative residual |Hv - lambda v| / |lambda|")] = 1e-2
    audit_every: Annotated[Index, describe("the first and each such measurement is audited; 0: none")] = 10

    @property
    def smallest(self) -> int:
        """Number of smallest eigenvalues that are tracked besides the k largest."""
        return 0

    def gradients(self, run: Run) -> float:
        products = 3 + 4 * self.k + (20 + 70 * self.smallest if self.smallest else 0)
        audits = 2 / self.audit_every if self.audit_every else 0
        return 2 + 1.5 * products * (1 + audits)

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        parameters = run.model.parameter_count(run.dataset.input_shape, run.dataset.outputs)
        if self.k > parameters:
            return "k", self.k, f"at most {parameters}, the number of parameters"
        if self.k + self.smallest > parameters:
            return "bottom", self.smallest, f"at most {parameters - self.k}, the number of parameters less k"
        if self.tol < LEAST_TOL[run.dtype]:
            return "tol", self.tol, f"at least {LEAST_TOL[run.dtype]:g}, what {run.dtype} can reach"
        return None

    def solve(
        self, prefix: str, operator: Callable[[Tensor], Tensor], snapshot: Snapshot, memory: Memory
    ) -> tuple[Tracked, dict[str, Tensor]]:
        """Solves for the eigenpairs; observables that ask the same, from the same eigenvectors, share one solve.

        Args:
            prefix: the operator's name.
            operator: what is solved for.
            snapshot: where it was taken.
            memory: what was kept from the previous measurement.

        Returns:
            What was found, and what to keep for the next measurement.
        """
        import torch

        count = int(memory["count"]) if memory else 0
        audited = bool(self.audit_every) and count % self.audit_every == 0
        search = bool(memory["search"]) if memory else False
        previous = memory.get("vectors")

        def track() -> Tracked:
            from stepscape.curvature import track_eigenpairs

            return track_eigenpairs(
                operator,
                len(snapshot.theta),
                self.k,
                bottom=self.smallest,
                tol=self.tol,
                previous=previous,
                generator=snapshot.random(f"{prefix} start"),
                audit_generator=snapshot.random(f"{prefix} audit") if audited else None,
                dtype=snapshot.theta.dtype,
                device=snapshot.theta.device,
                search=search,
            )

        start = None if previous is None else hashlib.sha256(previous.cpu().numpy().tobytes()).digest()
        found = snapshot.once((prefix, self.k, self.smallest, self.tol, audited, search, start), track)
        kept = {"count": torch.tensor(count + 1), "search": torch.tensor(search or found.audit > self.tol)}
        if found.pairs.vectors.isfinite().all():
            kept["vectors"] = found.pairs.vectors
        return found, kept


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TopEigenvalues(TrackedEigenpairs):
    """The largest eigenvalues of a symmetric operator along a run, and some of the smallest, each with its residual."""

    bottom: Annotated[Index, describe("number of smallest eigenvalues, from the same solve")] = 0

    @property
    def smallest(self) -> int:
        return self.bottom

    def eigenvalue_variables(self, prefix: str, operator: str) -> tuple[Variable, ...]:
        """What is recorded of `operator`, with names that start with `prefix`."""
        eigenvalue = (("eigenvalue",), (self.k,))
        top = (
            Variable(
                f"{prefix}_eigenvalue", f"largest eigenvalues of {operator}", *eigenvalue, "float64", summary=True
            ),
            Variable(f"{prefix}_residual", "relative residual of the eigenpair", *eigenvalue),
            Variable(f"{prefix}_threshold", f"largest stable eigenvalue of {operator}", dtype="float64"),
            Variable(f"{prefix}_products", "Hessian products spent, audits apart"),
            Variable(f"{prefix}_audit", "largest difference to a cold solve, relative to the largest eigenvalue"),
            Variable(f"{prefix}_audit_products", "Hessian products spent on the audit"),
        )
        return (*top, *self._bottom_variables(prefix, operator)) if self.bottom else top

    def _bottom_variables(self, prefix: str, operator: str) -> tuple[Variable, ...]:
        eigenvalue = (("bottom_eigenvalue",), (self.bottom,))
        text = f"smallest eigenvalues of {operator}, smallest first"
        return (
            Variable(f"{prefix}_bottom", text, *eigenvalue, "float64", summary=True),
            Variable(f"{prefix}_bottom_residual", "relative residual of the eigenpair", *eigenvalue),
            Variable(f"{prefix}_bottom_audit", "largest difference to a cold solve, relative to the smallest"),
        )

    def track(
        self,
        prefix: str,
        operator: Callable[[Tensor], Tensor],
        threshold: float | None,
        snapshot: Snapshot,
        memory: Memory,
    ) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        """One measurement of `operator`, in the variables of `eigenvalue_variables`."""
        found, kept = self.solve(prefix, operator, snapshot, memory)
        pairs = found.pairs
        values: dict[str, np.ndarray | float] = {
            f"{prefix}_eigenvalue": pairs.values[: self.k].numpy(),
            f"{prefix}_residual": pairs.residuals[: self.k].numpy(),
            f"{prefix}_threshold": float("nan") if threshold is None else threshold,
            f"{prefix}_products": float(pairs.products),
            f"{prefix}_audit": found.audit,
            f"{prefix}_audit_products": float(found.audit_products),
        }
        if self.bottom:
            values |= {
                f"{prefix}_bottom": pairs.values[self.k :].flip(0).numpy(),
                f"{prefix}_bottom_residual": pairs.residuals[self.k :].flip(0).numpy(),
                f"{prefix}_bottom_audit": found.audit_bottom,
            }
        return values, kept
