"""The spectral density of the Hessian, its trace and its Frobenius norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stepscape.fields import Count, Index, describe
from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.curvature import Eigenpairs
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("hessian_density", source="Ubaru, Chen & Saad 2017 (stochastic Lanczos quadrature); arXiv:1901.10159")
class HessianDensity(Observable):
    """The eigenvalue density of the Hessian of the full training loss, as quadratures; its trace and Frobenius norm.

    The nodes and weights of every probe are kept, not a curve: `stepscape.curvature.density_curve` smooths them.
    """

    probes: Annotated[Count, describe("random vectors; standard errors need two")] = 4
    nodes: Annotated[Count, Field(ge=2), describe("Lanczos steps of a probe, or parameters where these are fewer")] = 40
    deflate: Annotated[
        Index, describe("largest eigenvalues that are solved for first and taken out of the probes; 0: none")
    ] = 0

    def _shape(self, run: Run) -> tuple[int, int]:
        return self.probes, self.deflate + min(self.nodes, run.parameter_count - self.deflate)

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if self.deflate > run.parameter_count - 2:
            return "deflate", self.deflate, f"at most {run.parameter_count - 2}, two fewer than the parameters"
        return None

    def variables(self, run: Run) -> tuple[Variable, ...]:
        quadrature = (("probe", "node"), self._shape(run), "float64")
        return (
            Variable("density_node", "nodes of the Hessian's spectral density", *quadrature),
            Variable("density_weight", "weights of the nodes, of sum 1 for a probe", *quadrature),
            Variable("hessian_trace", "trace of the Hessian", dtype="float64", summary=True),
            Variable("hessian_trace_error", "standard error of the trace", dtype="float64"),
            Variable("hessian_frobenius", "Frobenius norm of the Hessian", dtype="float64", summary=True),
            Variable("hessian_frobenius_error", "standard error of the Frobenius norm", dtype="float64"),
        )

    def gradients(self, run: Run) -> float:
        probes, nodes = self._shape(run)
        return 2 + 1.5 * (probes * nodes + (10 + 4 * self.deflate if self.deflate else 0))

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        from stepscape.curvature import spectral_density

        density = spectral_density(
            snapshot.hessian,
            len(snapshot.theta),
            steps=self.nodes,
            generators=[snapshot.random(f"hessian probe {number}") for number in range(self.probes)],
            dtype=snapshot.theta.dtype,
            device=snapshot.theta.device,
            deflated=self._known(snapshot) if self.deflate else None,
        )
        trace, trace_error = density.trace
        frobenius, frobenius_error = density.frobenius
        return {
            "density_node": density.nodes,
            "density_weight": density.weights,
            "hessian_trace": trace,
            "hessian_trace_error": trace_error,
            "hessian_frobenius": frobenius,
            "hessian_frobenius_error": frobenius_error,
        }, memory

    def _known(self, snapshot: Snapshot) -> Eigenpairs:
        from stepscape.curvature import top_eigenpairs

        theta, random = snapshot.theta, snapshot.random("density deflation")
        return top_eigenpairs(
            snapshot.hessian, len(theta), self.deflate, generator=random, dtype=theta.dtype, device=theta.device
        )
